"""Readers of vector files: HDF5, .npy, .npz, .fvecs/.bvecs and IDX. Each refuses what does not hold together."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from zipfile import BadZipFile

import h5py
import numpy as np

from mlpq import _check

SUFFIXES = (".npy", ".npz", ".fvecs", ".bvecs", ".hdf5", ".h5")
BASE_KEYS, QUERY_KEYS = ("train", "xb", "base", "vectors"), ("test", "xq", "queries")

UNREADABLE = (OSError, EOFError, KeyError, ValueError, TypeError, RuntimeError, BadZipFile, zlib.error)

Arrays = dict[str, _check.Array]


def read(path: Path, limit: int | None = None) -> Arrays:
    """Return the arrays of a vector file: "xb", and where it has them "xq", "gt", "distances" and labels.

    Args:
        limit: read at most this many base vectors; neighbours stored for all of them are then left out.

    Raises:
        FileNotFoundError: no such file.
        ValueError: malformed, truncated or of an unknown suffix.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no data file {str(path)!r}")
    readers = {".npy": _read_npy, ".npz": _read_npz, ".fvecs": _read_vecs, ".bvecs": _read_vecs}
    reader = readers.get(path.suffix, _read_hdf5)
    try:
        return reader(path, limit)
    except UNREADABLE as error:
        raise ValueError(f"{str(path)!r} cannot be read as vectors: {error}") from error


def _read_npy(path: Path, limit: int | None) -> Arrays:
    return {"xb": _check.matrix(np.load(path, mmap_mode="r", allow_pickle=False)[:limit], "the array")}


def _read_npz(path: Path, limit: int | None) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        base, queries = _keys(list(file))
        arrays = {"xb": _check.matrix(file[base][:limit].copy(), base)}  # a view would keep the rest in memory
        if queries:
            arrays["xq"] = _check.matrix(file[queries], queries)
    return arrays


def _keys(names: list[str]) -> tuple[str, str | None]:
    """Return the names of the base and of the query vectors; a file with one array needs no special name."""
    base = next((key for key in BASE_KEYS if key in names), names[0] if len(names) == 1 else None)
    if base is None:
        raise ValueError(
            f"it holds {', '.join(names) or 'nothing'}; name the base vectors one of {', '.join(BASE_KEYS)}"
        )
    return base, next((key for key in QUERY_KEYS if key in names), None)


def _read_vecs(path: Path, limit: int | None) -> Arrays:
    """Read the corpus-texmex layout: each vector is its dimension as int32, then that many float32 or uint8."""
    item = np.dtype("<f4") if path.suffix == ".fvecs" else np.dtype("u1")
    size = path.stat().st_size
    if size < 4:
        raise ValueError("it is shorter than one dimension field")
    d = int(np.fromfile(path, "<i4", 1)[0])
    if d < 1 or size % (4 + d * item.itemsize):
        raise ValueError(
            f"its size {size} is no multiple of a {d}-dimensional vector's; it is truncated or another format"
        )
    rows = np.memmap(path, np.dtype([("d", "<i4"), ("x", item, (d,))]), "r")[:limit]
    if (rows["d"] != d).any():
        raise ValueError(f"vector {int(np.flatnonzero(rows['d'] != d)[0])} has another dimension than the first ({d})")
    return {"xb": _check.matrix(rows["x"], "the vectors")}


def _read_hdf5(path: Path, limit: int | None) -> Arrays:
    """Read the ann-benchmarks layout: train, test, neighbors, distances; here also train_labels and test_labels."""
    with h5py.File(path, "r") as file:
        metric = file.attrs.get("distance", "euclidean")
        if (metric.decode() if isinstance(metric, bytes) else metric) != "euclidean":
            raise ValueError(f"its distance is {metric}; mlpq searches by Euclidean distance")
        base, queries = _keys([name for name in file if isinstance(file[name], h5py.Dataset)])
        arrays = {"xb": _rows(file[base], limit)}
        if queries:
            arrays["xq"] = _rows(file[queries], None)
        if "train_labels" in file and "test_labels" in file:
            arrays["labels"], arrays["query_labels"] = file["train_labels"][:limit], file["test_labels"][:]
        whole = len(arrays["xb"]) == len(file[base])
        if whole and queries and "neighbors" in file and "distances" in file:
            arrays["gt"] = file["neighbors"][:].astype(np.int32)
            arrays["distances"] = np.square(file["distances"][:].astype(np.float32))
    return arrays


def _rows(dataset: h5py.Dataset, limit: int | None) -> _check.FloatMatrix:
    """Read the first rows straight into float32: HDF5 converts chunk by chunk, whatever the stored type."""
    if dataset.ndim != 2 or dataset.dtype.kind not in "fiu":
        raise ValueError(f"{dataset.name} must be a matrix of numbers; it has shape {dataset.shape}, {dataset.dtype}")
    n = len(dataset) if limit is None else min(limit, len(dataset))
    rows = np.empty((n, dataset.shape[1]), np.float32)
    if n:
        dataset.read_direct(rows, np.s_[:n])
    return _check.matrix(rows, dataset.name)


def read_idx(path: Path, sha256: str) -> _check.Codes:
    """Read a gzipped IDX file of bytes whose decompressed content has the given SHA-256.

    Raises:
        ValueError: not gzip, another content.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise ValueError(f"{str(path)!r} is not a whole gzip file: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ValueError(f"{str(path)!r} has the wrong content: SHA-256 {digest}, expected {sha256}")
    ndim = content[3]
    shape = np.frombuffer(content, ">i4", ndim, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(shape)
