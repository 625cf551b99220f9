"""Cosine sets: files whose distances are 1 - cos, what tells them from others, and arrays."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mlpq
from mlpq.data import groundtruth, readers

X = (np.random.default_rng(5).standard_normal((320, 8)) * np.arange(1, 321)[:, None]).astype(np.float32)
XB, XQ = X[:300], X[300:]
WORDNET = "wordnet-minilm-384-angular.hdf5"


def cosines(xb: Any = XB, xq: Any = XQ) -> np.ndarray[Any, np.dtype[np.float64]]:
    base, queries = (np.asarray(x, float) / np.linalg.norm(np.asarray(x, float), axis=1)[:, None] for x in (xb, xq))
    product: np.ndarray[Any, np.dtype[np.float64]] = queries @ base.T
    return product


def write(path: Path, xb: Any = XB, xq: Any = XQ, *, word: Any = "angular", without: tuple[str, ...] = ()) -> Any:
    """Write a file as ann-benchmarks does, whose `word` is a text of variable length; return the neighbours."""
    cos = cosines(xb, xq)
    I = np.argsort(-cos, axis=1, kind="stable")[:, :100]
    D = 1 - np.take_along_axis(cos, I, axis=1)
    arrays = {"train": xb, "test": xq, "neighbors": I.astype(np.int32), "distances": D.astype(np.float32)}
    with h5py.File(path, "w") as file:
        if word:
            file.attrs["distance"] = word
        file.attrs["type"] = "dense"
        for name in sorted(set(arrays) - set(without)):
            file[name] = arrays[name]
    return I


def check(ds: mlpq.Dataset, I: Any) -> None:
    assert ds.metric == "cosine"
    np.testing.assert_allclose(np.linalg.norm(ds.xb, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(ds.xb * np.linalg.norm(XB[: len(ds.xb)], axis=1)[:, None], XB[: len(ds.xb)], rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(ds.xq, axis=1), 1, rtol=1e-6)
    assert np.array_equal(ds.gt, I)
    np.testing.assert_allclose(ds.distances, 2 * (1 - np.take_along_axis(cosines(), I, axis=1)), atol=1e-6)
    assert np.array_equal(mlpq.ExactIndex(ds.d).add(ds.xb).search(ds.xq, 10)[1], I[:, :10])


@pytest.mark.parametrize("word", ["angular", "euclidean", None])
def test_the_distances_tell(tmp_path: Path, word: str | None) -> None:
    I = write(tmp_path / "x.hdf5", word=word)
    check(mlpq.load_dataset(tmp_path / "x.hdf5"), I)
    part = mlpq.load_dataset(tmp_path / "x.hdf5", limit=50)
    assert part.metric == "cosine"
    assert np.array_equal(part.gt, mlpq.ground_truth(XB[:50], XQ, 50, metric="cosine")[1])
    np.testing.assert_allclose(part.distances[:, 0], 2 * (1 - cosines()[:, :50].max(axis=1)), atol=1e-6)


@pytest.mark.parametrize("without", [("distances",), ("neighbors", "distances")])
@pytest.mark.parametrize("word", ["angular", "cosine", np.bytes_("angular")])
def test_without_distances_the_attribute_tells(tmp_path: Path, without: tuple[str, ...], word: Any) -> None:
    I = write(tmp_path / "x.hdf5", word=word, without=without)
    check(mlpq.load_dataset(tmp_path / "x.hdf5"), I)


def test_without_either_the_name_tells(tmp_path: Path) -> None:
    I = write(tmp_path / "x-8-angular.hdf5", word=None, without=("distances",))
    check(mlpq.load_dataset(tmp_path / "x-8-angular.hdf5"), I)


@pytest.mark.parametrize("word", ["euclidean", np.bytes_("euclidean"), "rectangular", None])
def test_without_distances_it_is_euclidean_unless_something_tells(tmp_path: Path, word: Any) -> None:
    write(tmp_path / "x.hdf5", word=word, without=("distances",))
    ds = mlpq.load_dataset(tmp_path / "x.hdf5")
    assert (ds.metric, ds.xb.tolist()) == ("l2", XB.tolist())


def test_without_queries_they_are_held_out(tmp_path: Path) -> None:
    write(tmp_path / "x.hdf5", without=("test", "neighbors", "distances"))
    ds = mlpq.load_dataset(tmp_path / "x.hdf5")
    assert (ds.metric, len(ds.xq)) == ("cosine", 30)
    np.testing.assert_allclose(np.linalg.norm(np.r_[ds.xb, ds.xq], axis=1), 1, rtol=1e-6)


def test_distances_that_fit_both_leave_it_to_the_attribute(tmp_path: Path) -> None:
    same = np.tile(XB[:1] / np.linalg.norm(XB[0]), (120, 1)).astype(np.float32)  # all distances are 0
    for word, metric in (("angular", "cosine"), ("euclidean", "l2")):
        write(tmp_path / f"{word}.hdf5", same, same[:20], word=word)
        assert mlpq.load_dataset(tmp_path / f"{word}.hdf5").metric == metric


def test_near_duplicates_and_opposites(tmp_path: Path) -> None:
    """1 - cos of float32 is uncertain in the seventh digit, and may fall below 0."""
    xb = np.r_[XB[:1] * (1 + np.arange(150))[:, None], -XB[:150]] + 1e-3
    I = write(tmp_path / "x.hdf5", xb, XQ)
    with h5py.File(tmp_path / "x.hdf5", "r+") as file:
        file["distances"][...] -= np.float32(2e-7)
    ds = mlpq.load_dataset(tmp_path / "x.hdf5")
    assert np.array_equal(np.sort(ds.gt[:, :50], axis=1), np.sort(I[:, :50], axis=1))
    exact_D, exact_I = mlpq.ground_truth(xb, XQ, 100, metric="cosine")
    np.testing.assert_allclose(ds.distances, exact_D, atol=1e-6)
    assert (ds.distances >= 0).all()
    assert len(exact_I) == len(ds.gt)


@pytest.mark.parametrize("width", [30, 3000])
def test_vectors_that_all_point_one_way(tmp_path: Path, width: int) -> None:
    """Their distances are so small that rounding shows: that of 1 - cos, and that of the vectors scaled."""
    x = (np.random.default_rng(1).standard_normal((600, 8)) / width + 1).astype(np.float32)
    I = write(tmp_path / "x.hdf5", x[:400], x[400:])
    with h5py.File(tmp_path / "x.hdf5", "r+") as file:
        file["distances"][...] = np.round(file["distances"][...] * 2.0**24) / 2**24
    ds = mlpq.load_dataset(tmp_path / "x.hdf5")
    assert np.array_equal(np.sort(ds.gt, axis=1), np.sort(I, axis=1))


Damage = Callable[[h5py.File], object]
DAMAGE: dict[str, tuple[Damage, str]] = {
    "a zero vector": (lambda f: f["train"].__setitem__(slice(7, 9), 0), "xb must not hold a zero vector where the metric is cosine; row 7 is one"),
    "a zero query": (lambda f: f["test"].__setitem__(3, 0), "xq must not hold a zero vector where the metric is cosine; row 3 is one"),
    "a wrong distance": (lambda f: f["distances"].__setitem__((4, 2), 0), "the stored distances of query 4 are not those"),
    "Euclidean distances of unit vectors": (lambda f: f["distances"].__setitem__(..., np.sqrt(2 * f["distances"][:])), "neither the Euclidean ones to the stored neighbors nor 1 - cos"),
    "neighbours of a part": (lambda f: of_a_part(f), "the stored neighbors are not the nearest: of 20 queries searched anew, 20 have"),
}  # fmt: skip


def of_a_part(file: h5py.File) -> None:
    cos = cosines(file["train"][::2], file["test"][:])
    I = np.argsort(-cos, axis=1)[:, :100]
    file["neighbors"][...], file["distances"][...] = 2 * I, 1 - np.take_along_axis(cos, I, axis=1)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused(tmp_path: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    write(tmp_path / "x.hdf5")
    with h5py.File(tmp_path / "x.hdf5", "r+") as file:
        change(file)
    with pytest.raises(ValueError, match=message):
        mlpq.load_dataset(tmp_path / "x.hdf5")


def test_a_zero_vector_far_down_is_named_by_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpq._check.BLOCK", 64)
    x = X.copy()
    x[200] = 0
    with pytest.raises(ValueError, match="xb must not hold a zero vector where the metric is cosine; row 200 is one"):
        mlpq.dataset(x, metric="cosine")
    lengths = np.linalg.norm(groundtruth.unit(np.float32(1e-30) * X, "x"), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)


def test_arrays_are_scaled_and_left_as_they_are() -> None:
    given = X.copy()
    ds = mlpq.dataset(given[:300], given[300:], metric="cosine")
    check(ds, np.argsort(-cosines(), axis=1)[:, :100])
    assert np.array_equal(given, X)


def test_texts_on_word_meanings() -> None:
    """The full WordNet set, where MLPQ_DATA_DIR has it: float16 vectors, neighbours by float64."""
    path = Path(os.environ.get("MLPQ_DATA_DIR", "/nonexistent")) / WORDNET
    if not path.is_file():
        pytest.skip(f"needs {WORDNET} in the folder that MLPQ_DATA_DIR names")
    found = readers.read(path)
    with h5py.File(path) as file:
        I, D = file["neighbors"][:], file["distances"][:]
    assert (found["metric"], found["xb"].shape, found["xq"].shape) == ("cosine", (107_659, 384), (10_000, 384))
    assert np.array_equal(np.sort(found["gt"], axis=1), np.sort(I, axis=1))
    assert (found["gt"] == I).mean() > 0.9999
    np.testing.assert_allclose(found["distances"], 2 * D, atol=1e-6)
    part = readers.read(path, 1000)
    assert (part["metric"], part["xb"].shape, "gt" in part) == ("cosine", (1000, 384), False)
    assert np.array_equal(part["xb"], found["xb"][:1000])
