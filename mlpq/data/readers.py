"""Readers of vector files: HDF5, .npy, .npz, .fvecs, .fbin and kin, IDX. Each refuses what does not hold together.

What a header says is compared with what the file holds before anything is allocated. Nothing is unpickled.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from functools import partial
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import h5py
import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._hdf5 import RATIO, numbers, says, texts
from mlpq.data import groundtruth, verify

VECS: dict[str, np.dtype[Any]] = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1")}
BINS: dict[str, np.dtype[Any]] = {".fbin": np.dtype("<f4"), ".u8bin": np.dtype("u1"), ".i8bin": np.dtype("i1")}
SUFFIXES = (".npy", ".npz", *VECS, *BINS, ".hdf5", ".h5")
BASE_KEYS, QUERY_KEYS = ("train", "xb", "base", "vectors"), ("test", "xq", "queries")
TEXT_KEYS = {"texts": ("train_texts", "xb"), "query_texts": ("test_texts", "xq")}

IDX_SIZE = 1 << 26  # bytes; the largest IDX file known here, decompressed, has 47 million
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

Arrays = dict[str, Any]


def read(path: Path, limit: int | None = None, *, known: bool = False) -> Arrays:
    """Return what a vector file holds: "xb", and where it has them "xq", "gt", "distances", labels, texts and "metric".

    Texts of the base may also stand in a .txt beside it, one line each. Of a cosine set, which is in the ann-benchmarks layout, the vectors are scaled to unit length.

    Args:
        limit: read at most this many base vectors; neighbours stored for all of them are then left out.
        known: a digest vouches for the file, whose neighbours need not be searched for anew.

    Raises:
        FileNotFoundError: no such file.
        ValueError: malformed, truncated or of an unknown suffix.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no data file {str(path)!r}")
    readers = {".npy": _read_npy, ".npz": _read_npz} | dict.fromkeys(VECS, _read_vecs) | dict.fromkeys(BINS, _read_bin)
    reader = readers.get(path.suffix, partial(_read_hdf5, known=known))
    try:
        arrays = reader(path, limit)
    except Exception as error:  # the parsers beneath raise what they like, from SyntaxError to struct.error
        raise ValueError(f"{str(path)!r} cannot be read as vectors: {error}") from error
    beside = path.with_suffix(".txt")
    if "texts" not in arrays and beside.is_file():
        arrays["texts"] = _lines(beside, len(arrays["xb"]), limit)
    return arrays


def _lines(path: Path, n: int, limit: int | None) -> list[str]:
    """Return the texts of n vectors; under a limit there may be more."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} must be UTF-8: {error}") from error
    lines = lines[:-1] if lines[-1] == "" else lines
    if len(lines) < n or (limit is None and len(lines) > n):
        raise ValueError(f"{str(path)!r} must hold a line for each of the {n} vectors beside it; it holds {len(lines)}")
    return lines[:n]


def mapped(path: str | os.PathLike[str], known: bool = False) -> _check.Array:
    """Return the vectors (n, d) of a file as an array that leaves them there until they are read.

    Args:
        known: the file was mapped before, and need not be read through for vectors of another dimension.

    Raises:
        FileNotFoundError: no such file.
        ValueError: malformed, truncated, of another suffix, or HDF5 that is stored in chunks.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no data file {str(path)!r}")
    maps = {".npy": _npy} | dict.fromkeys(BINS, _bin)
    try:
        return _vecs(path, 1 if known else None) if path.suffix in VECS else maps.get(path.suffix, _hdf5_block)(path)
    except Exception as error:
        raise ValueError(f"{str(path)!r} cannot be read as vectors: {error}") from error


def _npy(path: Path) -> _check.Array:
    return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _read_npy(path: Path, limit: int | None) -> Arrays:
    return {"xb": _matrix(_npy(path)[:limit], "the array")}


def _read_npz(path: Path, limit: int | None) -> Arrays:
    with ZipFile(path) as file:
        size = path.stat().st_size
        names = [name.removesuffix(".npy") for name in file.namelist()]
        base, queries = _keys([name for name in names if not name.endswith("_texts")])
        rows = _member(file, base, size)[:limit].copy()  # a view would keep the rest in memory
        arrays: Arrays = {"xb": _matrix(rows, base)}
        if queries:
            arrays["xq"] = _matrix(_member(file, queries, size), queries)
        for key, (name, of) in TEXT_KEYS.items():
            if name in names and of in arrays:
                arrays[key] = _words(_member(file, name, size), name, len(arrays[of]))
    return arrays


