"""Data sets: the embedded one, the full one from every source, the reader's own files, and files that are none."""

import gzip
import io
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mlpq
from mlpq import _files, datasets, groundtruth
from tests import reference
from tests.conftest import ROOT

RNG = np.random.default_rng(5)
X = RNG.standard_normal((120, 6)).astype(np.float32)


def test_embedded_set(ds: mlpq.Dataset) -> None:
    assert ds.name == "fashion-mnist-20k"
    assert (ds.xb.shape, ds.xq.shape, ds.gt.shape, ds.d) == ((20_000, 784), (1_000, 784), (1_000, 100), 784)
    assert (ds.xb.dtype, ds.xq.dtype, ds.gt.dtype) == (np.float32, np.float32, np.int32)
    assert ds.distances.dtype == np.float32
    assert all(array.flags.c_contiguous for array in (ds.xb, ds.xq, ds.gt, ds.distances))
    assert ds.labels is not None
    assert ds.query_labels is not None
    assert sorted(set(ds.labels)) == sorted(set(ds.query_labels)) == list(range(10))
    assert datasets.EMBEDDED.stat().st_size < 12e6
    assert (datasets.EMBEDDED.parent / "LICENSE-fashion-mnist.txt").is_file()
    D, I = reference.exact(ds.xb, ds.xq[:2], 10)
    assert np.array_equal(I, ds.gt[:2, :10])
    np.testing.assert_allclose(D, ds.distances[:2, :10], rtol=1e-6)


def test_embedded_file_is_in_the_ann_benchmarks_layout(ds: mlpq.Dataset) -> None:
    with h5py.File(datasets.EMBEDDED) as file:
        assert {"train", "test", "neighbors", "distances"} <= set(file)
        assert file["train"].dtype == np.uint8
        assert file.attrs["distance"] == "euclidean"
        np.testing.assert_allclose(file["distances"][:] ** 2, ds.distances, rtol=1e-6)


