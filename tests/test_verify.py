"""Neighbours that files hold: the false are refused, and the honest stand, rounded and padded as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mlpq
from mlpq.data import groundtruth
from tests.test_groundtruth import RNG, SCALES, Floats, X, spread

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


def by_product(xb: Any, xq: Any, k: int) -> tuple[Any, Any]:
    """Neighbours and squared distances as brute force often finds them: from the norms, in float32."""
    rough = np.maximum((xq**2).sum(axis=1, keepdims=True) - 2 * xq @ xb.T + (xb**2).sum(axis=1), 0)
    I = np.argsort(rough, axis=1)[:, :k]
    return I, np.take_along_axis(rough, I, axis=1)


def stored(path: Path, xb: Any, xq: Any, I: Any, D: Any) -> mlpq.Dataset:
    with h5py.File(path, "w") as file:
        file["train"], file["test"], file["neighbors"], file["distances"] = xb, xq, I, np.sqrt(D)
    return mlpq.load_dataset(path)


@pytest.mark.parametrize("scale", SCALES)
def test_distances_by_a_product_in_float32_stand(tmp_path: Path, scale: str) -> None:
    x = SCALES[scale]().astype(np.float32)
    I, D = by_product(x[:400], x[300:], 20)
    if scale in LOST:
        with pytest.raises(ValueError, match="the stored distances"):
            stored(tmp_path / "x.hdf5", x[:400], x[300:], I, D)
    else:
        ds = stored(tmp_path / "x.hdf5", x[:400], x[300:], I, D)
        assert np.array_equal(np.sort(ds.gt, axis=1), np.sort(I, axis=1))
        assert (np.diff(ds.distances, axis=1) >= 0).all()


def with_many_almost_equal() -> Floats:
    x = spread(800)
    x[::2] = x[0] + 1e-7 * spread(400)
    return x


MISPLACED = {  # what a product in float32 takes for the nearest, at its true distance: is it near enough?
    "an offset of a few widths": (spread(20_000) + 10, True),
    "many almost equal": (with_many_almost_equal(), True),
    "blobs": (np.c_[1e4 * RNG.integers(-1, 2, 5000), spread(5000)], False),
}


@pytest.mark.parametrize("case", MISPLACED)
def test_neighbours_by_a_product_in_float32(tmp_path: Path, case: str) -> None:
    """As ann-benchmarks makes its files."""
    x, near_enough = MISPLACED[case][0].astype(np.float32), MISPLACED[case][1]
    xb, xq = x[:-200], x[-200:]
    I, _ = by_product(xb, xq, 100)
    D = ((xb[I].astype(float) - xq[:, None]) ** 2).sum(axis=2)
    assert (np.sort(I, axis=1) != np.sort(groundtruth.compute(xb, xq, 100)[1], axis=1)).any()
    order = np.argsort(D, axis=1)
    I, D = np.take_along_axis(I, order, axis=1), np.take_along_axis(D, order, axis=1)
    if near_enough:
        assert np.array_equal(np.sort(stored(tmp_path / "x.hdf5", xb, xq, I, D).gt, axis=1), np.sort(I, axis=1))
    else:
        with pytest.raises(ValueError, match="the stored neighbors are not the nearest"):
            stored(tmp_path / "x.hdf5", xb, xq, I, D)
