"""Rotations: orthonormal, undone by their inverse, and as good for product quantization as they say."""

import copy
import pickle
from typing import Any

import faiss
import numpy as np
import pytest

import mlpq
from mlpq._parallel import quick_training
from mlpq.clustering import sample
from mlpq.codecs.rotation import deal

RNG = np.random.default_rng(5)
X = (RNG.standard_normal((1500, 12)) @ RNG.standard_normal((12, 12)) + 3).astype(np.float32)
KINDS = ["random", "pca", "opq"]


def rotation(dim: int | None = None, **options: Any) -> mlpq.Rotation:
    return mlpq.Rotation(12, dim, **({"m": 4, "nbits": 4} | options))


def error(x: Any, m: int, nbits: int) -> float:
    """Mean squared error of a product quantizer trained on the rows themselves."""
    pq = mlpq.ProductQuantizer(x.shape[1], m, nbits).train(x)
    return float(np.square(x - pq.decode(pq.encode(x))).sum(axis=1).mean())


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("dim", [None, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_axes_are_orthonormal_and_the_inverse_leads_back(kind: str, dim: int | None, centred: bool) -> None:
    r = rotation(dim, kind=kind, centred=centred)
    assert not r.is_trained
    assert r.train(X) is r
    assert r.is_trained
    assert (r.mean.shape, r.axes.shape, r.mean.dtype, r.axes.dtype) == ((12,), (12, dim or 12), "f4", "f4")
    np.testing.assert_allclose(r.axes.T @ r.axes, np.eye(dim or 12), atol=1e-5)
    assert r.mean.any() == centred
    y = r(X)
    assert (y.shape, y.dtype) == ((1500, dim or 12), np.float32)
    np.testing.assert_allclose(y, (X - r.mean) @ r.axes, atol=1e-4)
    back = r.inverse(y)
    assert (back.shape, back.dtype) == (X.shape, np.float32)
    nearest = (X - r.mean) @ r.axes.astype(np.float64) @ r.axes.T + r.mean
    np.testing.assert_allclose(back, nearest, atol=1e-4)
    if dim is None:
        np.testing.assert_allclose(back, X, atol=1e-4)
        distances = np.linalg.norm(y[:50, None] - y[None, 50:100], axis=2)
        np.testing.assert_allclose(distances, np.linalg.norm(X[:50, None] - X[None, 50:100], axis=2), rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_dimensions_are_those_that_vary_most(kind: str) -> None:
    r = rotation(8, kind=kind).train(X)
    kept = (np.linalg.svd(X - X.mean(axis=0), compute_uv=False)[:8] ** 2).sum()
    np.testing.assert_allclose(np.square(r(X)).sum(), kept, rtol=1e-4)
    about = rotation(8, kind=kind, centred=False).train(X)
    kept = (np.linalg.svd(X, compute_uv=False)[:8] ** 2).sum()
    np.testing.assert_allclose(np.square(about(X)).sum(), kept, rtol=1e-4)
    products = about(X[:9]) @ about(X[:9]).T
    assert np.abs(products - X[:9] @ X[:9].T).max() < np.abs(products).max() / 10


def test_components_are_those_of_a_plain_reference(ds: mlpq.Dataset) -> None:
    """Up to their signs and to rounding, in which libraries of linear algebra differ."""
    part = ds.xb[sample(len(ds.xb), 10_000, 3)]
    mean = part.mean(axis=0, dtype=np.float64).astype(np.float32)
    variances, directions = np.linalg.eigh((part - mean).T @ (part - mean).astype(np.float64))
    largest = np.argsort(-variances, kind="stable")[:64]
    axes = directions[:, largest[deal(variances[largest], 16)]]
    r = mlpq.Rotation(ds.d, 64, kind="pca", m=16, seed=3).train(ds.xb)
    assert np.array_equal(r.mean, mean)
    np.testing.assert_allclose(r.axes * np.sign((r.axes * axes).sum(axis=0)), axes, atol=1e-4)
    np.testing.assert_allclose(r(ds.xb[:100]), (ds.xb[:100] - mean) @ r.axes.astype(np.float64), atol=0.1)


def test_components_are_dealt_out(ds: mlpq.Dataset) -> None:
    z = mlpq.Rotation(ds.d, 64, kind="pca", m=16).train(ds.xb[:4000])(ds.xb[:4000])
    products = np.log(z.var(axis=0)).reshape(16, 4).sum(axis=1)
    undealt = np.log(np.sort(z.var(axis=0))[::-1]).reshape(16, 4).sum(axis=1)
    assert np.ptp(products) < np.ptp(undealt) / 4


def test_optimized_axes_are_no_worse_than_components_and_than_those_of_faiss(ds: mlpq.Dataset) -> None:
    x = np.ascontiguousarray(ds.xb[:6000].reshape(-1, 28, 28)[:, ::4, ::4].reshape(6000, 49)[:, :48])
    dealt, ours = (mlpq.Rotation(48, kind=kind, m=8, nbits=5).train(x) for kind in ("pca", "opq"))
    theirs = faiss.OPQMatrix(48, 8)
    theirs.pq = faiss.ProductQuantizer(48, 8, 5)
    theirs.niter = 20
    with quick_training():
        theirs.train(x)
    plain, by_pca, by_opq, by_faiss = (error(z, 8, 5) for z in (x, dealt(x), ours(x), theirs.apply(x)))
    assert by_opq < 0.9 * by_pca
    assert by_opq < 1.01 * plain  # neighbouring pixels make a start that is hard to better; other rows decided
    assert by_opq < 1.02 * by_faiss
    smooth = mlpq.Rotation(48, kind="opq", m=4, nbits=8).train(x)
    assert error(smooth(x), 4, 8) <= error(mlpq.Rotation(48, kind="pca", m=4).train(x)(x), 4, 8)


def test_optimized_axes_find_groups_that_components_mix() -> None:
    """Pairs of coordinates in clusters of their own, turned at random: all directions vary alike."""
    centres = np.random.default_rng(0).standard_normal((6, 16, 2))
    parts = [c[RNG.integers(0, 16, 6000)] for c in centres / centres.std(axis=1, keepdims=True)]
    turn = np.linalg.qr(RNG.standard_normal((12, 12)))[0]
    x = (np.hstack(parts) @ turn + 0.05 * RNG.standard_normal((6000, 12))).astype(np.float32)
    dealt, ours = (rotation(kind=kind, m=6).train(x) for kind in ("pca", "opq"))
    assert error(ours(x), 6, 4) < 0.9 * error(dealt(x), 6, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_data_far_from_the_origin_lose_nothing(kind: str) -> None:
    x = np.rint(8 * X) / 8  # exact in float32 beside 1e6
    near, far = rotation(kind=kind).train(x), rotation(kind=kind).train(x + 1e6)
    np.testing.assert_allclose(far(x + 1e6).std(axis=0), near(x).std(axis=0), rtol=0.02)
    assert np.abs(far.inverse(far(x + 1e6)) - (x + 1e6)).max() <= 0.125
    assert error(far(x + 1e6), 4, 4) == pytest.approx(error(near(x), 4, 4), rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_axes(kind: str) -> None:
    one, two = (rotation(8, kind=kind, seed=1).train(X) for _ in range(2))
    assert np.array_equal(one.axes, two.axes)
    for other in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert np.array_equal(other(X), one(X))
    back = mlpq.Rotation.from_arrays(one.mean, one.axes)
    assert np.array_equal(back(X), one(X))
    assert (back.d, back.dim, back.is_trained) == (12, 8, True)
    if kind == "random":
        assert not np.allclose(rotation(8, kind=kind, seed=2).train(X).axes, one.axes, atol=0.01)


def test_random_axes_are_equally_likely() -> None:
    first = np.array([mlpq.Rotation(3, kind="random", m=1, seed=s).train(X[:2, :3]).axes for s in range(2000)])
    assert np.abs(first.mean(axis=0)).max() < 0.06  # 1/sqrt(3 * 2000) is 0.013
    np.testing.assert_allclose(np.square(first).mean(axis=0), 1 / 3, atol=0.03)


def test_bad_input_is_refused() -> None:
    for make, kind, message in [
        (lambda: mlpq.Rotation(12, 13), ValueError, "dim must be a whole number from 1 to 12; got 13"),
        (lambda: mlpq.Rotation(12, 10, m=4), ValueError, "m must divide d=10; got m=4"),
        (lambda: mlpq.Rotation(12, kind="PCA"), ValueError, "kind must be one of 'random', 'pca', 'opq'; got 'PCA'"),
        (lambda: mlpq.Rotation(12, m=4, seed=-1), ValueError, "seed must be a whole number from 0"),
        (lambda: mlpq.Rotation(12.0), TypeError, "d must be a whole number"),
        (lambda: rotation()(X), RuntimeError, "Rotation is not trained"),
        (lambda: rotation().inverse(X), RuntimeError, "Rotation is not trained"),
        (lambda: rotation().train(X[:31]), ValueError, "xt must hold at least 32 points for nbits=4; got 31"),
        (lambda: rotation().train(X[:, :3]), ValueError, r"xt must have shape \(n, 12\)"),
        (lambda: rotation(kind="pca").train(X * np.nan), ValueError, "xt must be finite"),
        (lambda: rotation(8, kind="pca").train(X).inverse(X), ValueError, r"y must have shape \(n, 8\)"),
        (lambda: mlpq.Rotation.from_arrays(X[0], 2 * np.eye(12)), ValueError, "axes must have orthonormal columns"),
        (lambda: mlpq.Rotation.from_arrays(X[0], np.eye(12)[:8]), ValueError, "axes must have orthonormal columns"),
        (lambda: mlpq.Rotation.from_arrays(X[0, :3], np.eye(12)), ValueError, r"mean must have shape \(n, 12\)"),
    ]:
        with pytest.raises(kind, match=message):
            make()
    trained = rotation(8, kind="pca").train(X)
    before = trained(X)
    with pytest.raises(ValueError, match="xt must be finite"):
        trained.train(X * np.inf)
    assert np.array_equal(trained(X), before)
    assert trained(X[:0]).shape == (0, 8)


def test_a_rotation_says_what_it_is() -> None:
    assert repr(rotation(8)) == "Rotation(d=12, dim=8, kind='opq', m=4, nbits=4, trained=False)"
    assert repr(rotation(kind="pca")) == "Rotation(d=12, dim=12, kind='pca', m=4, trained=False)"
    turned = mlpq.Rotation(9, kind="random", centred=False).train(X[:, :9])
    assert repr(turned) == "Rotation(d=9, dim=9, kind='random', centred=False, trained=True)"
