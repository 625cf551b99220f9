"""`python -m mlpq.bench cells` and `training`: what is measured is what is asked for, and both go on where they stopped."""

from pathlib import Path

import numpy as np
import pytest

import mlpq
from mlpq import clustering
from mlpq.bench import cells, training
from mlpq.bench.__main__ import main
from mlpq.bench.store import load
from mlpq.codecs import codebooks, pq


@pytest.fixture(scope="module")
def centroids() -> cells.FloatMatrix:
    return cells.centroids(mlpq.synthetic(6000, 16, nq=1).xb, 200)


def test_centroids_are_as_many_as_asked_for_and_good(centroids: cells.FloatMatrix) -> None:
    assert centroids.shape == (200, 16)
    assert len(np.unique(centroids, axis=0)) == 200
    x = mlpq.synthetic(6000, 16, nq=1).xb
    plain = mlpq.KMeans(16, 200, niter=10).train(x).centroids
    errors = [mlpq.ExactIndex(16).add(found).search(x, 1)[0].mean() for found in (centroids, plain)]
    assert errors[0] < 1.25 * errors[1]


def test_every_way_finds_the_same_cells_where_it_looks_at_all(centroids: cells.FloatMatrix) -> None:
    index, graph, built = cells.grids(centroids)
    assert min(built.values()) > 0
    assert np.bincount(index.clusters.inner_to_outer).sum() == 200
    xq = mlpq.synthetic(6000, 16, nq=40).xq
    true, found = index.clusters.probe(xq, cells.NPROBE), {}
    for way, setting, search in cells.ways(index, graph):
        I = search(xq)
        assert I.shape == true.shape
        one = np.concatenate([search(q) for q in xq[:, None]])
        assert (np.sort(one, axis=1) == np.sort(I, axis=1)).mean() > 0.99  # -1 where too few are in sight
        found[way, setting] = mlpq.recall_at_k(I, true, 32)
    assert {way for way, _ in found} == set(cells.WAYS)
    assert found["all centroids", 0] == found["all centroids, Faiss", 0] == 1
    opened = [recall for (way, _), recall in found.items() if way == "two levels"]
    assert opened == sorted(opened)
    assert opened[-1] > 0.99 > opened[0]
    assert found["graph", 512] > 0.99


def test_cells_are_measured_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "SINGLE", 20)
    command = ["cells", "--datasets", "wordnet-20k", "fashion-mnist-20k", "--cells", "100", "--runs", "1", "--quiet"]
    command += ["--output", str(tmp_path / "x.json"), "--threads", "1"]
    main(command)
    printed = capsys.readouterr().out
    assert printed.count("| 100 |") == 4
    rows = cells.rows(str(tmp_path / "x.json"))
    assert all(row["batch"] > 0 for row in rows if row["way"].startswith("all"))
    monkeypatch.setattr(cells, "grown", None)
    main(command)  # nothing is left to measure
    assert capsys.readouterr().out == printed


def test_images_and_texts_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fashion-mnist-20k", "wordnet-20k"):
        ds = mlpq.load_dataset(name)
        x, xq = cells.grown(ds, 25_000)
        assert (x.shape, xq.shape) == ((25_000, 96), (1000, 96))
        assert np.isfinite(x).all()
        assert x[20_000:].std() == pytest.approx(x[:20_000].std(), rel=0.1)


def test_points_for_each_centroid_are_set_and_set_back() -> None:
    x, before = mlpq.synthetic(3000, 8, nq=1).xb, clustering.POINTS_PER_CENTROID
    with training.at_most(20):
        assert clustering.POINTS_PER_CENTROID == codebooks.POINTS_PER_CENTROID == pq.POINTS_PER_CENTROID == 20
        few = mlpq.KMeans(8, 10).train(x).centroids
    assert (few == mlpq.KMeans(8, 10).train(x[clustering.sample(3000, 200, 0)]).centroids).all()
    assert clustering.POINTS_PER_CENTROID == codebooks.POINTS_PER_CENTROID == pq.POINTS_PER_CENTROID == before


def test_more_points_train_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MANY", 50)
    monkeypatch.setattr(training, "POINTS", (4, 16, training.ALL))
    np.save(tmp_path / "some.npy", mlpq.load_dataset("wordnet-20k").xb[:6000])
    command = ["training", "--datasets", str(tmp_path / "some.npy"), "--runs", "1", "--quiet", "--threads", "1"]
    command += ["--output", str(tmp_path / "x.json")]
    main(command)
    printed = capsys.readouterr().out
    for what in ("50 cells", "codes"):
        losses = [row["loss"] for row in training.rows(str(tmp_path / "x.json")) if row["what"] == what]
        assert losses[0] > losses[1] > losses[2] == 0
    points = load(tmp_path / "x.json")["points"]
    monkeypatch.setattr(training, "trained", None)
    main(command)  # nothing is left to measure
    assert (capsys.readouterr().out, load(tmp_path / "x.json")["points"]) == (printed, points)
