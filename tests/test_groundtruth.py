"""Exact neighbours against plain loops, on data that lie badly; what a cache and a file say they are."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlpq
from mlpq.data import groundtruth, named
from mlpq.search import distance
from tests import reference

RNG = np.random.default_rng(5)
X = RNG.standard_normal((120, 6)).astype(np.float32)
Floats = np.ndarray[Any, np.dtype[np.float64]]


def test_two_blobs_far_apart() -> None:
    y = np.arange(100) / 10
    xb = np.r_[np.c_[0 * y + 1e4, y], np.c_[0 * y - 1e4, y]]
    D, I = mlpq.ground_truth(xb, [[1e4, 5.02], [1e4, 2.02], [-1e4, 7.02], [-1e4, 1.02]], 1)
    assert I.tolist() == [[50], [20], [170], [110]]
    np.testing.assert_allclose(D, 0.02**2, rtol=1e-4)
    assert (D.dtype, I.dtype) == (np.float32, np.int64)


def test_metrics_by_hand() -> None:
    xb = [[3, 4], [0, 2], [-1, 0]]
    D, I = mlpq.ground_truth(xb, [[10, 0]], 4)
    assert (D.tolist(), I.tolist()) == ([[65, 104, 121, np.inf]], [[0, 1, 2, -1]])
    D, I = mlpq.ground_truth(xb, [[10, 0]], 4, metric="cosine")  # cosines 0.6, 0 and -1
    np.testing.assert_allclose(D, [[0.8, 2, 4, np.inf]], rtol=1e-6)
    assert I.tolist() == [[0, 1, 2, -1]]
    D, I = mlpq.ground_truth(xb, [[10, 0], [-1, -1]], 4, metric="ip")
    assert D.tolist() == [[30, 0, -10, -np.inf], [1, -2, -7, -np.inf]]
    assert I.tolist() == [[0, 1, 2, -1], [2, 1, 0, -1]]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"xq": X[:, :5]}, ValueError, "xq must have shape (n, 6); got shape (120, 5)"),
        ({"k": 0}, ValueError, "k must be a whole number of at least 1; got 0"),
        ({"metric": "angular"}, ValueError, "metric must be one of 'l2', 'cosine', 'ip'; got 'angular'"),
        ({"xb": np.r_[X[:3], 0 * X], "metric": "cosine"}, ValueError, "xb must not hold a zero vector where the metric is cosine; row 3 is"),
        ({"xq": X * 0, "metric": "cosine"}, ValueError, "xq must not hold a zero vector where the metric is cosine; row 0 is"),
        ({"xb": X.astype(str)}, TypeError, "xb must hold floats or integers"),
    ],
)  # fmt: skip
def test_bad_requests(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        mlpq.ground_truth(**({"xb": X, "xq": X, "k": 3} | changed))


def spread(n: int, d: int = 6) -> Floats:
    return RNG.standard_normal((n, d))


def near_duplicates() -> Floats:
    x = spread(500, 16)
    x[::10] = x[0] + 1e-6 * spread(50, 16)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def with_row(value: float) -> Floats:
    x = spread(500)
    x[7] = value
    return x


SCALES: dict[str, Callable[[], Floats]] = {
    "an offset": lambda: spread(500) + 1e6,
    "the largest numbers": lambda: 1e15 - 1e9 * RNG.integers(0, 9, (500, 6)),
    "an outlier": lambda: with_row(1e9),
    "a fill value of the largest": lambda: with_row(-1e15),
    "features of many widths": lambda: spread(500) * 10.0 ** np.arange(6),
    "near duplicates": near_duplicates,
    "near duplicates far off": lambda: np.float32(1e4) + near_duplicates(),
    "blobs": lambda: spread(500) + 1e5 * RNG.integers(-1, 2, (500, 1)),
    "blobs so far apart that float64 products lose the rest": lambda: np.c_[
        RNG.integers(-1, 2, (500, 1)) * [1.1e7, 2.3e7, 3.7e7], spread(500)
    ],
    "tiny": lambda: 1e-15 * spread(500),
    "many ties": lambda: RNG.integers(0, 3, (500, 4)).astype(float),
    "all equal": lambda: np.full((500, 3), 0.1),
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("nq", [1, 50])
def test_exact_at_any_scale(scale: str, nq: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = SCALES[scale]().astype(np.float32)
    xb, xq = x[:450], x[-nq:]
    D, I = reference.exact(xb, xq, 20)
    monkeypatch.setattr(distance, "TILE", 64)  # several tiles of base vectors, and blocks of queries
    monkeypatch.setattr(groundtruth, "QUERIES", 7)
    found_D, found_I = groundtruth.compute(xb, xq, 20)
    np.testing.assert_allclose(found_D, D, rtol=1e-13)
    assert np.array_equal(found_I, I)
    monkeypatch.undo()
    assert all(map(np.array_equal, groundtruth.compute(xb, xq, 20), (found_D, found_I)))


@pytest.mark.parametrize("scale", SCALES)
def test_inner_products_at_any_scale(scale: str) -> None:
    x = SCALES[scale]().astype(np.float32)
    D, I = groundtruth.compute(x, x[:20], 500, ip=True)
    products = np.array([[np.dot(q, y) for y in x.astype(float)] for q in x[:20].astype(float)])
    size = np.array([[np.dot(abs(q), abs(y)) for y in x.astype(float)] for q in x[:20].astype(float)])
    assert (np.sort(I, axis=1) == np.arange(500)).all()
    assert (np.abs(D - np.take_along_axis(products, I, axis=1)) <= 1e-14 * np.take_along_axis(size, I, axis=1)).all()
    assert (np.diff(D, axis=1) <= 0).all()
    assert (np.diff(I, axis=1)[np.diff(D, axis=1) == 0] > 0).all()
    assert np.array_equal(groundtruth.compute(x, x[:20], 9, ip=True)[1], I[:, :9])


def test_ties_go_to_the_lower_id() -> None:
    xb = np.zeros((250, 3), np.float32)
    xb[200:] = 1
    D, I = mlpq.ground_truth(xb, np.zeros((2, 3)), 100)
    assert np.array_equal(I, np.tile(np.arange(100), (2, 1)))
    assert (D == 0).all()


def test_computed_neighbours_are_kept_and_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "cache_folder", lambda: tmp_path)
    x, y = X, RNG.standard_normal((120, 6))
    first = mlpq.dataset(x)
    stored = next(tmp_path.glob("neighbors-*.hdf5"))
    other, products = mlpq.dataset(y), mlpq.dataset(x, metric="ip")
    assert not np.array_equal(other.gt, first.gt)
    assert not np.array_equal(products.gt, first.gt)
    with monkeypatch.context() as patch:
        patch.setattr(groundtruth, "compute", lambda *_, **__: pytest.fail("computed again"))
        for args, ds in (({"xb": x}, first), ({"xb": y}, other), ({"xb": x, "metric": "ip"}, products)):
            again = mlpq.dataset(**args)
            assert np.array_equal(again.gt, ds.gt)
            assert np.array_equal(again.distances, ds.distances)
    content = stored.read_bytes()
    found = content.find(first.gt.tobytes())
    for damaged in (content[:100], content[:found] + b"\1" + content[found + 1 :]):
        stored.write_bytes(damaged)  # is computed anew
        assert np.array_equal(mlpq.dataset(x).gt, first.gt)
        assert stored.read_bytes() == content