def test_damage_to_the_embedded_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(datasets.EMBEDDED.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.hdf5").write_bytes(content)
    monkeypatch.setattr(datasets, "EMBEDDED", tmp_path / "damaged.hdf5")
    with pytest.raises(ValueError, match="is damaged: install mlpq again"):
        mlpq.load_dataset("fashion-mnist-20k")


def test_the_embedded_set_can_be_made_again(ds: mlpq.Dataset, tmp_path: Path) -> None:
    if not datasets.DEBIAN.is_dir():
        pytest.skip("needs the Debian package dataset-fashion-mnist")
    script = ROOT / "mlpq" / "data" / "make_fashion_mnist_20k.py"
    code = f"import runpy; print(runpy.run_path({str(script)!r})['make'](*map(__import__('pathlib').Path, {(str(datasets.DEBIAN), str(tmp_path / 'made.hdf5'))!r})))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    with h5py.File(tmp_path / "made.hdf5") as made, h5py.File(datasets.EMBEDDED) as embedded:
        assert set(made) == set(embedded)
        assert all(np.array_equal(made[name][:], embedded[name][:]) for name in made)


def test_name_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", X)
    monkeypatch.delenv("MLPQ_DATASET", raising=False)
    assert mlpq.load_dataset(limit=200).name == "fashion-mnist-20k"
    monkeypatch.setenv("MLPQ_DATASET", str(tmp_path / "own.npy"))
    assert mlpq.load_dataset().d == 6
    assert mlpq.load_dataset("fashion-mnist-20k", limit=200).d == 784


def test_limit_recomputes_the_neighbours(ds: mlpq.Dataset) -> None:
    part = mlpq.load_dataset("fashion-mnist-20k", limit=500)
    assert np.array_equal(part.xb, ds.xb[:500])
    assert part.labels is not None
    assert len(part.labels) == 500
    assert np.array_equal(part.gt[:3, :20], reference.exact(part.xb, part.xq[:3], 20)[1])
    assert len(mlpq.load_dataset("fashion-mnist-20k", limit=10**9).xb) == 20_000


@pytest.mark.parametrize(
    ("name", "limit", "error", "message"),
    [
        (
            "fashion",
            None,
            ValueError,
            "unknown data set 'fashion': use one of fashion-mnist-20k, fashion-mnist, sift, gist",
        ),
        ("missing.npy", None, FileNotFoundError, "no data file 'missing.npy'"),
        ("fashion-mnist-20k", 0, ValueError, "limit must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_requests(name: str, limit: int | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mlpq.load_dataset(name, limit=limit)


def write_vecs(path: Path, x: np.ndarray[Any, Any]) -> None:
    dimensions = np.full((len(x), 1), x.shape[1], "<i4").view(np.uint8).reshape(len(x), 4)
    np.hstack([dimensions, x.view(np.uint8).reshape(len(x), -1)]).tofile(path)


def write(path: Path, x: np.ndarray[Any, Any] = X) -> Path:
    """Write base vectors in the format that the path's suffix names."""
    if path.suffix == ".npy":
        np.save(path, x)
    elif path.suffix == ".npz":
        np.savez(path, vectors=x)
    elif path.suffix in (".fvecs", ".bvecs"):
        write_vecs(path, x)
    else:
        with h5py.File(path, "w") as file:
            file["train"] = x
    return path


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.fvecs", "x.hdf5", "x.h5", "x.bvecs"])
def test_own_files(tmp_path: Path, name: str) -> None:
    x = (RNG.integers(0, 256, (120, 6))).astype(np.uint8) if name == "x.bvecs" else X
    path = write(tmp_path / name, x)
    ds = mlpq.load_dataset(path)
    assert ds.name == str(path)
    assert (len(ds.xb), len(ds.xq), ds.labels, ds.image_shape) == (108, 12, None, None)
    rows = {tuple(row) for row in x.astype(np.float32)}
    assert {tuple(row) for row in ds.xb} | {tuple(row) for row in ds.xq} == rows
    assert ds.gt.shape == (12, 100)
    assert np.array_equal(ds.gt[:, :10], reference.exact(ds.xb, ds.xq, 10)[1])
    again = mlpq.load_dataset(str(path))
    assert np.array_equal(again.xq, ds.xq)
    assert np.array_equal(again.gt, ds.gt)
    assert len(mlpq.load_dataset(path, limit=50).xb) == 45


def test_at_most_a_thousand_queries_are_held_out(tmp_path: Path) -> None:
    ds = mlpq.load_dataset(write(tmp_path / "x.npy", RNG.standard_normal((11_000, 2))))
    assert (len(ds.xb), len(ds.xq)) == (10_000, 1_000)


def test_own_files_with_queries(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", xb=X, xq=X[:7] + 1)
    ds = mlpq.load_dataset(tmp_path / "x.npz")
    assert np.array_equal(ds.xb, X)
    assert np.array_equal(ds.xq, X[:7] + 1)
    gt, distances = groundtruth.compute(X, X[:7])
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"], file["test"], file["neighbors"], file["distances"] = X, X[:7], gt, np.sqrt(distances)
    ds = mlpq.load_dataset(tmp_path / "x.hdf5")
    assert np.array_equal(ds.gt, gt)
    np.testing.assert_allclose(ds.distances, distances, rtol=1e-5, atol=1e-6)


def test_computed_neighbours_are_kept_and_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.npy", RNG.standard_normal((130, 3)))
    first = mlpq.load_dataset(path)
    monkeypatch.setattr(groundtruth, "compute", lambda *_, **__: pytest.fail("computed again"))
    assert np.array_equal(mlpq.load_dataset(path).gt, first.gt)
    monkeypatch.undo()
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path)
    other = mlpq.load_dataset(write(path, RNG.standard_normal((130, 3))))
    assert not np.array_equal(other.gt, first.gt)
    stored = next(tmp_path.glob("neighbors-*.hdf5"))
    stored.write_bytes(stored.read_bytes()[:100])  # a damaged cache is computed anew
    assert np.array_equal(mlpq.load_dataset(path).gt, other.gt)


BAD_FILES: dict[str, tuple[str, Any, str]] = {
    "no rows": ("x.npy", np.zeros((0, 3)), "must not be empty"),
    "1-D": ("x.npy", np.zeros(3), "got 1-D"),
    "NaN": ("x.npy", np.full((30, 3), np.nan), "must be finite"),
    "pickled objects": ("x.npy", np.array([[{}]], object), "Python objects in dtype"),
    "strings": ("x.npy", np.full((30, 3), "a"), "must hold floats or integers"),
    "too few": ("x.npy", np.zeros((9, 3)), "at least 10 are needed"),
    "nothing": ("x.npy", b"", "cannot be read as vectors"),
    "text as npy": ("x.npy", b"hello, I am text", "cannot be read as vectors"),
    "text as npz": ("x.npz", b"hello, I am text", "cannot be read as vectors"),
    "text as HDF5": ("x.hdf5", b"<html>not here</html>", "cannot be read as vectors"),
    "text as fvecs": ("x.fvecs", b"hello, I am text", "is no multiple of a"),
    "short fvecs": ("x.fvecs", b"ab", "shorter than one dimension field"),
    "zero dimension": ("x.fvecs", bytes(16), "0-dimensional"),
    "mixed dimensions": ("x.fvecs", b"".join(d.to_bytes(4, "little") + bytes(8) for d in (2, 2, 3)), "vector 2 has another dimension"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_FILES)
def test_bad_files(tmp_path: Path, bad: str) -> None:
    name, content, message = BAD_FILES[bad]
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        np.save(tmp_path / name, content, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        mlpq.load_dataset(tmp_path / name)


def test_ambiguous_and_inconsistent_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X, b=X)
    with pytest.raises(ValueError, match="it holds a, b; name the base vectors one of train, xb, base, vectors"):
        mlpq.load_dataset(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", xb=X, xq=X[:, :5])
    with pytest.raises(ValueError, match="base vectors have dimension 6, queries 5"):
        mlpq.load_dataset(tmp_path / "y.npz")


HDF5_DAMAGE = {
    "ids beyond 32 bits": (lambda f: (f.__delitem__("neighbors"), f.create_dataset("neighbors", data=np.full((7, 100), 2**32))), "neighbors must be whole numbers below"),
    "an angular distance": (lambda f: f["distances"].__setitem__(..., f["distances"][:] / 20), "are not the Euclidean ones"),
    "ids out of range": (lambda f: f["neighbors"].__setitem__((0, 0), 120), "must be ids from 0 to 119; got 0 to 120"),
    "other neighbours": (lambda f: f["neighbors"].__setitem__(slice(None), f["neighbors"][:][::-1]), "are not the Euclidean ones to its stored"),
    "unsorted distances": (lambda f: f["distances"].__setitem__((0, 5), 0), "finite and ascending"),
    "too few rows": (lambda f: (f.__delitem__("test"), f.create_dataset("test", data=X[:6])), "do not fit 6 queries"),
    "a 1-D base": (lambda f: (f.__delitem__("train"), f.create_dataset("train", data=X[0])), "must be a matrix of numbers"),
}  # fmt: skip


@pytest.mark.parametrize("damage", HDF5_DAMAGE)
def test_hdf5_files_are_verified_by_meaning(tmp_path: Path, damage: str) -> None:
    gt, distances = groundtruth.compute(X, X[:7] + 1)
    change, message = HDF5_DAMAGE[damage]
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"], file["test"], file["neighbors"], file["distances"] = X, X[:7] + 1, gt, np.sqrt(distances)
        change(file)
    with pytest.raises(ValueError, match=message):
        mlpq.load_dataset(tmp_path / "x.hdf5")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.fvecs", "x.bvecs", "x.hdf5"])
@pytest.mark.parametrize("part", [k / 20 for k in range(20)])
def test_truncated_files_are_refused(tmp_path: Path, name: str, part: float) -> None:
    path = write(
        tmp_path / name, np.ones((113, 6), np.uint8) if name == "x.bvecs" else RNG.random((113, 6), np.float32)
    )
    content = path.read_bytes()
    kept = int(part * len(content))
    if path.suffix in (".fvecs", ".bvecs") and kept % (len(content) // 113) == 0:
        kept += 1  # cut between two vectors, such a file is a whole one
    path.write_bytes(content[:kept])
    with pytest.raises(ValueError, match=f"'{path}' cannot be read as vectors: "):
        mlpq.load_dataset(path)


def npy_header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return file.getvalue()


def write_hostile(path: Path, what: str) -> None:
    """Write a small file that says it is a large one."""
    header = npy_header((10**10, 100))
    if path.suffix == ".npy":
        path.write_bytes(header + bytes(4000))
    elif path.suffix == ".fvecs":
        path.write_bytes((2**31 - 1).to_bytes(4, "little") + bytes(4000))
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if what == "deflated" else zipfile.ZIP_STORED) as file:
            file.writestr("xb.npy", header + bytes(4000))
    else:
        options = {
            "contiguous": {},
            "sparse": {"chunks": (1000, 100)},
            "external": {"external": [("/etc/passwd", 0, 400)]},
        }
        with h5py.File(path, "w") as file:
            shape = (1, 100) if what == "external" else (10**10, 100)
            file.create_dataset("train", shape, np.float32, **options[what])


@pytest.mark.parametrize(
    ("name", "what"),
    [("x.npy", ""), ("x.fvecs", ""), ("x.npz", "stored"), ("x.npz", "deflated"),
     ("x.hdf5", "contiguous"), ("x.hdf5", "sparse"), ("x.hdf5", "external")],
)  # fmt: skip
def test_headers_are_not_believed(tmp_path: Path, name: str, what: str) -> None:
    write_hostile(tmp_path / name, what)
    tracemalloc.start()
    with pytest.raises(ValueError, match="cannot be read as vectors"):
        mlpq.load_dataset(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_links_into_other_files_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "other.hdf5")
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"] = h5py.ExternalLink("other.hdf5", "train")
    with pytest.raises(ValueError, match="train is not an array of numbers"):
        mlpq.load_dataset(tmp_path / "x.hdf5")


LABELS: dict[str, tuple[Any, str | None]] = {
    "whole numbers": (np.arange(120) % 10, None),
    "too few": (np.zeros(119, np.uint8), "train_labels must hold a class for each vector"),
    "a matrix": (np.zeros((120, 2), np.uint8), "train_labels must hold a class for each vector"),
    "too large": (np.full(120, 256), "train_labels must be whole numbers from 0 to 255"),
    "fractions": (np.full(120, 0.5), "train_labels must be whole numbers from 0 to 255"),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels(tmp_path: Path, case: str) -> None:
    labels, message = LABELS[case]
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"], file["test"], file["train_labels"], file["test_labels"] = X, X[:7], labels, labels[:7]
    if message is None:
        found = mlpq.load_dataset(tmp_path / "x.hdf5").labels
        assert found is not None
        assert (found.dtype, found.tolist()) == (np.uint8, labels.tolist())
    else:
        with pytest.raises(ValueError, match=message):
            mlpq.load_dataset(tmp_path / "x.hdf5")


def test_ties_go_to_the_lower_id() -> None:
    xb = np.zeros((250, 3), np.float32)
    xb[200:] = 1
    gt, distances = groundtruth.compute(xb, np.zeros((2, 3), np.float32))
    assert np.array_equal(gt, np.tile(np.arange(100), (2, 1)))
    assert (distances == 0).all()


def test_neighbours_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    xb = RNG.integers(0, 3, (500, 4)).astype(np.float32)  # many ties
    xq = RNG.integers(0, 3, (20, 4)).astype(np.float32)
    whole = groundtruth.compute(xb, xq)
    assert np.array_equal(whole[0][:, :30], reference.exact(xb, xq, 30)[1])
    monkeypatch.setattr(groundtruth, "ROWS", 64)
    monkeypatch.setattr(groundtruth, "QUERIES", 7)
    assert all(np.array_equal(a, b) for a, b in zip(whole, groundtruth.compute(xb, xq), strict=True))


def write_idx(folder: Path, name: str, array: np.ndarray[Any, Any]) -> str:
    import hashlib

    content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
    (folder / name).write_bytes(gzip.compress(content))
    return hashlib.sha256(content).hexdigest()


def test_full_set_from_idx_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = RNG.integers(0, 256, (60, 28, 28), np.uint8), RNG.integers(0, 10, 60).astype(np.uint8)
    arrays = (images[:50], images[50:], labels[:50], labels[50:])
    digests = {name: write_idx(tmp_path, name, array) for name, array in zip(datasets.IDX_SHA256, arrays, strict=True)}
    monkeypatch.setenv("MLPQ_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"has the wrong content: SHA-256 .*, expected c59f468a"):
        mlpq.load_dataset("fashion-mnist")
    monkeypatch.setattr(datasets, "IDX_SHA256", digests)
    ds = mlpq.load_dataset("fashion-mnist")
    assert np.array_equal(ds.xb, images[:50].reshape(50, 784))
    assert ds.query_labels is not None
    assert np.array_equal(ds.query_labels, labels[50:])
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="is not a whole gzip file"):
        mlpq.load_dataset("fashion-mnist")


def test_synthetic_is_seeded_and_clustered() -> None:
    one, two = (mlpq.synthetic(3000, 32, nq=40, n_clusters=10, intrinsic_dim=5, seed=s) for s in (0, 1))
    assert (one.xb.shape, one.xq.shape, one.gt.shape) == ((3000, 32), (40, 32), (40, 100))
    assert np.array_equal(one.xb, mlpq.synthetic(3000, 32, nq=40, n_clusters=10, intrinsic_dim=5).xb)
    assert not np.array_equal(one.xb, two.xb)
    assert np.array_equal(one.gt[:, :10], mlpq.ExactIndex(32).add(one.xb).search(one.xq, 10)[1])
    inertia = mlpq.KMeans(32, 10).train(one.xb).history[-1].inertia
    assert inertia < 0.75 * ((one.xb - one.xb.mean(axis=0)) ** 2).sum()
    with pytest.raises(ValueError, match="d must be a whole number of at least 1; got 0"):
        mlpq.synthetic(10, 0)


def test_synthetic_rows_do_not_depend_on_how_many_follow() -> None:
    few, many = (np.concatenate(list(mlpq.synthetic_chunks(n, 4))) for n in (datasets.SYNTHETIC_BLOCK + 10, 40_000))
    assert np.array_equal(few, many[: len(few)])
    assert len(many) == 40_000


def test_hdf5_is_read_in_part(tmp_path: Path) -> None:
    zeros = np.zeros((10**6, 100), np.uint8)  # in float32 400 MB, if it were read whole
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("train", data=zeros, chunks=(10_000, 100), compression="gzip", compression_opts=1)
    tracemalloc.start()
    part = _files.read(tmp_path / "x.hdf5", 20)["xb"]
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    assert part.shape == (20, 100)
