"""`python -m mlpq.bench scale`: the grown vectors and their truth, the stopwatch, what is foretold, and that it goes on."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mlpq
from mlpq.bench import built, millions, scale
from mlpq.bench.__main__ import main
from mlpq.bench.store import load
from mlpq.clustering import TwoLevelKMeans
from tests import reference
from tests.conftest import ROOT

FILE = ROOT / "book" / "recorded" / "scale.json"


def test_vectors_are_bytes_of_real_and_mixed_ones_with_their_truth(tmp_path: Path) -> None:
    ds = mlpq.synthetic(600, 120, nq=30, n_clusters=5)
    found = millions.million(ds, [300, 1500], 20, 10, tmp_path)
    base, xq = (np.load(tmp_path / f"{name}.npy") for name in ("base", "queries"))
    assert (base.shape, base.dtype, xq.shape) == ((1500, 96), np.uint8, (20, 96))
    assert (((base == 0) | (base == 255)).mean()) < 1e-3
    real = base[:600].astype(np.float64)
    for first, second in ((0, 1), (10, 500)):  # distances are those of the real ones, but for scale and rounding
        wanted = np.linalg.norm(ds.xb[first] - ds.xb[second]) / np.linalg.norm(ds.xb[0] - ds.xb[599])
        got = np.linalg.norm(real[first] - real[second]) / np.linalg.norm(real[0] - real[599])
        assert got == pytest.approx(wanted, rel=0.1)
    for size in (300, 1500):
        I = np.load(tmp_path / f"truth-{size}.npy")
        assert np.array_equal(I, reference.exact(base[:size].astype(np.float32), xq.astype(np.float32), 10)[1])
        assert found["shares"][str(size)] == (I < 600).mean()
    stamp = (tmp_path / "base.npy").stat().st_mtime_ns
    assert millions.million(ds, [300, 1500], 20, 10, tmp_path) == found
    assert (tmp_path / "base.npy").stat().st_mtime_ns == stamp  # it is there


def test_truth_is_that_of_the_whole_across_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    base, xq = rng.integers(0, 9, (700, 4), np.uint8), rng.integers(0, 9, (15, 4), np.uint8)  # with many ties
    monkeypatch.setattr(millions, "CHUNK", 128)
    for size, I in millions.truths(base, xq, [100, 300, 700], 10):
        assert np.array_equal(I, reference.exact(base[:size].astype(np.float32), xq.astype(np.float32), 10)[1])


def test_the_stopwatch_counts_parts_and_is_gone_afterwards() -> None:
    x = mlpq.synthetic(500, 8, nq=1).xb
    before = vars(TwoLevelKMeans)["_fit"], vars(TwoLevelKMeans)["assign"]
    with built.stopwatch() as clock, clock.part("rest"):
        mlpq.MultiLevelPQ(8, 10, 3, m=4, nbits=4).train(x).add(x)
        time.sleep(0.5)
    assert set(clock.seconds) == set(clock.cpu) == {*built.WATCHED, "rest"}
    assert min(clock.seconds.values()) > 0
    assert clock.seconds["rest"] > 0.5  # asleep, it takes no processor
    assert clock.cpu["rest"] < clock.seconds["rest"]
    assert (vars(TwoLevelKMeans)["_fit"], vars(TwoLevelKMeans)["assign"]) == before


def test_what_is_read_is_what_is_there(tmp_path: Path) -> None:
    base = np.arange(4000, dtype=np.uint32).view(np.uint8).reshape(-1, 16)
    np.save(tmp_path / "base.npy", base)
    building = built.Building(tmp_path, len(base), 1)
    assert np.array_equal(building.read(17, 600), base[17:600])


def test_laws_are_found_again_and_none_is_negative() -> None:
    n = [10**5, 10**5.5, 10**6]
    law = scale.fitted(n, [3e-6 * size + 2e-9 * size**1.5 for size in n], (1, 1.5))
    assert law == pytest.approx({1: 3e-6, 1.5: 2e-9}, rel=1e-6)
    falling = scale.fitted(n, [5.0, 4.0, 3.0], (0, 1))
    assert falling[1] == 0
    assert 3 < falling[0] < 5
    assert scale.fitted([10, 100], [0.0, 0.0], (1,))[1] == pytest.approx(0, abs=1e-9)


def build(n: int) -> dict[str, object]:
    """A build whose parts follow their laws."""
    return {"n": n, "cpu": {name: sum(n**power for power in powers) * 1e-9 for name, powers in scale.LAWS.items()}}


def test_each_part_is_foretold_by_its_own_law() -> None:
    builds = [build(n) for n in (10**4, 10**5, 316_228, 10**6, 10**7)]
    builds[0]["cpu"] = dict.fromkeys(scale.LAWS, 1e9)  # below 10^5 nothing counts
    found = scale.foretold(builds, 10**6, 10**7)
    wanted = builds[-1]["cpu"]
    assert found == pytest.approx(wanted, rel=1e-4)
    assert scale.grouped(found)["in all"] == pytest.approx(sum(found.values()))
    assert sum(scale.grouped(found).values()) == pytest.approx(2 * sum(found.values()))  # every part is in one group
    with pytest.raises(ValueError, match="two sizes from 100,000 to 100,000 are needed; there are 1"):
        scale.foretold(builds, 10**5, 10**7)


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is read as Linux tells it")
def test_it_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, path = tmp_path / "vectors", tmp_path / "x.json"
    folder.mkdir()
    command = ["scale", "--dataset", "wordnet-20k", "--runs", "1", "--quiet", "--output", str(path)]
    command += ["--sizes", "1000", "3000", "--folder", str(folder), "--threads", "1"]
    main(command)
    whole = load(path)
    assert set(whole["builds"]) == set(whole["searches"]) == {"1000", "3000"}
    assert all(part["seconds"].keys() == part["cpu"].keys() == scale.LAWS.keys() for part in whole["builds"].values())
    row = scale.rows(str(path))[1]
    assert row["bytes"] == sum(row["memory"].values()) < (folder / "index-3000.h5").stat().st_size
    assert row["extra"] > 0
    best = max(search["recall"] for search in row["searches"])
    assert best > 0.95
    del whole["builds"]["3000"], whole["searches"]["3000"]
    path.write_text(json.dumps(whole))
    main(command)
    again = load(path)
    assert again["builds"]["1000"] == whole["builds"]["1000"]
    assert again["searches"]["1000"] == whole["searches"]["1000"]
    assert set(again["searches"]) == {"1000", "3000"}
    assert "| 3,000 | 55 |" in capsys.readouterr().out
    assert scale.foresight(str(path)) == []  # too few, too small
