"""Benchmarks: engines, what is stored, that it goes on. Nothing here asserts a time."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import faiss
import numpy as np
import pytest
from packaging.version import Version

import mlpq
from mlpq.bench import catalogue, compare, engines, entries, ratios, sweep
from mlpq.bench.__main__ import main
from mlpq.bench.store import Store, load
from tests.conftest import ROOT

ABOUT = {"dataset": "tiny", "threads": 2, "n": 100, "nq": 50}
ENTRIES = catalogue.catalogue(4)
OF_TEXTS = catalogue.catalogue(4, images=False)
# Rounds enough to be killed between two of them.
COMPARE = [sys.executable, "-m", "mlpq.bench", "compare", "--runs", "8", "--queries", "100"]
COMPARE += ["--only", "mlpq .* m=8, 8-bit, global|,PQ8np"]


@pytest.fixture(scope="module")
def small() -> mlpq.Dataset:
    """Images, so that what keeps bytes has bytes to keep."""
    whole = mlpq.load_dataset("fashion-mnist-20k")
    D, I = mlpq.ExactIndex(whole.d).add(whole.xb[:1000]).search(whole.xq[:50], 10)
    return mlpq.Dataset("some images", whole.xb[:1000], whole.xq[:50], I, D)


def test_ratios_are_printed(
    small: mlpq.Dataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few images: the command trains eight times, and what it prints has the same parts for any number."""
    monkeypatch.setattr("mlpq.bench.__main__.load_dataset", {"fashion-mnist-20k": small}.__getitem__)
    monkeypatch.setattr(ratios, "LOOP_QUERIES", 10)
    main(["ratios", "--dataset", "fashion-mnist-20k", "--runs", "1"])
    printed = capsys.readouterr().out
    assert printed.count("median ratio") == 2
    index = mlpq.MultiLevelPQ(784, 2, 1, m=8, codebooks="inner").train(small.xb).add(small.xb)
    found = mlpq.recall_at_k(index.search(small.xq, 10, nprobe=3)[1], small.gt, 10)
    assert f"recall@10 at nprobe 3: {found:.3f}" in printed
    assert found > 0.5
    assert re.findall(r"^\| (\d+) \| (\d) \|", printed, re.MULTILINE) == [
        (m, nprobe) for m in ("8", "16", "56") for nprobe in "138"
    ]
    assert re.search(r"peak: [\d,]+ GFLOP/s in products, [\d.]+ GB/s in copies", printed)
    assert printed.count("%") == 2 * 9


def test_shares_of_the_peak_are_those_of_what_was_visited(small: mlpq.Dataset) -> None:
    index = mlpq.MultiLevelPQ(small.d, 4, 2, m=8, nbits=4).train(small.xb).add(small.xb)
    peak = ratios.Peak(operations=2 * 784 * 50 * 1004 / 0.5 * 4, bytes=50 * 1000 * 4 / 0.5 * 10)
    found = ratios.shares(index, small.xq, 4, 0.5, peak)  # all cells: 1,000 codes of 4 bytes, and 4 centroids
    assert found == {"operations, of the peak": "25%", "bytes, of the peak": "10%"}


def test_store_goes_on_under_the_same_circumstances_only(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    store = Store(path, ABOUT | {"command": "first"}, ["points"])
    store.section("points")["a"] = {"seconds": [1.5]}
    store.save()
    again = Store(path, ABOUT | {"command": "second"}, ["points", "more"])
    assert again.section("points") == {"a": {"seconds": [1.5]}}
    again.save()
    assert load(path) == {"about": ABOUT | {"command": "second"}, "points": {"a": {"seconds": [1.5]}}, "more": {}}
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"threads: 2 there, 1 now.*--output, or delete"):
        Store(path, ABOUT | {"threads": 1}, ["points"])
    with pytest.raises(ValueError, match="faiss: None there, '1' now"):
        Store(path, ABOUT | {"faiss": "1"}, ["points"])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"points": {}}', '{"about": 3}', '{"about": {}, "points": []}'])
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match="is not a benchmark record"):
        Store(tmp_path / "x.json", ABOUT, ["points"])


