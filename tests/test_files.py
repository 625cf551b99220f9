"""The reader's own files in every format, and files that are none."""

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mlpq
from mlpq.data import datasets, readers
from tests import reference

RNG = np.random.default_rng(5)
X = RNG.standard_normal((120, 6)).astype(np.float32)


def write_vecs(path: Path, x: np.ndarray[Any, Any]) -> None:
    dimensions = np.full((len(x), 1), x.shape[1], "<i4").view(np.uint8).reshape(len(x), 4)
    np.hstack([dimensions, x.view(np.uint8).reshape(len(x), -1)]).tofile(path)


def write_bin(path: Path, x: np.ndarray[Any, Any]) -> None:
    path.write_bytes(np.array(x.shape, "<u4").tobytes() + x.tobytes())


BYTES = {".bvecs": np.uint8, ".u8bin": np.uint8, ".i8bin": np.int8}


def write(path: Path, x: np.ndarray[Any, Any] = X) -> Path:
    """Write base vectors in the format that the path's suffix names."""
    if path.suffix == ".npy":
        np.save(path, x)
    elif path.suffix == ".npz":
        np.savez(path, vectors=x)
    elif path.suffix in (".fvecs", ".bvecs"):
        write_vecs(path, x)
    elif path.suffix in (".fbin", ".u8bin", ".i8bin"):
        write_bin(path, x)
    else:
        with h5py.File(path, "w") as file:
            file["train"] = x
    return path


FORMATS = ["x.npy", "x.npz", "x.fvecs", "x.bvecs", "x.fbin", "x.u8bin", "x.i8bin", "x.hdf5", "x.h5"]


def rows_for(name: str, n: int) -> np.ndarray[Any, Any]:
    """Vectors of the kind that a format holds, with its extremes among them."""
    dtype = BYTES.get(Path(name).suffix)
    if dtype is None:
        return RNG.standard_normal((n, 6)).astype(np.float32)
    return RNG.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (n, 6), dtype, endpoint=True)


@pytest.mark.parametrize("name", FORMATS)
def test_own_files(tmp_path: Path, name: str) -> None:
    x = rows_for(name, 120)
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
    distances, gt = mlpq.ground_truth(X, X[:7], 100)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"], file["test"], file["neighbors"], file["distances"] = X, X[:7], gt, np.sqrt(distances)
    ds = mlpq.load_dataset(tmp_path / "x.hdf5")
    assert np.array_equal(ds.gt, gt)
    np.testing.assert_allclose(ds.distances, distances, rtol=1e-5, atol=1e-6)


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
    "short fbin": ("x.fbin", bytes(7), "shorter than its two sizes"),
    "no rows in fbin": ("x.fbin", np.array([0, 4], "<u4").tobytes(), "holds 0 vectors of dimension 4"),
    "no dimension in fbin": ("x.u8bin", np.array([4, 0], "<u4").tobytes(), "holds 4 vectors of dimension 0"),
    "more rows than it holds": ("x.i8bin", np.array([30, 4], "<u4").tobytes() + bytes(119), "size 127 is not that of 30 4-dimensional vectors"),
    "fewer rows than it holds": ("x.fbin", np.array([30, 4], "<u4").tobytes() + bytes(484), "size 492 is not that of 30 4-dimensional vectors"),
    "bfloat16": ("x.npy", np.zeros((30, 4), "V2"), r"the array has dtype \|V2, .* such as bfloat16 .*, save x.astype\(np.float32\) instead"),
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


@pytest.mark.parametrize("name", FORMATS[:-1])
@pytest.mark.parametrize("part", [k / 20 for k in range(20)])
def test_truncated_files_are_refused(tmp_path: Path, name: str, part: float) -> None:
    path = write(tmp_path / name, rows_for(name, 113))
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
    elif path.suffix == ".fbin":
        path.write_bytes(np.array([2**32 - 1, 2**32 - 1], "<u4").tobytes() + bytes(4000))
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
    [("x.npy", ""), ("x.fvecs", ""), ("x.fbin", ""), ("x.npz", "stored"), ("x.npz", "deflated"),
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


@pytest.mark.parametrize("name", ["x.npy", "x.bvecs", "x.u8bin", "x.i8bin"])
def test_files_of_bytes_are_held_once_in_float32(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((1 << 16, 512), BYTES.get(Path(name).suffix, np.uint8))  # 32 MB, in float32 128
    x[:, 0] = np.arange(len(x)) % 100
    path = write(tmp_path / name, x)
    del x
    monkeypatch.setattr(datasets, "HELD_OUT", 20)
    monkeypatch.setattr("mlpq.search.distance.TILE", 1 << 10)
    tracemalloc.start()
    ds = mlpq.load_dataset(path)
    peak, result = tracemalloc.get_traced_memory()[1], ds.xb.nbytes + ds.xq.nbytes
    tracemalloc.reset_peak()
    part = mlpq.load_dataset(path, limit=1000)
    part_peak = tracemalloc.get_traced_memory()[1] - result
    tracemalloc.stop()
    assert result == 4 << 25
    assert peak < result + (32 << 20)
    assert part_peak < 32 << 20
    assert np.array_equal(part.xb[:, 0], np.delete(np.arange(1000) % 100, held_out(1000, 20)))
    assert np.array_equal(ds.xb[:, 0], np.delete(np.arange(1 << 16) % 100, held_out(1 << 16, 20)))


def held_out(n: int, nq: int) -> Any:
    return np.random.default_rng(0).choice(n, nq, replace=False)


def test_hdf5_is_read_in_part(tmp_path: Path) -> None:
    zeros = np.zeros((10**6, 100), np.uint8)  # in float32 400 MB, if it were read whole
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("train", data=zeros, chunks=(10_000, 100), compression="gzip", compression_opts=1)
    tracemalloc.start()
    part = readers.read(tmp_path / "x.hdf5", 20)["xb"]
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    assert part.shape == (20, 100)
