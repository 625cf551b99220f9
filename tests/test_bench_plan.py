"""`python -m mlpq.bench plan`: the grown vectors and their truth, what is foretold, that it goes on, and the record."""

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import mlpq
from mlpq.bench import grown, plan, serving
from mlpq.bench.__main__ import main
from mlpq.bench.child import Child
from mlpq.bench.store import load
from tests import reference
from tests.conftest import ROOT

FILE = ROOT / "book" / "recorded" / "plan.json"
SIZES = [1000, 2000, 4000]


@pytest.fixture(scope="module")
def small() -> mlpq.Dataset:
    return mlpq.synthetic(1500, 12, nq=300, n_clusters=10)


def test_pairs_are_of_one_topic_even_and_different() -> None:
    topics = np.random.default_rng(0).integers(0, 7, 500)
    made = grown.pairs(topics, 4000, np.random.default_rng(1))
    assert made.shape == (4000, 2)
    assert (topics[made[:, 0]] == topics[made[:, 1]]).all()
    assert len(np.unique(made, axis=0)) == 4000
    assert np.bincount(made[:, 0]).tolist() == [8] * 500
    assert np.array_equal(made, grown.pairs(topics, 4000, np.random.default_rng(1)))
    few = grown.pairs(np.array([0, 0, 1]), 6, np.random.default_rng(0))  # a topic of one text stands beside itself
    assert [2, 2] in few.tolist()


def test_vectors_are_halves_side_by_side_with_their_truth(small: mlpq.Dataset, tmp_path: Path) -> None:
    found = grown.grow(small, 2000, 50, [800, 2000], 10, tmp_path)
    base, xq = (np.load(tmp_path / f"{name}.npy") for name in ("base", "queries"))
    assert (base.shape, xq.shape) == ((2000, 24), (50, 24))
    real = {row.tobytes() for row in small.xb * np.float32(0.5**0.5)}
    assert all(half.tobytes() in real for half in base.reshape(-1, 12))
    asked = {row.tobytes() for row in small.xq * np.float32(0.5**0.5)}
    assert all(half.tobytes() in asked for half in xq.reshape(-1, 12))
    for size in (800, 2000):
        I = np.load(tmp_path / f"truth-{size}.npy")
        assert np.array_equal(I, reference.exact(base[:size], xq, 10)[1])
    D = reference.exact(base, xq, 10)[0]
    any_one = np.mean([((base[::2] - q) ** 2).sum(axis=1).mean() for q in xq])
    np.testing.assert_allclose(found["grown"], [D[:, 0].mean(), D[:, -1].mean(), any_one], rtol=0.01)
    stamp = (tmp_path / "base.npy").stat().st_mtime_ns
    assert grown.grow(small, 2000, 50, [800, 2000], 10, tmp_path) == found
    assert (tmp_path / "base.npy").stat().st_mtime_ns == stamp  # it is there


def test_answer_is_that_of_rerank(small: mlpq.Dataset) -> None:
    how = {"m": 4, "nbits": 4, "pca_dim": 8}
    plain = mlpq.MultiLevelPQ(12, 12, 3, **how).train(small.xb).add(small.xb)
    kept = mlpq.MultiLevelPQ(12, 12, 3, keep_originals=True, **how).train(small.xb).add(small.xb)
    I = serving.answer(plain, small.xb, small.xq, 10, 4, 3)
    assert (I == kept.search(small.xq, 10, nprobe=4, rerank=3)[1]).mean() > 0.999
    assert serving.answer(plain, small.xb, small.xq, 2000, 12, 1)[0, 1500:].tolist() == [-1] * 500


def test_line() -> None:
    assert plan.line(100, 3, 1000, 6, 10_000) == pytest.approx(12)
    assert plan.line(100, 5, 200, 5, 10**6) == pytest.approx(5)


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is read as Linux tells it")
def test_it_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["plan", "--dataset", "wordnet-20k", "--queries", "40", "--quiet", "--threads", "1"]
    command += ["--sizes", *map(str, SIZES), "--folder", str(tmp_path), "--output", str(tmp_path / "x.json")]
    sized, may = plan._size, [2]

    def counted(*arguments: object) -> object:
        if not may[0]:
            raise KeyboardInterrupt
        may[0] -= 1
        return sized(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "_size", counted)
        patch.setattr(plan, "_chosen", lambda folder, n: {
            "n": n, "m": 16, "nbits": 4, "pca_dim": 64, "codebooks": "global", "codebook_dtype": "uint8",
        })  # fmt: skip
        with pytest.raises(SystemExit):
            main(command)
        before = load(tmp_path / "x.json")["sizes"]
        assert list(before) == ["1000", "2000"]
        may[0] = 1
        main(command)
    record = load(tmp_path / "x.json")
    assert record["sizes"].items() >= before.items()
    rows = list(record["sizes"].values())
    for row in rows:
        assert row["bytes"] == row["predicted_bytes"]
        assert row["answered"] == pytest.approx(row["recall"], abs=0.002)
        assert row["coarse"] <= 0.025 + 1e-9
        assert row["curve"] == sorted(row["curve"])
        assert row["loaded"] >= row["bytes"]
        assert row["held"] >= row["loaded"] > row["empty"] > 0
    copies = record["whole"]["copies"]
    lists = {"codes", "ids"}
    fixed = rows[-1]["bytes"] - sum(size for name, size in _memory(tmp_path).items() if name in lists)
    assert copies["bytes"] == 10 * (rows[-1]["bytes"] - fixed) + fixed
    assert set(record["whole"]["ways"]) == {"one thread", "two threads", "two processes"}
    assert "± 0." in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is read as Linux tells it")
def test_loading_takes_little_more_than_the_index(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((4000, 8), np.float32)
    mlpq.MultiLevelPQ(8, 4, 2, m=2).train(x).add(x).save(tmp_path / "index.h5")
    serving.Copied(tmp_path / "index.h5", 1000).save(str(tmp_path / "copies.h5"))
    for name in ("base", "queries"):
        np.save(tmp_path / f"{name}.npy", x)
    child = Child("copies", partial(serving.Serving, tmp_path, 4000, tmp_path / "copies.h5", 1))
    try:
        report = child.ask("open")
    finally:
        child.stop()
    assert report["loaded"] - report["empty"] >= 24_000_000  # four million codes of 2 bytes, and ids of 4
    assert report["loading"] - report["loaded"] < 40_000_000


def _memory(folder: Path) -> dict[str, int]:
    return mlpq.MultiLevelPQ.load(folder / f"index-{SIZES[-1]}.h5").memory()


def test_nonsense_gets_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--sizes", "2000", "1000", "3000", "--output", str(tmp_path / "x.json")])
    assert "sizes must be three that rise; got 2000 1000 3000" in capsys.readouterr().err


def test_the_record_of_the_book_is_of_a_tenth_and_keeps_its_promises() -> None:
    record = load(FILE)
    assert record["about"]["command"] == "python -m mlpq.bench plan"
    assert {"machine", "threads", "numpy", "faiss", "source"} < set(record["about"])
    assert list(record["sizes"]) == [str(size) for size in plan.SIZES]
    assert 10 * plan.SIZES[-1] == plan.WHOLE
    assert record["set"]["equal"] == 0
    for row in record["sizes"].values():
        assert row["recall"] >= plan.RECALL
        assert row["bytes"] == row["predicted_bytes"]
    assert record["whole"]["copies"]["held"] < plan.RAM
    assert record["whole"]["predicted_bytes"] < 0.75 * plan.RAM
    assert {one["what"] for one in plan.foretold(str(FILE))} == set(plan.LINES)