def _words(array: _check.Array, name: str, n: int) -> list[str]:
    if array.ndim != 1 or array.dtype.kind not in "US" or len(array) < n:
        raise ValueError(f"{name} must hold a text for each vector; it has shape {array.shape} and dtype {array.dtype}")
    return [text.decode() if isinstance(text, bytes) else str(text) for text in array[:n].tolist()]


def _matrix(array: _check.Array, name: str) -> _check.FloatMatrix:
    if array.dtype.kind == "V" and not array.dtype.names:
        raise TypeError(
            f"{name} has dtype {array.dtype}, which .npy cannot name; if it is a kind of float, such as bfloat16 with its "
            f"2 bytes, save x.astype(np.float32) instead"
        )
    return _check.matrix(array, name)


def _member(file: ZipFile, name: str, size: int) -> _check.Array:
    """Read an array of a .npz archive of so many bytes, of which its header asks for no more than it can hold."""
    info = file.getinfo(name + ".npy")
    with file.open(info) as stream:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(stream)](stream)
    claimed = prod(shape) * dtype.itemsize
    if claimed > min(info.file_size, RATIO * size) or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError(f"{name} says {claimed} bytes, in a file of {size}")
    with file.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _keys(names: list[str]) -> tuple[str, str | None]:
    """Return the names of the base and of the query vectors; a file with one array needs no special name."""
    base = next((key for key in BASE_KEYS if key in names), names[0] if len(names) == 1 else None)
    if base is None:
        raise ValueError(
            f"it holds {', '.join(names) or 'nothing'}; name the base vectors one of {', '.join(BASE_KEYS)}"
        )
    return base, next((key for key in QUERY_KEYS if key in names), None)


def _vecs(path: Path, checked: int | None) -> _check.Array:
    """Map the corpus-texmex layout, each vector after its dimension as int32; so many of these are checked, or all."""
    item = VECS[path.suffix]
    size = path.stat().st_size
    if size < 4:
        raise ValueError("it is shorter than one dimension field")
    d = int(np.fromfile(path, "<i4", 1)[0])
    if d < 1 or size % (4 + d * item.itemsize):
        raise ValueError(
            f"its size {size} is no multiple of a {d}-dimensional vector's; it is truncated or another format"
        )
    rows = np.memmap(path, np.dtype([("d", "<i4"), ("x", item, (d,))]), "r")
    if (wrong := np.flatnonzero(rows["d"][:checked] != d)).size:
        raise ValueError(f"vector {wrong[0]} has another dimension than the first ({d})")
    return np.asanyarray(rows["x"])


def _read_vecs(path: Path, limit: int | None) -> Arrays:
    return {"xb": _check.matrix(_vecs(path, limit)[:limit], "the vectors")}


def _bin(path: Path) -> _check.Array:
    """Map the big-ann-benchmarks layout: n and d as uint32, then n vectors of float32, uint8 or int8."""
    item, size = BINS[path.suffix], path.stat().st_size
    if size < 8:
        raise ValueError("it is shorter than its two sizes")
    n, d = map(int, np.fromfile(path, "<u4", 2))
    if size != 8 + n * d * item.itemsize:
        raise ValueError(
            f"its size {size} is not that of {n} {d}-dimensional vectors; it is truncated or another format"
        )
    if n * d == 0:
        raise ValueError(f"it holds {n} vectors of dimension {d}")
    return np.memmap(path, item, "r", 8, (n, d))


def _read_bin(path: Path, limit: int | None) -> Arrays:
    return {"xb": _check.matrix(_bin(path)[:limit], "the vectors")}


def _hdf5_block(path: Path) -> _check.Array:
    with h5py.File(path, "r") as file:
        name, _ = _keys([n for n in file if file.get(n, getclass=True) is h5py.Dataset and not n.endswith("_texts")])
        dataset = numbers(file, name)
        if dataset.chunks or dataset.id.get_offset() is None:
            raise ValueError(f"{name} is stored in chunks, which cannot be mapped: save it as .npy")
        return np.memmap(path, dataset.dtype, "r", dataset.id.get_offset(), dataset.shape)


