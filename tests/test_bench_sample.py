"""`python -m mlpq.bench sample`: rows of the base, their truth, what a line foretells, that a run goes on."""

from pathlib import Path
from typing import Any

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


def test_the_fall_goes_on() -> None:
    def rows(recalls: tuple[float, ...], seen: tuple[float, ...] = (1, 1, 1)) -> list[dict[str, Any]]:
        sizes = (1000, 2000, 4000)
        found = zip(sizes, recalls, seen, strict=True)
        return [{"n": n, "seen": share, "codes": {"8": {"0": [recall, 0.01]}}} for n, recall, share in found]

    # Odds of 9, 3, 1 go on to 1/3 at twice as many.
    assert sample.foretold({"n": 8000}, 8, 0, rows((0.9, 0.75, 0.5))) == pytest.approx((0.25, 0.25))
    assert sample.foretold({"n": 8000}, 8, 0, rows((0.75, 0.75, 0.5))) == pytest.approx((0.25, 0.25))
    assert sample.foretold({"n": 16_000}, 8, 0, rows((0.7, 0.8, 0.9))) == (0.9, 0.9)  # no rise is foretold
    assert sample.foretold({"n": 4000}, 8, 0, rows((0.9, 0.75, 0.5))) == (0.5, 0.5)
    # Recall stays, since cells gain what codes lose: of what is in sight, odds of 9 fall to 3, and go on to 1.
    gained = rows((0.6, 0.6, 0.6), (0.6, 0.6 / 0.9, 0.8))
    assert sample.foretold({"n": 8000}, 8, 0, gained) == pytest.approx((0.4, 0.6))


def test_the_record_is_whole() -> None:
    rows = sample.rows(str(FILE))
    assert {row["dataset"] for row in rows} == set(sample.DATASETS)
    assert len(rows) == len(sample.DATASETS) * (len(sample.SIZES) + 1)
    assert all(set(row["codes"]) == {str(m) for m, _ in sample.CODES} for row in rows)


def test_another_record_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "x.json"
    other.write_text((ROOT / "book" / "recorded" / "machines.json").read_text())
    with pytest.raises(ValueError, match="not a record of `sample`"):
        sample.rows(str(other))