@pytest.mark.parametrize("group", [ENTRIES, OF_TEXTS], ids=["images", "texts"])
def test_names_in_the_catalogue_are_unique_and_ours_stand_among_the_peers(group: list[entries.Entry]) -> None:
    assert len({entry.name for entry in group}) == len(group)
    points = [compare.point_name(entry, setting) for entry in group for setting in entry.settings]
    assert len(set(points)) == len(points)
    own = [entry.ours for entry in group]
    assert not all(own[: len(own) // 4])
    assert any(own[: len(own) // 4])
    assert {entry.kind for entry in [*group, *ENTRIES]} == set(engines.KINDS)


def test_one_group_of_peers_can_be_measured_at_a_time() -> None:
    for group in (ENTRIES, OF_TEXTS):
        for family in {entry.family for entry in group}:
            chosen = compare.matching(group, f"^{re.escape(family)}$")
            assert {entry.family for entry in chosen} == {family}


@pytest.fixture(scope="module")
def few_texts() -> mlpq.Dataset:
    whole = mlpq.load_dataset("wordnet-20k")
    D, I = mlpq.ExactIndex(whole.d).add(whole.xb[:1000]).search(whole.xq[:50], 10)
    return mlpq.Dataset("some texts", whole.xb[:1000], whole.xq[:50], I, D)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_engine_builds_and_answers(entry: entries.Entry, small: mlpq.Dataset, tmp_path: Path) -> None:
    found = answers(entry, small, tmp_path)
    assert found > (0.75 if entry.originals else 0.35)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("entry", OF_TEXTS, ids=lambda entry: entry.name)
def test_every_engine_answers_for_texts(entry: entries.Entry, few_texts: mlpq.Dataset, tmp_path: Path) -> None:
    found = answers(entry, few_texts, tmp_path)
    assert found > (0.75 if entry.originals else 0.25)


def answers(entry: entries.Entry, ds: mlpq.Dataset, folder: Path) -> float:
    """Build an engine, search with all its settings, save it; return the recall with the last setting."""
    kind = engines.KINDS[entry.kind]
    if kind.package:
        pytest.importorskip(kind.package)
    if re.search("RaBitQ|Panorama", entry.name) and Version(faiss.__version__) < Version("1.15"):
        pytest.skip("needs Faiss 1.15, which has them in all these forms")
    engine = kind(ds.d, 1, **entry.arguments)
    if "OPQ" in entry.name:  # it would take ten seconds, and finds the same
        inner = getattr(engine.index, "base_index", engine.index)
        faiss.downcast_VectorTransform(faiss.downcast_index(inner).chain.at(0)).niter = 2
    engine.check(ds.xb)
    engine.build(ds.xb)
    for setting in entry.settings:
        engine.set(**setting)
        I = engine.search(ds.xq, 10)
    assert I.shape == (50, 10)
    assert I.dtype == np.int64
    assert mlpq.recall_at_k(engine.search(ds.xq[:1], 10), ds.gt[:1], 10) > 0
    assert engine.serialized(folder) > len(ds.xb) * (ds.d if entry.originals else 8)
    return mlpq.recall_at_k(I, ds.gt, 10)


def test_what_keeps_bytes_is_for_bytes_only(small: mlpq.Dataset) -> None:
    engine = engines.FaissEngine(784, 1, factory="PQ8x4fs,Refine(SQ8_direct)")
    engine.check(small.xb)
    for wrong in (small.xb + 0.5, small.xb - 1, small.xb + 1):
        with pytest.raises(ValueError, match="SQ8_direct keeps whole numbers from 0 to 255 only"):
            engine.check(wrong)
    engines.FaissEngine(784, 1, factory="PQ8x4fs,Refine(SQ8)").check(small.xb + 0.5)


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def stored(path: Path) -> dict[str, list[float]]:
    return {name: point["seconds"] for name, point in load(path)["points"].items()} if path.exists() else {}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_comparison_leaves_no_child_and_goes_on(tmp_path: Path) -> None:
    path, vectors = tmp_path / "record.json", tmp_path / "some.npy"
    np.save(vectors, mlpq.load_dataset("fashion-mnist-20k").xb[:2000])
    command = [*COMPARE, "--dataset", str(vectors), "--output", str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not stored(path):
        assert process.poll() is None
        time.sleep(0.02)
    its_own = children(process.pid)
    assert len(its_own) >= 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = stored(path)
    deadline = time.monotonic() + 120
    while any(map(alive, its_own)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, its_own))
    assert not any(os.path.basename(name).endswith(".part") for name in before)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    after = stored(path)
    assert all(len(seconds) == 8 for seconds in after.values())
    assert all(after[name][: len(seconds)] == seconds for name, seconds in before.items())
    assert set(load(path)["engines"]) == {"mlpq 3 cells, m=8, 8-bit, global", "Faiss IVF3,PQ8np"}
    assert "Same parameters" in done.stdout
    assert "Traceback" not in done.stderr
    assert "leaked" not in done.stderr
    content = path.read_bytes()
    main([*command[3:], "--report"])
    assert path.read_bytes() == content


def test_a_peer_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class NoPeer:
        def __init__(self, *_: object) -> None: ...

        def ask(self, command: str) -> None:
            raise compare.LeftOut("No module named 'hnswlib'")

        def stop(self) -> None: ...

    monkeypatch.setattr(compare, "Child", NoPeer)
    arguments = ["compare", "--dataset", "fashion-mnist-20k", "--only", "hnswlib M=16", "--quiet"]
    main([*arguments, "--output", str(tmp_path / "x.json")])
    assert load(tmp_path / "x.json")["left_out"]["hnswlib M=16"]["why"] == "No module named 'hnswlib'"
    assert "hnswlib M=16 is left out: No module named 'hnswlib'" in caplog.text


def test_sweep_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [
        "sweep",
        "--dataset",
        "fashion-mnist-20k",
        "--m",
        "4",
        "--nbits",
        "4",
        "--codebooks",
        "global",
        "--quiet",
    ]
    arguments += ["--rerank", "0", "2", "--runs", "1", "--output", str(tmp_path / "x.json")]
    main([*arguments, "--nprobe", "1"])
    before = load(tmp_path / "x.json")["points"]
    main([*arguments, "--nprobe", "1", "2"])
    after = load(tmp_path / "x.json")["points"]
    assert len(after) == 4
    assert before.items() <= after.items()
    assert "points that no other beats" in capsys.readouterr().out
    codes, reranked = sweep.rows(str(tmp_path / "x.json"))[:2]
    assert reranked["bytes"] - codes["bytes"] == 20_000 * 784  # whole numbers up to 255 are kept as bytes
    assert reranked["recall"] > codes["recall"]
    monkeypatch.setattr(sweep, "_built", None)
    main([*arguments, "--nprobe", "1", "2"])  # nothing is left to build


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "arguments are required"),
        (["compete"], "invalid choice: 'compete'"),
        (["compare", "--runs", "0"], "must be a whole number of at least 1; got '0'"),
        (["compare", "--threads", "two"], "must be a whole number of at least 1; got 'two'"),
        (["compare", "--dataset", "nothing"], "unknown data set 'nothing'"),
        (["compare", "--dataset", "fashion-mnist-20k", "--only", "milvus"], "'milvus' matches no engine"),
        (["compare", "--dataset", "fashion-mnist-20k", "--only", "("], "'(' is not a regular expression"),
        (
            ["compare", "--dataset", "fashion-mnist-20k", "--queries", "1001"],
            "--queries must be from 1 to 1000; got 1001",
        ),
        (["compare", "--dataset", "fashion-mnist-20k", "--output", "/nowhere/x.json"], "no such folder: '/nowhere'"),
        (["compare", "--report", "--output", "/nowhere/x.json"], "No such file"),
        (["sweep", "--dataset", "fashion-mnist-20k", "--m", "5"], "m must divide d=784"),
        (["scale", "--sizes", "-3"], "must be a whole number of at least 1; got '-3'"),
    ],
)
def test_nonsense_gets_one_clear_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out
