"""Exact neighbours against plain loops, on data that lie badly; what a cache and a file say they are."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mlpq
from mlpq import datasets, groundtruth
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
    monkeypatch.setattr(groundtruth, "BLOCK", 64 * 7)  # several blocks of base vectors and of queries
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
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path)
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


Damage = Callable[[h5py.File], object]


def replaced(file: h5py.File, name: str, data: Any) -> None:
    del file[name]
    file[name] = data


def of_a_part(file: h5py.File) -> None:
    """Neighbours among every second base vector, at their true distances."""
    D, I = groundtruth.compute(file["train"][::2], file["test"][:], 20)
    replaced(file, "neighbors", 2 * I)
    replaced(file, "distances", np.sqrt(D))


def one_in_ten(file: h5py.File, rank: int = 0) -> None:
    """Each tenth query lacks the neighbour of a rank, and has one more instead."""
    D, I = groundtruth.compute(file["train"][:], file["test"][:], 21)
    others = [column for column in range(21) if column != rank]
    file["neighbors"][3::10] = I[3::10, others]
    file["distances"][3::10] = np.sqrt(D[3::10, others])


def ten_copies(file: h5py.File) -> None:
    for name in ("neighbors", "distances"):
        file[name][:, :10] = file[name][:, :1]


HDF5_DAMAGE: dict[str, tuple[Damage, str]] = {
    "ids beyond 32 bits": (lambda f: replaced(f, "neighbors", np.full((200, 20), 2**32)), "neighbors must be whole numbers below"),
    "distances of another kind": (lambda f: replaced(f, "distances", f["distances"][:] / 20), "neither the Euclidean ones to the stored neighbors nor 1 - cos"),
    "ids out of range": (lambda f: f["neighbors"].__setitem__((0, 0), 400), "must be ids from 0 to 399; got 0 to 400"),
    "an id below -1": (lambda f: f["neighbors"].__setitem__((0, 0), -2), "must be ids from 0 to 399; got -2 to 399"),
    "other neighbours": (lambda f: replaced(f, "neighbors", f["neighbors"][:][::-1]), "the stored distances are neither"),
    "one wrong distance": (lambda f: f["distances"].__setitem__((77, 5), 0), "stored distances of query 77 are not those to its stored"),
    "a distance that is none": (lambda f: f["distances"].__setitem__((77, 5), np.nan), "distances must be finite"),
    "neighbours in another order": (lambda f: [f[name].__setitem__(9, f[name][9][::-1]) for name in ("neighbors", "distances")], "must be ascending"),
    "too few rows": (lambda f: replaced(f, "test", f["test"][:6]), r"neighbors \(200, 20\) and distances \(200, 20\) do not fit 6 queries"),
    "another dimension": (lambda f: replaced(f, "test", f["test"][:, :5]), r"base vectors \(400, 6\) and queries \(200, 5\) do not belong"),
    "a 1-D base": (lambda f: replaced(f, "train", X[0]), "must be a matrix of numbers"),
    "neighbours of a part": (of_a_part, "are not the nearest: of 200 queries searched anew, 200 have nearer ones; of query 0 number"),
    "the nearest lacks in one of ten": (one_in_ten, "are not the nearest: of 200 queries searched anew, 20 have nearer ones; of query 3 number 1 "),
    "the last lacks in one of ten": (lambda f: one_in_ten(f, 19), "are not the nearest: of 200 .*, 20 have nearer ones; of query 3 number 20 "),
    "one vector ten times": (ten_copies, "the stored neighbors of query 0 hold one base vector twice"),
    "nothing found for a query": (lambda f: f["neighbors"].__setitem__(5, -1), "may be -1 only after all that were found"),
    "a gap": (lambda f: f["neighbors"].__setitem__((5, 3), -1), "may be -1 only after all that were found"),
}  # fmt: skip


def write(path: Path, xb: Any, xq: Any, k: int = 20) -> tuple[Any, Any]:
    """Write a file in the ann-benchmarks layout; return its neighbours and distances."""
    D, I = groundtruth.compute(xb, xq, k)
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = "euclidean"
        file["train"], file["test"], file["neighbors"], file["distances"] = xb, xq, I, np.sqrt(D)
    return I, D


@pytest.mark.parametrize("damage", HDF5_DAMAGE)
def test_hdf5_files_are_verified_by_meaning(tmp_path: Path, damage: str) -> None:
    path, x = tmp_path / "x.hdf5", np.random.default_rng(1).standard_normal((600, 6)).astype(np.float32)
    change, message = HDF5_DAMAGE[damage]
    write(path, x[:400], x[400:])
    assert mlpq.load_dataset(path).metric == "l2"
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=f"'{path}' cannot be read as vectors: .*{message}"):
        mlpq.load_dataset(path)


@pytest.mark.parametrize("padding", [np.inf, -1, np.nan])
def test_padded_neighbours_are_readable(tmp_path: Path, padding: float) -> None:
    path = tmp_path / "x.hdf5"
    I, D = write(path, X[:10], X[100:], 12)
    with h5py.File(path, "r+") as file:
        assert (file["neighbors"][:, 10:] == -1).all()
        file["neighbors"][4, 7:] = -1  # where a search found less than there is
        file["distances"][...] = np.where(file["neighbors"][...] < 0, padding, file["distances"][...])
    ds = mlpq.load_dataset(path)
    I[4, 7:], D[4, 7:] = -1, np.inf
    assert np.array_equal(ds.gt, I)
    np.testing.assert_allclose(ds.distances, D, rtol=1e-6)


# Where a product in float32 has lost what tells neighbours apart, such distances are refused: they are not the true ones.
LOST = {"an offset", "the largest numbers", "near duplicates far off"}


@pytest.mark.parametrize("scale", SCALES)
def test_honest_files_stand(tmp_path: Path, scale: str) -> None:
    x = SCALES[scale]().astype(np.float32)
    xb, xq = x[:400], x[300:]
    I, D = write(tmp_path / "x.hdf5", xb, xq, 100)
    ds = mlpq.load_dataset(tmp_path / "x.hdf5")
    assert np.array_equal(ds.gt, I)
    np.testing.assert_allclose(ds.distances, D, rtol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_distances_by_a_product_in_float32_stand(tmp_path: Path, scale: str) -> None:
    """As brute force often finds them, from the norms, and the neighbours that it takes for the nearest."""
    x = SCALES[scale]().astype(np.float32)
    xb, xq = x[:400], x[300:]
    rough = np.maximum((xq**2).sum(axis=1, keepdims=True) - 2 * xq @ xb.T + (xb**2).sum(axis=1), 0)
    I = np.argsort(rough, axis=1)[:, :20]
    D = np.take_along_axis(rough, I, axis=1)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"], file["test"], file["neighbors"], file["distances"] = xb, xq, I, np.sqrt(D)
    if scale in LOST:
        with pytest.raises(ValueError, match="the stored distances"):
            mlpq.load_dataset(tmp_path / "x.hdf5")
    else:
        ds = mlpq.load_dataset(tmp_path / "x.hdf5")
        assert np.array_equal(np.sort(ds.gt, axis=1), np.sort(I, axis=1))
        assert (np.diff(ds.distances, axis=1) >= 0).all()
