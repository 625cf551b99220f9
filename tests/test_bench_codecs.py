"""`python -m mlpq.bench codecs`: that it goes on, that its figures agree with each other, what its report says."""

import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from packaging.version import Version

import mlpq
from mlpq.bench import codecs
from mlpq.bench.__main__ import main
from mlpq.bench.cases import FEW, ID, KINDS, SIZES, cases
from mlpq.bench.store import load
from tests.conftest import ROOT
from tests.resumed import resumed

CHOSEN = ("sq4", "sq8", "lsh")
COMMAND = ["codecs", "--datasets", "fashion-mnist-20k", "--limit", "2000", "--queries", "50", "--runs", "1", "--quiet"]
COMMAND += ["--threads", "1"]


@pytest.fixture(scope="module")
def setting() -> codecs.Setting:
    return codecs.Setting.of("fashion-mnist-20k", 50, 2000)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted at its sixth row, and went on."""
    path = tmp_path_factory.mktemp("codecs") / "x.json"
    resumed(codecs, [*COMMAND, "--codecs", *CHOSEN, "--output", str(path)], path, after=5, left=13)
    return path


def test_a_run_that_is_complete_measures_nothing(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_row", None)
    before = load(record)["rows"]
    main([*COMMAND, "--codecs", *CHOSEN, "--output", str(record)])
    assert load(record)["rows"] == before
    assert set(before) == {
        f"fashion-mnist-20k {codec} {size} {side}" for codec in CHOSEN for size in SIZES for side in codecs.SIDES
    }


def test_bytes_add_up(record: Path, setting: codecs.Setting) -> None:
    n = len(setting.ds.xb)
    for row in codecs.rows(str(record)):
        assert row["fixed"] > 0
        assert row["total"] == n * row["per_vector"] + row["fixed"]
        assert row["at_n"] == row["total"] / n
        assert row["at_many"] == pytest.approx(row["per_vector"] + row["fixed"] / 10**7)
        if row["side"] == "mlpq":
            assert row["per_vector"] == row["size"] == row["code"] + ID


def test_distortion_is_that_of_an_index_built_by_hand(record: Path, setting: codecs.Setting) -> None:
    ds = setting.ds
    codec = mlpq.ScalarQuantizer(120, nbits=4)
    index = mlpq.MultiLevelPQ(784, setting.n_inner, setting.n_outer, pca_dim=120, codec=codec).train(ds.xb).add(ds.xb)
    lost = ds.xb.astype(np.float64) - index.reconstruct(np.arange(2000))
    row = load(record)["rows"]["fashion-mnist-20k sq4 64 mlpq"]
    assert row["distortion"] == pytest.approx(np.square(lost).sum(axis=1).mean(), rel=1e-6)
    assert row["total"] == index.memory().total
    I = index.search(ds.xq, 10, nprobe=setting.nprobe)[1]
    assert (row["recall"], row["interval"]) == mlpq.recall_interval(I, ds.gt, 10)


def test_more_bytes_lose_less_and_both_sides_are_of_one_kind(record: Path) -> None:
    found = load(record)["rows"]
    for codec in CHOSEN:
        own, theirs = ([found[f"fashion-mnist-20k {codec} {size} {side}"] for size in SIZES] for side in codecs.SIDES)
        lost = [row["distortion"] for row in own]
        assert lost == sorted(lost, reverse=True)
        assert own[0]["recall"] < own[-1]["recall"]
        if codec == "lsh":
            assert all(row["distortion"] is None for row in theirs)
        else:
            assert [row["code"] for row in own] == [row["code"] for row in theirs]
            assert lost == pytest.approx([row["distortion"] for row in theirs], rel=0.05)


def test_report_shows_every_row(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = record.read_bytes()
    main(["codecs", "--report", "--output", str(record)])
    assert record.read_bytes() == before
    printed = capsys.readouterr().out
    assert "fashion-mnist-20k: 2,000 vectors, trained on 2,000; 3 cells, nprobe 8; threads: 1" in printed
    row = load(record)["rows"]["fashion-mnist-20k sq8 32 faiss"]
    line = next(line for line in printed.splitlines() if "faiss PCA28,IVF3,SQ8" in line)
    assert f"| {row['per_vector']} |" in line
    assert f"| {row['recall']:.3f} ± {row['interval']:.3f} |" in line
    assert sum(line.startswith("| ") for line in printed.splitlines()) == 19  # the names of the columns, and the rows
    assert printed.count("no cells: Faiss's factory has no IVF for LSH") == 1


@pytest.mark.skipif(Version(faiss.__version__) < Version("1.15"), reason="older Faiss lacks some of the codecs")
@pytest.mark.parametrize("d", [384, 784])
def test_every_case_fits_its_bytes_and_both_libraries_make_its_index(d: int, setting: codecs.Setting) -> None:
    found = cases(d)
    assert len({(case.codec, case.size) for case in found}) == len(found)
    sizes = {codec: [case.size for case in found if case.codec == codec] for codec in KINDS}
    short = {"rabitq1": (32, 64), "itq": (32, 64)} if d == 384 else {}  # of 384 bits at most
    for codec, own in sizes.items():
        assert tuple(size for size in own if size not in FEW) == short.get(codec, SIZES)
    x = np.zeros((1, d), np.float32)
    narrow = codecs.Setting(mlpq.Dataset("x", x, x, np.zeros((1, 1), np.int32), x[:, :1]), x, 4, 2, 1)
    for case in found:
        ours = codecs.Ours(narrow, case)
        assert case.size / 2 < ours.index.code_size + ID <= case.size
        assert codecs.Faiss(narrow, case).index.d == d


@pytest.mark.parametrize("d", [8, 100])
def test_few_dimensions_have_the_cases_that_fit(d: int) -> None:
    found = cases(d)
    assert all(1 <= case.dim <= d for case in found)
    assert all(case.dim % case.ours["m"] == 0 for case in found if case.make is None)
    assert {(case.codec, case.size) for case in found} >= {
        (codec, size) for codec in ("rq", "aq", "lsh") for size in SIZES
    }
    assert ("pq", 128) not in {(case.codec, case.size) for case in found}


def test_what_takes_too_long_is_not_measured_but_named(setting: codecs.Setting) -> None:
    slow = [case for case in cases(784) if case.too_long]
    sizes = {("rq", 64), ("rq", 128), ("aq", 20), ("aq", 32), ("aq", 64), ("aq", 128)}
    assert {(case.codec, case.size) for case in slow} == sizes
    for side in codecs.SIDES:
        row = codecs._row("x", setting, slow[0], side, None)  # type: ignore[arg-type]
        assert (row["codec"], row["size"], row["words"], row["dim"]) == ("aq", 20, 16, 128)
        assert "recall" not in row


def by_hand(codec: str, size: int, words: int, dim: int, measured: dict[str, Any] | None = None) -> dict[str, Any]:
    row = {"dataset": "tiny", "codec": codec, "size": size, "side": "mlpq", "dim": dim, "words": words, "note": ""}
    return row | {"index": f"{codec} of {words}"} | (measured or {})


def test_hours_follow_from_the_longest_codes_that_were_measured(tmp_path: Path) -> None:
    measured = {
        "train_s": 100.0, "encode_s": 80.0, "code": 8, "per_vector": 12, "total": 1_500, "distortion": 0.25,
        "recall": 0.5, "interval": 0.125, "seconds": [1.0, 4.0, 2.0],
    }  # fmt: skip
    rows: list[dict[str, Any]] = [
        by_hand("itq", 32, 0, 8, measured),
        by_hand("rq", 12, 8, 64, measured | {"train_s": 1.0, "encode_s": 1.0}),
        by_hand("rq", 32, 16, 128, measured),
        by_hand("rq", 64, 32, 256),  # twice the codewords, twice the components: 720 s
        by_hand("aq", 12, 8, 64, measured),
        by_hand("aq", 32, 32, 64),  # four times the codewords, so 16 times 180 s
        by_hand("aq", 64, 32, 64) | {"side": "faiss"},
    ]
    sets = {"tiny": {"n": 100, "d": 8, "trained": 90, "n_inner": 4, "nprobe": 2}}
    content = {"about": {"nq": 50, "threads": 2}, "sets": sets, "rows": {str(i): row for i, row in enumerate(rows)}}
    (tmp_path / "x.json").write_text(json.dumps(content))
    found = codecs.rows(str(tmp_path / "x.json"))
    assert found[2]["qps"] == 25
    assert (found[2]["fixed"], found[2]["at_n"]) == (300, 15)
    assert found[3]["hours"] == pytest.approx(0.2)
    assert found[5]["hours"] == pytest.approx(0.8)
    assert "hours" not in found[6]
    lines = codecs.report(str(tmp_path / "x.json")).splitlines()
    assert "| 64 | rq | mlpq rq of 32 |  |  |  |  |  | not measured, about 0.2 h |  |  |  |" in lines
    assert "| 64 | aq | faiss aq of 32 |  |  |  |  |  | not measured |  |  |  |" in lines
    assert "- itq has no codes of 32, 64, 128 bytes for d=8" in lines
    assert "| 12 | aq | mlpq aq of 8 | 12 | 0 | 15.0 | 12.0 | 0.25 | 0.500 ± 0.125 | 25 | 100.0 | 80.0 |" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--codecs", "sq4", "sq5"], "unknown codec 'sq5': use some of pq, opq, rq, aq, sq4"),
        (["--datasets", "nothing"], "unknown data set 'nothing'"),
        (["--datasets", "wordnet"], "no wordnet-minilm-384-angular.hdf5 in "),
        (["--queries", "0"], "must be a whole number of at least 1; got '0'"),
        (["--report", "--output", "/nowhere/x.json"], "No such file"),
    ],
)
def test_nonsense_gets_one_clear_error(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLPQ_DATA_DIR", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        main(["codecs", "--quiet", "--output", str(tmp_path / "x.json"), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"about": {}, "points": {}}))
    with pytest.raises(ValueError, match="is not a record of `codecs`"):
        codecs.report(str(tmp_path / "x.json"))


@pytest.mark.parametrize(("name", "d"), [("fashion-mnist", 784), ("wordnet", 384)])
def test_the_record_of_the_book_is_complete_and_fair(name: str, d: int) -> None:
    found = {
        (row["codec"], row["size"], row["side"]): row
        for row in codecs.rows(str(ROOT / "book" / "recorded" / "codecs.json"))
        if row["dataset"] == name
    }
    all_ = cases(d)
    assert set(found) == {(case.codec, case.size, side) for case in all_ for side in codecs.SIDES}
    for case in all_:
        ours, theirs = (found[case.codec, case.size, side] for side in codecs.SIDES)
        assert ("recall" in ours) == ("recall" in theirs) == (not case.too_long)
        if case.too_long:
            assert min(ours["hours"], theirs["hours"]) > 0.02
            continue
        assert ours["per_vector"] <= case.size
        if case.codec[:2] in ("rq", "aq", "sq", "ed") and ours["code"] == theirs["code"]:  # of one kind, trained alike
            assert ours["distortion"] == pytest.approx(theirs["distortion"], rel=0.06)
            assert ours["recall"] == pytest.approx(theirs["recall"], abs=0.03)
