"""Data sets by name, or by the path of the reader's own file: base vectors, queries and exact ground truth."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import platformdirs

from mlpq import _check
from mlpq._check import FloatMatrix
from mlpq._hdf5 import numbers
from mlpq.data import groundtruth, readers, verify
from mlpq.data.download import DownloadError, download

EMBEDDED = Path(__file__).parent / "fashion-mnist-20k.hdf5"
EMBEDDED_SHA256 = "56daa8515d183278a6be2f44bd3c801126053be32633d51c0cf40dd311e8ee10"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist
IDX_URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
IDX_SHA256 = {  # of the decompressed files: the compressed ones differ by packager
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
HDF5_URL = "https://ann-benchmarks.com/"
HDF5_FILES = {
    "fashion-mnist": "fashion-mnist-784-euclidean.hdf5",
    "sift": "sift-128-euclidean.hdf5",
    "gist": "gist-960-euclidean.hdf5",
}
LARGEST = {"fashion-mnist": 300_000_000, "sift": 600_000_000, "gist": 4_000_000_000}  # bytes to expect at most
WORDNET = "wordnet-minilm-384-angular.hdf5"  # no one serves it
HELD_OUT = 1000  # at most this many vectors of a file without queries become queries


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Vectors to search in, vectors to search for, and the exact answer.

    Attributes:
        name: its name, or the path it came from.
        xb: (N, d) float32, the base.
        xq: (nq, d) float32, the queries.
        gt: (nq, min(100, N)) int32, ids of the nearest base vectors, nearest first. A file may hold fewer neighbours of
            some queries: then -1 stands in the rest, and +inf in distances.
        distances: like gt, float32: their squared L2 distances (HDF5 files hold the roots; here the unit is the one
            that every `search` returns). With the metric "ip", inner products.
        labels: (N,) uint8 class of each base vector, or None where there are none.
        query_labels: (nq,) uint8, or None.
        metric: what near means: "l2"; "cosine": xb and xq have unit length, and distances are 2 (1 - cos); or "ip".
    """

    name: str
    xb: FloatMatrix
    xq: FloatMatrix
    gt: npt.NDArray[np.int32]
    distances: FloatMatrix
    labels: npt.NDArray[np.uint8] | None = None
    query_labels: npt.NDArray[np.uint8] | None = None
    metric: str = "l2"

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, xb {self.xb.shape}, xq {self.xq.shape}, {self.metric!r}, k={self.gt.shape[1]})"

    @property
    def d(self) -> int:
        """Dimension of the vectors."""
        return int(self.xb.shape[1])

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Height and width where the vectors are images, else None."""
        return (28, 28) if self.name in ("fashion-mnist-20k", "fashion-mnist") else None


def load_dataset(
    name: str | os.PathLike[str] | None = None, *, limit: int | None = None, progress: bool = False
) -> Dataset:
    """Return a data set by name, or from the path of the reader's own file.

    Args:
        name: "fashion-mnist-20k" (embedded: no network), "fashion-mnist", "sift", "gist", "wordnet" (only where its
            file already is), or a path to .npy, .npz, .fvecs, .bvecs, .fbin, .u8bin, .i8bin or HDF5. None takes the environment variable MLPQ_DATASET, else the
            embedded set.
        limit: take only the first `limit` base vectors; only those are held in memory.
        progress: show bars on stderr while files are downloaded and neighbours computed.

    Files are looked for in the folder that MLPQ_DATA_DIR names, in the user's cache, then downloaded to the cache.
    A file without queries: at most 1,000 vectors, drawn with a fixed seed, are taken out of the base as queries.
    Ground truth that the file does not hold is computed, and kept in the cache. What it holds is verified: all
    distances, and the neighbours of some 128 queries or more, which is all where there are few.
    An HDF5 file whose distances are 1 - cos, as ann-benchmarks has them for "angular", or which says that it is angular
    and has none, is a cosine set: its vectors are scaled to unit length.

    Example:
        >>> ds = load_dataset("fashion-mnist-20k")
        >>> ds.xb.shape, ds.xq.shape, ds.gt.shape
        ((20000, 784), (1000, 784), (1000, 100))

    Raises:
        ValueError: unknown name (the known ones are listed), unreadable or inconsistent file, limit < 1.
        FileNotFoundError: no such file.
        DownloadError: no source could be reached.
    """
    if limit is not None:
        limit = _check.integer(limit, "limit", 1)
    if name is None:
        name = os.environ.get("MLPQ_DATASET") or "fashion-mnist-20k"
    loader = LOADERS.get(os.fspath(name))
    if loader is not None:
        return loader(limit, progress)
    path = Path(name).expanduser()
    if path.suffix not in readers.SUFFIXES:
        raise ValueError(
            f"unknown data set {os.fspath(name)!r}: use one of {', '.join(LOADERS)}, "
            f"or the path of a {', '.join(readers.SUFFIXES)} file"
        )
    return _complete(str(path), readers.read(path, limit), progress=progress)


def dataset(
    xb: npt.ArrayLike, xq: npt.ArrayLike | None = None, *, metric: str = "l2", name: str = "yours", seed: int = 0
) -> Dataset:
    """Return a data set of the reader's own arrays, with exact ground truth.

    Args:
        xb: (N, d), the base.
        xq: (nq, d), the queries. None: as from a file, at most 1,000 vectors, drawn with `seed`, are taken out of xb.
        metric: "l2", "cosine" or "ip"; for "cosine" the vectors are scaled to unit length.
        name: the set's name.

    The ground truth is kept in the cache.

    Example:
        >>> dataset(np.eye(50))
        Dataset('yours', xb (45, 50), xq (5, 50), 'l2', k=45)

    Raises:
        TypeError, ValueError: vectors that are none, too few to hold out queries, of different dimensions; another
            metric; for "cosine" a zero vector.
    """
    metric = _check.one_of(metric, "metric", _check.METRICS)
    if not isinstance(name, str):
        raise TypeError(f"name must be a str; got {name!r}")
    arrays = {key: _own(x, key) for key, x in (("xb", xb), ("xq", xq)) if key == "xb" or x is not None}
    if metric == "cosine":
        arrays = {key: groundtruth.unit(x, key, out=x if x.flags.writeable else None) for key, x in arrays.items()}
    return _complete(name, arrays | {"metric": metric}, seed=_check.integer(seed, "seed", 0))


def _own(given: Any, name: str) -> FloatMatrix:
    """Return a checked matrix that may be written to only where it surely shares no memory with what was given."""
    x = _check.matrix(given, name)
    if not isinstance(given, np.ndarray) or np.may_share_memory(x, given):
        x = x.view()
        x.flags.writeable = False
    return x


def cache_folder() -> Path:
    """Return the folder of downloads and computed neighbours."""
    return Path(platformdirs.user_cache_dir("mlpq"))


def _folders() -> list[Path]:
    own = os.environ.get("MLPQ_DATA_DIR")
    return [*([Path(own)] if own else []), cache_folder()]


def _complete(name: str, arrays: readers.Arrays, *, seed: int = 0, progress: bool = False) -> Dataset:
    """Hold out queries and compute neighbours where the arrays lack them, and check that all fits together."""
    if "xq" not in arrays:
        nq = min(HELD_OUT, len(arrays["xb"]) // 10)
        if nq < 1:
            n = len(arrays["xb"])
            raise ValueError(f"{name!r} holds {n} vectors; at least 10 are needed to hold out one as a query")
        chosen = np.sort(np.random.default_rng(seed).choice(len(arrays["xb"]), nq, replace=False))
        arrays["xq"] = arrays["xb"][chosen]
        arrays["xb"] = _without(arrays.pop("xb"), chosen)
    xb, xq = arrays["xb"], arrays["xq"]
    if xq.shape[1] != xb.shape[1]:
        raise ValueError(f"{name!r}: base vectors have dimension {xb.shape[1]}, queries {xq.shape[1]}")
    if "gt" not in arrays:
        ip = arrays.get("metric") == "ip"
        arrays["gt"], arrays["distances"] = groundtruth.cached(xb, xq, cache_folder(), ip=ip, progress=progress)
    return Dataset(name, **arrays)


def _without(x: FloatMatrix, rows: npt.NDArray[np.int64]) -> FloatMatrix:
    """Return x without some rows, ascending: in place where x may be written to, so that memory holds it but once."""
    if not x.flags.writeable:
        return np.delete(x, rows, axis=0)
    for gone, (row, following) in enumerate(zip(rows, [*rows[1:], len(x)], strict=True)):
        x[row - gone : following - gone - 1] = x[row + 1 : following]
    return x[: len(x) - len(rows)]


def _load_embedded(limit: int | None, progress: bool) -> Dataset:
    if hashlib.sha256(EMBEDDED.read_bytes()).hexdigest() != EMBEDDED_SHA256:
        raise ValueError(f"{str(EMBEDDED)!r} is damaged: install mlpq again")
    return _complete("fashion-mnist-20k", readers.read(EMBEDDED, limit), progress=progress)


def _load_fashion_mnist(limit: int | None, progress: bool) -> Dataset:
    for folder in [*_folders(), DEBIAN]:
        if (path := folder / HDF5_FILES["fashion-mnist"]).is_file():
            return _complete("fashion-mnist", readers.read(path, limit), progress=progress)
        if all((folder / file).is_file() for file in IDX_SHA256):
            return _from_idx(folder, limit, progress)
    try:
        for file, sha256 in IDX_SHA256.items():
            check = partial(readers.read_idx, sha256=sha256)
            download(IDX_URL + file, cache_folder() / file, check, readers.IDX_SIZE, progress=progress)
    except DownloadError as idx_error:
        try:
            return _load_hdf5("fashion-mnist", limit, progress)
        except DownloadError as error:
            raise DownloadError(f"{idx_error}. And {error}") from error
    return _from_idx(cache_folder(), limit, progress)


def _from_idx(folder: Path, limit: int | None, progress: bool) -> Dataset:
    xb, xq, labels, query_labels = (readers.read_idx(folder / file, sha256) for file, sha256 in IDX_SHA256.items())
    arrays: readers.Arrays = {
        "xb": xb[:limit].reshape(-1, 784).astype(np.float32),
        "xq": xq.reshape(-1, 784).astype(np.float32),
        "labels": labels[:limit],
        "query_labels": query_labels,
    }
    return _complete("fashion-mnist", arrays, progress=progress)


def _load_hdf5(name: str, limit: int | None, progress: bool) -> Dataset:
    file = HDF5_FILES[name]
    path = next((folder / file for folder in _folders() if (folder / file).is_file()), None)
    if path is None:
        path = download(HDF5_URL + file, cache_folder() / file, _check_hdf5, LARGEST[name], progress=progress)
    return _complete(name, readers.read(path, limit), progress=progress)


def _load_wordnet(limit: int | None, progress: bool) -> Dataset:
    for folder in _folders():
        if (path := folder / WORDNET).is_file():
            return _complete("wordnet", readers.read(path, limit), progress=progress)
    places = " or ".join(repr(str(folder)) for folder in _folders())
    raise FileNotFoundError(f"no {WORDNET} in {places}: set MLPQ_DATA_DIR to the folder that holds it")


def _check_hdf5(path: Path) -> None:
    """Verify by meaning, since nobody publishes these files' digests: what is wrong in detail, reading it will tell."""
    try:
        with h5py.File(path, "r") as file:
            verify.stored_metric(numbers(file, "train"), numbers(file, "test"), *readers.read_neighbours(file))
    except Exception as error:  # h5py raises what it likes
        raise ValueError(f"it is not a data set in the ann-benchmarks layout: {error}") from error


LOADERS: dict[str, Callable[[int | None, bool], Dataset]] = {
    "fashion-mnist-20k": _load_embedded,
    "fashion-mnist": _load_fashion_mnist,
    "sift": partial(_load_hdf5, "sift"),
    "gist": partial(_load_hdf5, "gist"),
    "wordnet": _load_wordnet,
}
