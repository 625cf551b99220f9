"""`python -m mlpq.bench arena`: that it goes on, that reranking is told right, which cases there are, and what is read."""

from pathlib import Path

import numpy as np
import pytest

import mlpq
from mlpq.bench import arena, codecs
from mlpq.bench.__main__ import main
from mlpq.bench.cases import BUDGETS, ID, contest
from mlpq.bench.sketch import TurboQuantProduct
from mlpq.bench.store import load
from tests.conftest import ROOT
from tests.resumed import resumed

CHOSEN = ("sq8", "pq")
COMMAND = ["arena", "--datasets", "fashion-mnist-20k", "--limit", "2000", "--queries", "50", "--quiet"]
COMMAND += ["--threads", "1"]
FILE = ROOT / "book" / "recorded" / "contest.json"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted at its fourth row, and went on."""
    path = tmp_path_factory.mktemp("arena") / "x.json"
    command = [*COMMAND, "--codecs", *CHOSEN, "--output", str(path)]
    before = resumed(arena, command, path, after=3, left=len([c for c in contest(784) if c.codec in CHOSEN]) - 3)
    assert [row["size"] for row in before.values()] == [64, 64, 32]  # what matters most comes first
    return path


def test_rows_say_what_an_index_built_by_hand_says(record: Path) -> None:
    setting = codecs.Setting.of("fashion-mnist-20k", 50, 2000)
    ds, row = setting.ds, next(row for row in arena.rows(str(record)) if (row["codec"], row["size"]) == ("sq8", 32))
    codec = mlpq.ScalarQuantizer(28, nbits=8)
    index = mlpq.MultiLevelPQ(784, setting.n_inner, setting.n_outer, pca_dim=28, codec=codec, keep_originals=True)
    index.train(ds.xb).add(ds.xb)
    for r in (0, *arena.READS):
        I = index.search(ds.xq, 10, nprobe=setting.nprobe, rerank=r)[1]
        found = mlpq.recall_interval(I, ds.gt, 10)
        assert (row["reranked"][str(r)] if r else (row["recall"], row["interval"])) == pytest.approx(found, abs=1e-5)
    assert row["per_vector"] == 32 == row["code"] + ID
    assert row["coarse"] == 0  # all three cells are probed
    assert row["scanned"] == 2000
    assert row["read"][0] == 2000 * 28
    assert row["read"][5] == 2000 * 28 + 50 * 784


def test_report_shows_every_row(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["arena", "--report", "--output", str(record)])
    printed = capsys.readouterr().out
    found = load(record)["rows"]
    assert sum(line.startswith("| ") for line in printed.splitlines()) == 1 + len(found)
    assert "chapter 13" in printed
    assert "kB" in printed


@pytest.mark.parametrize("d", [384, 784])
def test_cases_fit_their_budgets_and_no_code_stands_twice(d: int) -> None:
    cases = contest(d)
    assert {case.size for case in cases} == {20, *BUDGETS}
    for case in cases:
        index = mlpq.MultiLevelPQ(
            d,
            4,
            2,
            pca_dim=case.dim if case.ours.get("rotation") else None,
            **case.ours,
            codec=case.make and case.make(),
        )
        assert index.code_size + ID <= case.size
    assert len(
        {(case.codec, case.dim, case.words, str(case.make and case.make()), str(case.ours)) for case in cases}
    ) == len(cases)
    assert {case.size for case in cases if case.codec == "aq" and not case.too_long} == {20}


def test_nonsense_gets_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*COMMAND, "--codecs", "sq5", "--output", str(tmp_path / "x.json")])
    assert "unknown codec 'sq5': use some of pq, pca+pq, opq" in capsys.readouterr().err


def test_the_record_of_the_book_holds_what_the_chapter_speaks_of() -> None:
    rows = arena.rows(str(FILE))
    for dataset, d in (("fashion-mnist", 784), ("wordnet", 384)):
        known = {(case.codec, case.size): case for case in contest(d)}
        own = {(row["codec"], row["size"]): row for row in rows if row["dataset"] == dataset}
        assert own.keys() <= known.keys()
        for (_, size), row in own.items():
            if "recall" in row:
                assert row["per_vector"] <= size
                found = [row["recall"], *(row["reranked"][str(r)][0] for r in arena.READS)]
                assert found == sorted(found)
                assert found[-1] <= 1 - row["coarse"] + 1e-9


@pytest.mark.parametrize("nbits", [2, 3, 4])
def test_sketch_is_unbiased_and_scatters_more_than_eden(nbits: int) -> None:
    rng = np.random.default_rng(nbits)
    x, q = (rng.standard_normal((n, 128)).astype(np.float32) + 0.3 for n in (3000, 100))
    true = (q - x.mean(axis=0)) @ (x - x.mean(axis=0)).T
    errors = []
    for codec in (TurboQuantProduct(128, nbits).train(x), mlpq.EDEN(128, nbits).train(x)):
        found = (q - x.mean(axis=0)) @ (codec.decode(codec.encode(x)) - x.mean(axis=0)).T
        assert (found * true).sum() / (true**2).sum() == pytest.approx(1, abs=0.01)
        errors.append(np.sqrt(np.square(found - true).mean()))
    assert errors[0] > 1.15 * errors[1]
    again = TurboQuantProduct(128, nbits).restore(codec.arrays() and TurboQuantProduct(128, nbits).train(x).arrays())
    codes = again.encode(x[:5])
    assert codes.shape == (5, again.code_size)
    np.testing.assert_allclose(again.norms(codes), (x[:5] ** 2).sum(axis=1), rtol=0.2)
