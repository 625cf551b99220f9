"""KMeans and TwoLevelKMeans: against Faiss, by hand, and where clusters are tiny or empty."""

import faiss
import numpy as np
import pytest

import mlpq
from tests import reference

RNG = np.random.default_rng(3)


def test_centroids_and_statistics_are_those_of_one_faiss_run(ds: mlpq.Dataset) -> None:
    x = ds.xb[:2000]
    ours = mlpq.KMeans(ds.d, 20, niter=7, seed=5).train(x)
    theirs = faiss.Kmeans(ds.d, 20, niter=7, seed=5)
    theirs.train(x)
    np.testing.assert_allclose(ours.centroids, theirs.centroids, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose([step.inertia for step in ours.history], theirs.obj, rtol=1e-5)
    assert [step.n_split for step in ours.history] == [s["nsplit"] for s in theirs.iteration_stats]
    np.testing.assert_allclose(
        [step.imbalance for step in ours.history], [s["imbalance_factor"] for s in theirs.iteration_stats]
    )


def test_inertia_falls(ds: mlpq.Dataset) -> None:
    inertia = [step.inertia for step in mlpq.KMeans(ds.d, 30).train(ds.xb[:3000]).history]
    assert len(inertia) == 20
    assert inertia == sorted(inertia, reverse=True)


def test_four_corners() -> None:
    corners = np.array([[0, 0], [0, 10], [10, 0], [10, 10]], np.float32)
    x = np.repeat(corners, 25, axis=0) + RNG.uniform(-0.1, 0.1, (100, 2))
    km = mlpq.KMeans(2, 4, seed=1).train(x)
    found = km.centroids[np.lexsort((km.centroids[:, 1], km.centroids[:, 0].round()))]
    np.testing.assert_allclose(found, corners, atol=0.1)
    assert np.bincount(km.assign(x)).tolist() == [25] * 4


def test_assign_and_probe_against_plain_reference(ds: mlpq.Dataset) -> None:
    km = mlpq.TwoLevelKMeans(ds.d, 25, 4).train(ds.xb[:3000])
    _, I = reference.exact(km.inner_centroids, ds.xq[:40], 25)
    assert np.array_equal(km.assign(ds.xq[:40]), I[:, 0])
    assert np.array_equal(km.probe(ds.xq[:40], 6), I[:, :6])
    assert np.array_equal(km.probe(ds.xq[:40], 6, n_outer_probe=4), I[:, :6])
    _, outer_of_inner = reference.exact(km.outer_centroids, km.inner_centroids, 1)
    assert np.array_equal(km.inner_to_outer, outer_of_inner[:, 0])


@pytest.mark.parametrize("n_outer_probe", [1, 2, 3])
def test_outer_probe_keeps_to_the_nearest_outer_clusters(ds: mlpq.Dataset, n_outer_probe: int) -> None:
    km = mlpq.TwoLevelKMeans(ds.d, 25, 4).train(ds.xb[:3000])
    _, near_outer = reference.exact(km.outer_centroids, ds.xq[:40], n_outer_probe)
    _, by_distance = reference.exact(km.inner_centroids, ds.xq[:40], 25)
    probes = km.probe(ds.xq[:40], 25, n_outer_probe)
    for q in range(40):
        wanted = [c for c in by_distance[q] if km.inner_to_outer[c] in near_outer[q]]
        assert probes[q].tolist() == wanted + [-1] * (25 - len(wanted))


def test_large_batches_are_cut_into_blocks(ds: mlpq.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    km = mlpq.TwoLevelKMeans(ds.d, 25, 4).train(ds.xb[:3000])
    whole, pruned = km.probe(ds.xq, 5), km.probe(ds.xq, 5, 2)
    monkeypatch.setattr("mlpq._parallel.BLOCK", 2500)
    assert np.array_equal(km.probe(ds.xq, 5), whole)
    assert np.array_equal(km.probe(ds.xq, 5, 2), pruned)


def test_more_than_all_cells_counts_as_all(ds: mlpq.Dataset) -> None:
    km = mlpq.TwoLevelKMeans(ds.d, 5, 2).train(ds.xb[:500])
    assert km.probe(ds.xq[:3], 10**9).shape == (3, 5)
    assert km.probe(ds.xq[:3], 10**9, n_outer_probe=10**9).shape == (3, 5)


@pytest.mark.parametrize("x", [np.zeros((50, 3)), np.repeat(np.eye(3), 20, axis=0), RNG.standard_normal((10, 3))])
def test_duplicates_and_tiny_clusters(x: np.ndarray) -> None:
    km = mlpq.TwoLevelKMeans(3, 10, 4).train(x)
    assert np.isfinite(km.inner_centroids).all()
    assert np.isfinite(km.outer_centroids).all()
    assert set(km.inner_to_outer) <= set(range(4))
    nearest = ((x[:, None] - km.inner_centroids[km.assign(x)][:, None]) ** 2).sum()
    assert nearest <= ((x - x.mean(axis=0)) ** 2).sum() + 1e-6


def test_same_seed_same_result(ds: mlpq.Dataset) -> None:
    one, two, other = (mlpq.TwoLevelKMeans(ds.d, 12, 3, seed=s).train(ds.xb[:4000]) for s in (1, 1, 2))
    assert np.array_equal(one.inner_centroids, two.inner_centroids)
    assert np.array_equal(one.outer_centroids, two.outer_centroids)
    assert not np.array_equal(one.inner_centroids, other.inner_centroids)


def test_quiet_unless_asked(ds: mlpq.Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    mlpq.TwoLevelKMeans(ds.d, 40, 4).train(ds.xb[:60])
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    mlpq.TwoLevelKMeans(ds.d, 40, 4).train(ds.xb[:60], progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("two-level k-means: 100%") == 1
    assert "40/40" in captured.err


def test_failed_training_leaves_the_old_state(ds: mlpq.Dataset) -> None:
    km = mlpq.TwoLevelKMeans(ds.d, 10, 2).train(ds.xb[:500])
    before = km.inner_centroids.copy()
    with pytest.raises(ValueError, match="at least as many points as clusters"):
        km.train(ds.xb[:9])
    assert np.array_equal(km.inner_centroids, before)