def _read_hdf5(path: Path, limit: int | None, *, known: bool = False) -> Arrays:
    """Read the ann-benchmarks layout: train, test, neighbors, distances; here also train_labels and test_labels."""
    with h5py.File(path, "r") as file:
        names = [name for name in file if file.get(name, getclass=True) is h5py.Dataset]
        base, queries = _keys([name for name in names if not name.endswith("_texts")])
        arrays: Arrays = {"xb": _rows(file, base, limit)}
        if queries:
            arrays["xq"] = _rows(file, queries, None)
        if "train_labels" in file and "test_labels" in file and queries:
            arrays["labels"] = _labels(file, "train_labels", len(arrays["xb"]))
            arrays["query_labels"] = _labels(file, "test_labels", len(arrays["xq"]))
        for key, (name, of) in TEXT_KEYS.items():
            if name in file and of in arrays:
                arrays[key] = texts(file, name, len(arrays[of]))
        _add_truth(file, arrays, numbers(file, base), known)
    return arrays


def _add_truth(file: h5py.File, arrays: Arrays, base: h5py.Dataset, known: bool) -> None:
    """Add the metric to the arrays, and the stored neighbours if they are those of all base vectors read."""
    metric = None
    whole = len(arrays["xb"]) == len(base)
    stored = "xq" in arrays and "neighbors" in file and "distances" in file
    if stored:
        gt, distances = read_neighbours(file)
        metric = verify.stored_metric(arrays["xb"] if whole else base, arrays["xq"], gt, distances)
    if metric is None:
        metric = "cosine" if _says_angular(file) else "l2"
    if metric == "cosine":
        for key in [key for key in ("xb", "xq") if key in arrays]:
            groundtruth.unit(arrays[key], key, out=arrays[key])
    if stored and whole:
        squared, rounding = (2 * distances, verify.ROUNDING) if metric == "cosine" else (distances**2, 0)
        if known:
            arrays |= {"gt": gt, "distances": squared.astype(np.float32)}
        else:
            arrays["gt"], arrays["distances"] = verify.verified(arrays["xb"], arrays["xq"], gt, squared, rounding)
    arrays["metric"] = metric


def _says_angular(file: h5py.File) -> bool:
    """Return whether a file in the ann-benchmarks layout says that it is a cosine set."""
    return Path(file.filename).stem.endswith("-angular") or any(
        says(file, "distance", word) for word in ("angular", "cosine")
    )


def _rows(file: h5py.File, name: str, limit: int | None) -> _check.FloatMatrix:
    """Read the first rows straight into float32: HDF5 converts chunk by chunk, whatever the stored type."""
    dataset = numbers(file, name)
    if dataset.ndim != 2:
        raise ValueError(f"{name} must be a matrix of numbers; it has shape {dataset.shape}")
    n = len(dataset) if limit is None else min(limit, len(dataset))
    rows = np.empty((n, dataset.shape[1]), np.float32)
    if rows.size:
        dataset.read_direct(rows, np.s_[:n])
    return _check.matrix(rows, name)


def _labels(file: h5py.File, name: str, n: int) -> npt.NDArray[np.uint8]:
    dataset = numbers(file, name)
    if dataset.ndim != 1 or len(dataset) < n:
        raise ValueError(f"{name} must hold a class for each vector; it has shape {dataset.shape}")
    labels: _check.Array = dataset[:n]
    if dataset.dtype.kind == "f" or not np.array_equal(labels, labels.astype(np.uint8)):
        raise ValueError(f"{name} must be whole numbers from 0 to 255")
    return labels.astype(np.uint8)


def read_neighbours(file: h5py.File) -> tuple[groundtruth.Ids, groundtruth.Doubles]:
    """Return the neighbors and the distances as a file in the ann-benchmarks layout holds them."""
    neighbours, distances = numbers(file, "neighbors")[...], numbers(file, "distances")[...]
    if neighbours.dtype.kind == "f" or not np.array_equal(gt := neighbours.astype(np.int32), neighbours):
        raise ValueError("neighbors must be whole numbers below 2**31")
    with np.errstate(over="ignore", invalid="ignore"):
        return gt, distances.astype(np.float64)


def read_idx(path: Path, sha256: str) -> _check.Codes:
    """Read a gzipped IDX file of bytes whose decompressed content has the given SHA-256.

    Raises:
        ValueError: not gzip, another content.
    """
    try:
        with gzip.open(path) as file:
            content = file.read(IDX_SIZE)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is not a whole gzip file: {error}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ValueError(f"{str(path)!r} has the wrong content: SHA-256 {digest}, expected {sha256}")
    ndim = content[3]
    shape = np.frombuffer(content, ">i4", ndim, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(shape)
