"""Cosine and inner product: what every search finds is what sums in float64 say, whatever the scale and the batch."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlpq
from mlpq import _check
from mlpq.search import distance
from tests.test_exact import SCALES, by_batches, order, squares, thorough, vectors

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

fewer = settings(thorough, max_examples=30)
METRICS = ("cosine", "ip")
NORMS = ("lengths 1 to 100", "lengths 1 to 1e6")
RNG = np.random.default_rng(3)
X = RNG.standard_normal((300, 8)).astype(np.float32)


def unit(x: Array) -> Array:
    """Rows at unit length in float32; one that has it to 2**-22 stays as it is."""
    lengths = np.sqrt(np.square(x.astype(float)).sum(axis=1))
    lengths[np.abs(lengths - 1) < 2.0**-22] = 1
    found: Array = (x / lengths[:, None]).astype(np.float32)
    return found


def stored(x: Array, metric: str) -> Array:
    return unit(x) if metric == "cosine" else x


def measure(xq: Array, xb: Array, metric: str) -> Floats:
    """What is to be small, (nq, n): squared distances, or minus the inner products."""
    if metric == "ip":
        return np.array([-(q.astype(float) * xb).sum(axis=1) for q in xq])
    return squares(stored(xq, metric), stored(xb, metric))


@st.composite
def cases(draw: st.DrawFn, metrics: tuple[str, ...] = METRICS) -> tuple[str, Array, Array, int]:
    """A metric, a base, queries of all lengths among and between its vectors, and k."""
    metric = draw(st.sampled_from(metrics))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    scale, n, d = (
        draw(st.sampled_from(SCALES + NORMS)),
        draw(st.sampled_from([30, 400])),
        draw(st.sampled_from([2, 7, 40])),
    )
    xb = vectors(scale, n, d, rng)
    if scale in NORMS:
        xb = (unit(xb) * np.geomspace(1, float(scale.split()[-1]), n)[:, None]).astype(np.float32)
        rng.shuffle(xb)
    between = (xb[rng.integers(0, n, 20)] + xb[rng.integers(0, n, 20)]) / np.float32(2)
    xq = np.concatenate([xb[rng.integers(0, n, 25)], between, rng.standard_normal((4, d)).astype(np.float32)])
    xq[-4:] *= np.float32([[1e-9], [1e-3], [1e3], [1e9]])
    for x in (xb, xq):
        x[~x.any(axis=1)] = 1
    if metric == "ip":
        xq[5] = 0
    return metric, xb, xq, draw(st.sampled_from([1, 5, 20]))


def check(D: Array, I: Array, true: Floats, k: int, metric: str, scale: Floats) -> None:
    """D and I are those of `true` (nq, n), where +inf is not found; `scale` (nq, 1) is what float64 rounds by."""
    expected = order(true, k)
    found = np.take_along_axis(true, expected, axis=1)
    assert (D.dtype, I.dtype) == (np.float32, np.int64)
    assert np.array_equal(I, np.where(np.isfinite(found), expected, -1))
    own = -D if metric == "ip" else D
    assert (own[np.isinf(found)] == np.inf).all()
    some = np.isfinite(found)
    error = np.abs(np.where(some, own, 0) - np.where(some, found, 0))
    assert (error <= 1e-5 * np.abs(np.where(some, found, 0)) + 1e-12 * scale + 1e-37).all()
    with np.errstate(invalid="ignore"):
        assert not (np.diff(own, axis=1) < 0).any()


def scales(xq: Array, xb: Array, metric: str) -> Floats:
    if metric == "cosine":
        return np.ones((len(xq), 1))
    lengths = [np.linalg.norm(x.astype(float), axis=1) for x in (xq, xb)]
    found: Floats = lengths[0][:, None] * lengths[1].max()
    return found


@fewer
@given(cases(), st.sampled_from([64, 1 << 14]))
def test_uncompressed_search_is_exact(case: tuple[Any, Array, Array, int], tile: int) -> None:
    metric, xb, xq, k = case
    true, scale = measure(xq, xb, metric), scales(xq, xb, metric)
    clusters = mlpq.KMeansIndex(xb.shape[1], 6, niter=3, metric=metric).train(xb).add(xb[:17]).add(xb[17:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distance, "TILE", tile)
        exact = mlpq.ExactIndex(xb.shape[1], metric=metric).add(xb)
        assert np.array_equal(exact.vectors, stored(xb, metric))
        for D, I in by_batches(lambda x: exact.search(x, k), xq):
            check(D, I, true, k, metric, scale)
    for D, I in by_batches(lambda x: clusters.search(x, k, nprobe=6), xq):
        check(D, I, true, k, metric, scale)
    _, I = mlpq.ground_truth(xb, xq, k, metric=metric)
    found, best = (np.take_along_axis(true, ids, axis=1) for ids in (I, order(true, k)))
    rounding = 1e-14 * scale if metric == "ip" else 1e-14 * best  # it adds up in another order
    assert (np.abs(found - best) <= rounding).all()
    assert all(len(set(row)) == len(row) for row in I.tolist())


@fewer
@given(cases(), st.sampled_from([1, 3]))
def test_the_clusters_of_the_best_centroids_are_scanned(case: tuple[Any, Array, Array, int], nprobe: int) -> None:
    metric, xb, xq, k = case
    index = mlpq.KMeansIndex(xb.shape[1], 6, niter=3, metric=metric).train(xb).add(xb)
    queries, base, centroids = stored(xq, metric), stored(xb, metric), index.clusters.centroids
    cells = order(squares(base, centroids), 1)[:, 0]
    probes = order(measure(queries, centroids, "ip") if metric == "ip" else squares(queries, centroids), nprobe)
    true = measure(xq, xb, metric)
    true[(cells[None, :, None] != probes[:, None, :]).all(axis=2)] = np.inf
    for D, I in by_batches(lambda x: index.search(x, k, nprobe=nprobe), xq):
        check(D, I, true, k, metric, scales(xq, xb, metric))


@fewer
@given(
    cases(), st.sampled_from(["inner", "outer", "global"]), st.sampled_from([1, 3, 6]), st.sampled_from([None, 1, 2])
)
def test_search_by_codes_is_exact_among_what_the_codes_say(
    case: tuple[Any, Array, Array, int], owner: Any, nprobe: int, n_outer_probe: int | None
) -> None:
    metric, xb, xq, k = case
    d = xb.shape[1]
    options: dict[str, Any] = {"m": d if d == 7 else 2, "nbits": 3, "codebooks": owner, "niter": 3}
    index = mlpq.MultiLevelPQ(d, 6, 3, **options, metric=metric, keep_originals=True).train(xb).add(xb)
    queries, clusters, lists = stored(xq, metric), index.clusters, index.lists
    cells, place = np.repeat(np.arange(6), lists.sizes), np.argsort(lists.ids)
    decoded = index.quantizers.decode(cells, lists.rows)
    centroids = clusters.inner_centroids
    if metric == "ip":
        by_code = measure(queries, centroids[cells] + decoded.astype(float), "ip")
    else:
        by_code = np.array([np.square(q.astype(float) - centroids[cells] - decoded).sum(axis=1) for q in queries])
    near = measure(queries, centroids, "ip") if metric == "ip" else squares(queries, centroids)
    if n_outer_probe is not None:
        outer = clusters.outer_centroids
        far = measure(queries, outer, "ip") if metric == "ip" else squares(queries, outer)
        near[(clusters.inner_to_outer[None, :, None] != order(far, n_outer_probe)[:, None, :]).all(axis=2)] = np.inf
    probes = order(near, nprobe)
    probes[np.isinf(np.take_along_axis(near, probes, axis=1))] = -1
    by_code, cells = by_code[:, place], cells[place]
    by_code[(cells[None, :, None] != probes[:, None, :]).all(axis=2)] = np.inf
    scale = scales(xq, centroids[cells] + decoded[place], metric)
    for D, I in by_batches(lambda x: index.search(x, k, nprobe=nprobe, n_outer_probe=n_outer_probe), xq):
        if metric == "ip":
            check(D, I, by_code, k, metric, scale)
        else:
            assert np.array_equal(I, np.where(np.isfinite(np.sort(by_code)[:, :k]), order(by_code, k), -1))
    true = measure(xq, xb, metric)
    for D, I in by_batches(lambda x: index.search(x, k, nprobe=6, rerank=-(-len(xb) // k)), xq):
        check(D, I, true, k, metric, scales(xq, xb, metric))


@pytest.mark.parametrize("metric", METRICS)
def test_shares_of_the_loss_add_up(metric: Any) -> None:
    _, gt = mlpq.ground_truth(X, X[:60] * 3, 10, metric=metric)
    index = mlpq.MultiLevelPQ(8, 6, 2, m=4, nbits=3, metric=metric, keep_originals=True).train(X).add(X)
    for rerank in (0, 2):
        shares = mlpq.error_decomposition(index, X[:60] * 3, gt, 10, 2, rerank=rerank)
        assert sum(shares.values()) == pytest.approx(1)
        recall = mlpq.recall_at_k(index.search(X[:60] * 3, 10, nprobe=2, rerank=rerank)[1], gt, 10)
        assert shares["recall"] == recall
    shares = mlpq.error_decomposition(
        index, X[:60], mlpq.ground_truth(X, X[:60], 10, metric=metric)[1], 10, 6, rerank=30
    )
    assert shares == {"recall": 1, "coarse": 0, "quantization": 0, "shortlist": 0}


# ---- padding, and sets of one vector or none ------------------------------------------------------------------------

MAKERS: dict[str, Callable[[Any], Any]] = {
    "ExactIndex": lambda metric: mlpq.ExactIndex(8, metric=metric),
    "KMeansIndex": lambda metric: mlpq.KMeansIndex(8, 4, metric=metric).train(X),
    "MultiLevelPQ": lambda metric: mlpq.MultiLevelPQ(8, 4, 2, m=4, nbits=4, metric=metric, keep_originals=True).train(
        X
    ),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [1, 40])
def test_what_is_not_found_is_padded(kind: str, metric: str, nq: int) -> None:
    index, none = MAKERS[kind](metric), -np.inf if metric == "ip" else np.inf
    for n in (0, 1, 3):
        index.add(X[:1] if n == 1 else X[1:n])
        options = [{}] if kind == "ExactIndex" else [{"nprobe": 4}]
        options += [{"nprobe": 4, "rerank": 2}] if kind == "MultiLevelPQ" else []
        for option in options:
            D, I = index.search(X[:nq], 5, **option)
            assert (D[:, n:] == none).all()
            assert (I[:, n:] == -1).all()
            assert np.isfinite(D[:, :n]).all()
            assert (np.sort(I[:, :n]) == np.arange(n)).all()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_query_of_zeros_finds_the_lowest_ids(kind: str) -> None:
    options = {} if kind == "ExactIndex" else {"nprobe": 4}
    index = MAKERS[kind]("ip").add(X)
    for nq in (1, 4, 40):
        D, I = index.search(np.zeros((nq, 8)), 5, **options)
        assert (D == 0).all()
        assert (I == np.arange(5)).all()


@pytest.mark.parametrize("kind", MAKERS)
def test_ties_go_to_the_lower_id(kind: str) -> None:
    options = {} if kind == "ExactIndex" else {"nprobe": 4}
    for metric in METRICS:
        index = MAKERS[kind](metric).add(np.tile(X[:3], (20, 1)))
        for nq in (1, 4, 40):
            D, I = index.search(np.repeat(X[:1], nq, axis=0), 20, **options)
            own = I[D == D[:, :1]].reshape(nq, -1)
            assert (np.diff(own, axis=1) > 0).all()
            assert own.shape[1] == 20


# ---- cosine: at the door --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
@pytest.mark.parametrize("length", [1e-30, 1e-3, 1, 1e6, 1e14])
def test_scaling_twice_is_scaling_once(dtype: Any, length: float) -> None:
    x = RNG.standard_normal((2000, 33)) * length
    if dtype in (np.float16, np.int8):
        x = np.clip(x * 10, -100, 100) + 1
    x = x.astype(dtype)
    once = _check.matrix(x, "x", metric="cosine")
    assert np.array_equal(once, unit(x.astype(np.float32)))
    for again in (once, once.astype(np.float64), np.asfortranarray(once)):
        assert np.array_equal(_check.matrix(again, "x", metric="cosine"), once)
    np.testing.assert_allclose(np.linalg.norm(once.astype(float), axis=1), 1, atol=2.0**-22)


def test_what_has_unit_length_is_stored_as_it_is() -> None:
    ds = mlpq.dataset(X * np.geomspace(1, 1e3, 300)[:, None], metric="cosine")
    index = mlpq.ExactIndex(8, metric="cosine").add(ds.xb)
    assert np.array_equal(index.vectors, ds.xb)
    D, I = index.search(ds.xq, 100)
    assert np.array_equal(I, ds.gt)
    np.testing.assert_allclose(D, ds.distances, rtol=1e-6)


def test_the_ground_truth_of_texts_is_reproduced() -> None:
    path = Path(os.environ.get("MLPQ_DATA_DIR", "/nonexistent")) / "wordnet-minilm-384-angular.hdf5"
    if not path.is_file():
        pytest.skip("needs the WordNet set in the folder that MLPQ_DATA_DIR names")
    ds = mlpq.load_dataset(path)
    index = mlpq.ExactIndex(ds.d, metric="cosine").add(ds.xb)
    assert np.array_equal(index.vectors, ds.xb)
    D, I = index.search(ds.xq[:300], 100)
    assert np.array_equal(I, ds.gt[:300])
    np.testing.assert_allclose(D, ds.distances[:300], atol=1e-6)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("row", [0, 77])
def test_a_zero_vector_is_refused_and_changes_nothing(kind: str, row: int) -> None:
    index, zero = MAKERS[kind]("cosine").add(X), X.copy()
    zero[row] = 0
    before = [array.tolist() for array in index.search(X, 5)]
    calls = {"xb": lambda: index.add(zero), "xq": lambda: index.search(zero, 3)}
    if kind != "ExactIndex":
        calls["xt"] = lambda: index.train(zero)
    for name, call in calls.items():
        message = f"{name} must not hold a zero vector where the metric is cosine; row {row} is one"
        with pytest.raises(ValueError, match=message):
            call()
        assert index.ntotal == 300
        assert [array.tolist() for array in index.search(X, 5)] == before
    for call in (
        lambda: mlpq.ground_truth(zero, X, 3, metric="cosine"),
        lambda: mlpq.ground_truth(X, zero, 3, metric="cosine"),
        lambda: mlpq.dataset(zero, X, metric="cosine"),
    ):
        with pytest.raises(ValueError, match=f"must not hold a zero vector .* row {row} is one"):
            call()


@pytest.mark.parametrize("make", [mlpq.ExactIndex, mlpq.KMeansIndex, mlpq.MultiLevelPQ])
def test_other_metrics_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="metric must be one of 'l2', 'cosine', 'ip'; got 'dot'"):
        make(8, metric="dot")
