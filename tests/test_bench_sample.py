"""`python -m mlpq.bench sample`: rows of the base, their truth, what a line foretells, that a run goes on."""

import math
from pathlib import Path

import numpy as np
import pytest

import mlpq
from mlpq.bench import sample
from mlpq.bench.__main__ import main
from tests.conftest import ROOT
from tests.resumed import resumed

FILE = ROOT / "book" / "recorded" / "sample.json"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SIZES", (1000, 4000))
    monkeypatch.setattr(sample, "CODES", ((16, 64),))


def test_a_run_goes_on_and_its_rows_are_right(
    few: None, tmp_path: Path, words: mlpq.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    command = ["sample", "--datasets", "wordnet-20k", "--queries", "200", "--quiet", "--output", str(path)]
    resumed(sample, command, path, after=1, left=2)
    first, second, whole = sample.rows(str(path))
    assert [first["n"], second["n"], whole["n"]] == [1000, 4000, len(words.xb)]
    picked = np.sort(np.random.default_rng(0).permutation(len(words.xb))[:4000])
    index = mlpq.MultiLevelPQ(words.d, 141, 12, m=16, pca_dim=64, metric="cosine").train(words.xb[picked])
    index.add(words.xb[picked])
    gt = mlpq.ground_truth(words.xb[picked], words.xq[:200], 10, metric="cosine")[1]
    I = index.search(words.xq[:200], 10, nprobe=sample.NPROBE)[1]
    assert second["codes"]["16"]["0"][0] == pytest.approx(mlpq.recall_at_k(I, gt, 10), abs=1e-6)
    for row in (first, second, whole):
        assert row["codes"]["16"]["0"][0] < row["codes"]["16"]["5"][0] <= row["seen"]
    main(["sample", "--report", "--output", str(path)])
    assert "50 originals" in capsys.readouterr().out


def test_the_change_goes_on() -> None:
    fall = math.log(3)  # odds of 3 to 1, and over half the way
    learnt = (0.75, 0.03, [[-fall, 0.04]] * 5)
    assert sample.foretold(learnt, 1000, 4000) == pytest.approx((0.5, 0.45, 0.55))
    assert sample.foretold(learnt, 1000, 2000)[0] == pytest.approx(3**0.5 / (3**0.5 + 1))
    assert sample.foretold(learnt, 1000, 500) == pytest.approx((0.75, 0.72, 0.78))
    assert sample.foretold((0.5, 0.03, [[fall, 0.04]] * 5), 1000, 4000) == pytest.approx((0.75, 0.7, 0.8))
    assert sample.foretold((1, 0.01, [[0, 0.01]] * 5), 1000, 4000)[0] == 1
    # From 2.5 n / k to 10 n / k: of n to 4 n that is k = 2.5, of n to n it would be 5. The mean change is that of the middle k.
    rising = (0.5, 0.01, [[k, 0.01] for k in range(1, 6)])
    for times, k in ((1.01, 4), (2, 4), (4, 3), (9, 2), (30, 2), (10_000, 2)):
        steps = math.log2(times) / 2
        assert sample.foretold(rising, 1000, int(1000 * times))[0] == pytest.approx(1 / (1 + math.exp(-k * steps)))


def test_the_record_is_whole() -> None:
    rows = sample.rows(str(FILE))
    assert {row["dataset"] for row in rows} == set(sample.DATASETS)
    assert len(rows) == len(sample.DATASETS) * (len(sample.SIZES) + 1)
    assert all(len(found[2]) == sample.NEAR for row in rows for by in row["codes"].values() for found in by.values())
    assert all(set(row["codes"]) == {str(m) for m, _ in sample.CODES} for row in rows)


def test_another_record_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "x.json"
    other.write_text((ROOT / "book" / "recorded" / "machines.json").read_text())
    with pytest.raises(ValueError, match="not a record of `sample`"):
        sample.rows(str(other))
