"""The ruler: every search finds what sums of squared differences in float64 say, whatever the scale and the batch."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlpq
from mlpq.search import bounds, distance
from tests import reference

Array = npt.NDArray[Any]

thorough = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BATCHES = (1, 3, 4, 40)

SCALES = (
    "plain", "offset 1e3", "offset 1e6", "one at 1e9", "fill value 1e8", "features 1 to 1e5", "one wide feature",
    "near-duplicates", "blobs", "poles", "duplicates", "few values", "small",
)  # fmt: skip


def vectors(scale: str, n: int, d: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Vectors (n, d) whose differences are small against something else in them."""
    x = rng.standard_normal((n, d))
    if scale.startswith("offset"):
        x += float(scale.removeprefix("offset "))
    elif scale in ("one at 1e9", "fill value 1e8"):
        x[rng.integers(n)] = float(scale.split()[-1])
    elif scale == "features 1 to 1e5":
        x *= np.geomspace(1, 1e5, d)
    elif scale == "one wide feature":
        x[:, 0] *= 1e4
    elif scale == "near-duplicates":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        some = rng.random(n) < 0.3
        x[some] = x[0] + 1e-6 * rng.standard_normal((int(some.sum()), d))
    elif scale == "blobs":
        x += 1e4 * rng.standard_normal((3, d))[rng.integers(0, 3, n)]
    elif scale == "poles":
        x[:, 0] = rng.choice([-1e15, 1e15], n)
    elif scale == "duplicates":
        x = x[rng.integers(0, max(1, n // 6), n)]
    elif scale == "few values":
        x = rng.integers(0, 3, (n, d)).astype(float)
    elif scale == "small":
        x *= 1e-12
    return x.astype(np.float32)


def order(D: npt.NDArray[np.float64], k: int) -> Array:
    """The k smallest of each row, ties by column."""
    found: Array = np.argsort(D, axis=1, kind="stable")[:, :k]
    return found


def squares(xq: Array, xb: Array) -> npt.NDArray[np.float64]:
    return np.array([np.square(q.astype(float) - xb).sum(axis=1) for q in xq])


def by_batches(search: Any, xq: Array) -> list[tuple[Array, Array]]:
    """D and I of all queries, asked in batches of each size."""
    found = []
    for size in BATCHES:
        parts = [search(xq[i : i + size]) for i in range(0, len(xq), size)]
        found.append((np.concatenate([D for D, _ in parts]), np.concatenate([I for _, I in parts])))
    return found


@st.composite
def cases(draw: st.DrawFn) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], int]:
    """Base, queries among and between its vectors, and k."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    scale, n, d = (
        draw(st.sampled_from(SCALES)),
        draw(st.sampled_from([30, 400])),
        draw(st.sampled_from([2, 7, 40])),
    )
    xb = vectors(scale, n, d, rng)
    between = (xb[rng.integers(0, n, 20)] + xb[rng.integers(0, n, 20)]) / np.float32(2)
    return xb, np.concatenate([xb[rng.integers(0, n, 25)], between]), draw(st.sampled_from([1, 5, 20]))


@thorough
@given(cases(), st.sampled_from([64, 1 << 14]))
def test_uncompressed_search_is_exact(case: tuple[Array, Array, int], tile: int) -> None:
    xb, xq, k = case
    D64 = squares(xq, xb)
    expected = order(D64, k)
    clusters = mlpq.KMeansIndex(xb.shape[1], 6, niter=3).train(xb).add(xb[:17]).add(xb[17:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distance, "TILE", tile)
        exact = by_batches(lambda x: mlpq.ExactIndex(xb.shape[1]).add(xb).search(x, k), xq)
    for D, I in [*exact, *by_batches(lambda x: clusters.search(x, k, nprobe=6), xq)]:
        assert np.array_equal(I, expected)
        np.testing.assert_allclose(D, np.take_along_axis(D64, expected, axis=1), rtol=1e-5, atol=1e-37)
        assert (np.diff(D, axis=1) >= 0).all()
    centroids = clusters.clusters.centroids
    for size in BATCHES:
        probes = [clusters.clusters.probe(xq[i : i + size], 4) for i in range(0, len(xq), size)]
        assert np.array_equal(np.concatenate(probes), order(squares(xq, centroids), 4))
    assert np.array_equal(clusters.clusters.assign(xb), order(squares(xb, centroids), 1)[:, 0])


@thorough
@given(cases(), st.sampled_from(["inner", "outer", "global"]), st.sampled_from([1, 3, 6]))
def test_search_by_codes_is_exact_among_what_the_codes_say(
    case: tuple[Array, Array, int], owner: Any, nprobe: int
) -> None:
    xb, xq, k = case
    d = xb.shape[1]
    index = mlpq.MultiLevelPQ(d, 6, 2, m=d if d == 7 else 2, nbits=3, codebooks=owner, niter=3, keep_originals=True)
    index.train(xb).add(xb)
    lists, centroids = index.lists, index.clusters.inner_centroids
    cells = np.repeat(np.arange(6), lists.sizes)
    decoded = index.quantizers.decode(cells, lists.rows)
    place = np.argsort(lists.ids)
    by_code = np.array([np.square(q.astype(float) - centroids[cells] - decoded).sum(axis=1) for q in xq])[:, place]
    probes = index.clusters.probe(xq, nprobe)
    by_code[(cells[place][None, :, None] != probes[:, None, :]).all(axis=2)] = np.inf
    for D, I in by_batches(lambda x: index.search(x, k, nprobe=nprobe), xq):
        expected = order(by_code, k)
        found = np.take_along_axis(by_code, expected, axis=1)
        assert np.array_equal(I, np.where(np.isfinite(found), expected, -1))
        np.testing.assert_allclose(D, found, rtol=1e-3, atol=1e-37)
    for D, I in by_batches(lambda x: index.search(x, k, nprobe=6, rerank=-(-len(xb) // k)), xq):
        assert np.array_equal(I, order(squares(xq, xb), k))
        assert (np.diff(D, axis=1) >= 0).all()


@thorough
@given(cases(), st.integers(1, 3), st.integers(1, 6))
def test_probing_by_outer_clusters_is_exact(case: tuple[Array, Array, int], n_outer_probe: int, nprobe: int) -> None:
    xb, xq, _ = case
    clusters = mlpq.TwoLevelKMeans(xb.shape[1], 12, 4, niter=3).train(xb)
    near = order(squares(xq, clusters.outer_centroids), n_outer_probe)
    D = squares(xq, clusters.inner_centroids)
    D[(clusters.inner_to_outer[None, :, None] != near[:, None, :]).all(axis=2)] = np.inf
    expected = order(D, nprobe)
    expected[np.isinf(np.take_along_axis(D, expected, axis=1))] = -1
    assert np.array_equal(clusters.probe(xq, nprobe, n_outer_probe), expected)


@thorough
@given(cases())
def test_search_by_one_quantizer_is_exact_among_what_its_codes_say(case: tuple[Array, Array, int]) -> None:
    xb, xq, k = case
    d = xb.shape[1]
    pq = mlpq.ProductQuantizer(d, m=7 if d == 7 else 2, nbits=3).train(xb)
    codes = pq.encode(xb)
    D64 = squares(xq, pq.decode(codes))
    for D, I in by_batches(lambda x: pq.search(x, codes, k), xq):
        assert np.array_equal(I, order(D64, k))
        np.testing.assert_allclose(D, np.take_along_axis(D64, I, axis=1), rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", SCALES)
def test_products_bound_distances_from_both_sides(scale: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    y, x = vectors(scale, 400, 50, rng), vectors(scale, 30, 50, rng)
    for origin in (bounds.middle(y), np.float32(0)):
        left, right = bounds.left_factor(x, origin, dtype), bounds.right_factor(y, origin, dtype)
        low = left.rows.astype(float) @ right.rows.T.astype(float) * 0 + left.rows @ right.rows.T
        high = low + left.allowance[:, None] + right.allowance
        true, tiny = squares(x, y), bounds.reach(0, 50)
        assert (low <= true + tiny).all()
        assert (high >= true - tiny).all()
    if scale == "plain":  # and closely
        assert (high - low).max() < (1e-3 if dtype == np.float32 else 1e-11) * true.min()


def test_the_smallest_case_of_the_fault() -> None:
    y = np.arange(100) / 10
    xb = np.r_[np.c_[0 * y + 1e4, y], np.c_[0 * y - 1e4, y]]
    xq = [[1e4, 5.02], [1e4, 2.02], [-1e4, 7.02], [-1e4, 1.02]]
    assert mlpq.ExactIndex(2).add(xb).search(xq, 1)[1].ravel().tolist() == [50, 20, 170, 110]
    clusters = mlpq.KMeansIndex(2, 4).train(xb).add(xb)
    assert clusters.search(xq, 1, nprobe=4)[1].ravel().tolist() == [50, 20, 170, 110]


def test_equal_sums_of_float32_are_told_apart_in_float64() -> None:
    """The second is nearer by one part in 10^9, which no sum of float32 shows."""
    xb = np.array([[1, 0, 2**-15], [1, 0, 0], [0, 1, 2**-15]], np.float32)
    for nq in (1, 8):
        D, I = mlpq.ExactIndex(3).add(xb).search(np.zeros((nq, 3)), 3)
        assert (I == [1, 0, 2]).all()  # and ties by id
        assert (D == 1).all()


@pytest.mark.parametrize("m", [1, 2, 4])
@pytest.mark.parametrize("nbits", [4, 6])
def test_an_offset_changes_no_codebook(m: int, nbits: int) -> None:
    """The error is the same wherever the data lie, but for what the offset itself rounds away."""
    x = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32) * 2

    def error(x: Array) -> float:
        pq = mlpq.ProductQuantizer(64, m, nbits).train(x)
        return float(np.square(pq.decode(pq.encode(x)).astype(float) - x).sum(axis=1).mean())

    for offset in (1e3, 1e4, 1e6):
        spacing = float(np.spacing(np.float32(offset)))
        assert error(x + np.float32(offset)) == pytest.approx(error(x), rel=0.01, abs=64 * spacing**2)


def test_an_offset_changes_no_cluster() -> None:
    x = np.random.default_rng(0).integers(0, 9, (2000, 20)).astype(np.float32)  # which no offset below 2**20 rounds
    plain, moved = mlpq.KMeans(20, 30).train(x), mlpq.KMeans(20, 30).train(x + 2**19)
    assert moved.history[-1].inertia == pytest.approx(plain.history[-1].inertia, rel=0.01)
    ours = mlpq.MultiLevelPQ(20, 8, 2, m=4, nbits=4, pca_dim=16)
    errors = []
    for offset in (0, 2**19):
        index = ours.train(x + offset).add(x + offset)
        D, _ = index.search(x + offset, 1, nprobe=8)
        errors.append(D.mean())
    assert errors[1] == pytest.approx(errors[0], rel=0.02)


def test_reference_and_order_agree() -> None:
    xb, xq = np.random.default_rng(0).integers(0, 3, (2, 40, 3)).astype(np.float32)
    assert np.array_equal(reference.exact(xb, xq, 7)[1], order(squares(xq, xb), 7))
