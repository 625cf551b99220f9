"""Data sets by name, or by the path of the reader's own file: base vectors, queries and exact ground truth."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import platformdirs

from mlpq import _check, _files, groundtruth
from mlpq._check import FloatMatrix
from mlpq._download import DownloadError, download
from mlpq._hdf5 import numbers

EMBEDDED = Path(__file__).parent / "data" / "fashion-mnist-20k.hdf5"
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
HELD_OUT = 1000  # at most this many vectors of a file without queries become queries


@dataclass(frozen=True, eq=False)
class Dataset:
    """Vectors to search in, vectors to search for, and the exact answer.

    Attributes:
        name: its name, or the path it came from.
        xb: (N, d) float32, the base.
        xq: (nq, d) float32, the queries.
        gt: (nq, min(100, N)) int32, ids of the nearest base vectors, nearest first.
        distances: like gt, float32: their squared L2 distances (HDF5 files hold the roots; here the unit is the one
            that every `search` returns).
        labels: (N,) uint8 class of each base vector, or None where there are none.
        query_labels: (nq,) uint8, or None.
    """

    name: str
    xb: FloatMatrix
    xq: FloatMatrix
    gt: npt.NDArray[np.int32]
    distances: FloatMatrix
    labels: npt.NDArray[np.uint8] | None = None
    query_labels: npt.NDArray[np.uint8] | None = None

    @property
    def d(self) -> int:
        """Dimension of the vectors."""
        return int(self.xb.shape[1])

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Height and width where the vectors are images, else None."""
        return (28, 28) if self.name in ("fashion-mnist-20k", "fashion-mnist") else None


def load_dataset(name: str | os.PathLike[str] | None = None, *, limit: int | None = None) -> Dataset:
    """Return a data set by name, or from the path of the reader's own file.

    Args:
        name: "fashion-mnist-20k" (embedded: no network), "fashion-mnist", "sift", "gist", or a path to .npy, .npz,
            .fvecs, .bvecs or HDF5. None takes the environment variable MLPQ_DATASET, else the embedded set.
        limit: take only the first `limit` base vectors; only those are held in memory.

    Files are looked for in the folder that MLPQ_DATA_DIR names, in the user's cache, then downloaded to the cache.
    A file without queries: at most 1,000 vectors, drawn with a fixed seed, are taken out of the base as queries.
    Ground truth that the file does not hold is computed, and kept in the cache.

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
        return loader(limit)
    path = Path(name).expanduser()
    if path.suffix not in _files.SUFFIXES:
        raise ValueError(
            f"unknown data set {os.fspath(name)!r}: use one of {', '.join(LOADERS)}, "
            f"or the path of a {', '.join(_files.SUFFIXES)} file"
        )
    return _complete(str(path), _files.read(path, limit))


def cache_folder() -> Path:
    """Return the folder of downloads and computed neighbours."""
    return Path(platformdirs.user_cache_dir("mlpq"))


def _folders() -> list[Path]:
    own = os.environ.get("MLPQ_DATA_DIR")
    return [*([Path(own)] if own else []), cache_folder()]


def _complete(name: str, arrays: _files.Arrays) -> Dataset:
    """Hold out queries and compute neighbours where the arrays lack them, and check that all fits together."""
    xb = arrays["xb"]
    if "xq" not in arrays:
        nq = min(HELD_OUT, len(xb) // 10)
        if nq < 1:
            raise ValueError(f"{name!r} holds {len(xb)} vectors; at least 10 are needed to hold out one as a query")
        chosen = np.zeros(len(xb), bool)
        chosen[np.random.default_rng(0).choice(len(xb), nq, replace=False)] = True
        arrays |= {"xb": xb[~chosen], "xq": xb[chosen]}
    if arrays["xq"].shape[1] != xb.shape[1]:
        raise ValueError(f"{name!r}: base vectors have dimension {xb.shape[1]}, queries {arrays['xq'].shape[1]}")
    if "gt" not in arrays:
        arrays["gt"], arrays["distances"] = groundtruth.cached(arrays["xb"], arrays["xq"], cache_folder())
    return Dataset(name, **arrays)


def _load_embedded(limit: int | None) -> Dataset:
    if hashlib.sha256(EMBEDDED.read_bytes()).hexdigest() != EMBEDDED_SHA256:
        raise ValueError(f"{str(EMBEDDED)!r} is damaged: install mlpq again")
    return _complete("fashion-mnist-20k", _files.read(EMBEDDED, limit))


def _load_fashion_mnist(limit: int | None) -> Dataset:
    for folder in [*_folders(), DEBIAN]:
        if (path := folder / HDF5_FILES["fashion-mnist"]).is_file():
            return _complete("fashion-mnist", _files.read(path, limit))
        if all((folder / file).is_file() for file in IDX_SHA256):
            return _from_idx(folder, limit)
    try:
        for file, sha256 in IDX_SHA256.items():
            download(IDX_URL + file, cache_folder() / file, partial(_files.read_idx, sha256=sha256), _files.IDX_SIZE)
    except DownloadError as idx_error:
        try:
            return _load_hdf5("fashion-mnist", limit)
        except DownloadError as error:
            raise DownloadError(f"{idx_error}. And {error}") from error
    return _from_idx(cache_folder(), limit)


def _from_idx(folder: Path, limit: int | None) -> Dataset:
    xb, xq, labels, query_labels = (_files.read_idx(folder / file, sha256) for file, sha256 in IDX_SHA256.items())
    arrays: dict[str, Any] = {
        "xb": xb[:limit].reshape(-1, 784).astype(np.float32),
        "xq": xq.reshape(-1, 784).astype(np.float32),
        "labels": labels[:limit],
        "query_labels": query_labels,
    }
    return _complete("fashion-mnist", arrays)


def _load_hdf5(name: str, limit: int | None) -> Dataset:
    file = HDF5_FILES[name]
    path = next((folder / file for folder in _folders() if (folder / file).is_file()), None)
    path = path or download(HDF5_URL + file, cache_folder() / file, _check_hdf5, LARGEST[name])
    return _complete(name, _files.read(path, limit))


def _check_hdf5(path: Path) -> None:
    """Verify by meaning, since nobody publishes these files' digests."""
    try:
        with h5py.File(path, "r") as file:
            neighbours = _files.read_neighbours(file)
            groundtruth.verify(numbers(file, "train"), numbers(file, "test"), *neighbours)
    except Exception as error:  # h5py raises what it likes
        raise ValueError(f"it is not a data set in the ann-benchmarks layout: {error}") from error


LOADERS: dict[str, Callable[[int | None], Dataset]] = {
    "fashion-mnist-20k": _load_embedded,
    "fashion-mnist": _load_fashion_mnist,
    "sift": partial(_load_hdf5, "sift"),
    "gist": partial(_load_hdf5, "gist"),
}


SYNTHETIC_BLOCK = 1 << 14  # rows generated from one seed: the same row for any chunk size


def synthetic_chunks(
    n: int, d: int, *, n_clusters: int = 100, intrinsic_dim: int = 16, seed: int = 0, skip_blocks: int = 0
) -> Iterator[FloatMatrix]:
    """Return an iterator over n vectors of dimension d in blocks of at most 16,384 rows: clusters of low intrinsic dimension.

    A vector is a cluster's centre, plus a Gaussian in that cluster's own `intrinsic_dim`-dimensional subspace, plus a
    little noise in all d. Same arguments, same vectors; `skip_blocks` starts that many blocks later.

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1, or a negative seed.
    """
    sizes = {"n": n, "d": d, "n_clusters": n_clusters, "intrinsic_dim": intrinsic_dim}
    n, d, n_clusters, intrinsic_dim = (_check.integer(value, name, 1) for name, value in sizes.items())
    seed = _check.integer(seed, "seed", 0)
    skip_blocks = _check.integer(skip_blocks, "skip_blocks", 0)
    model = np.random.default_rng([seed, 0])
    centres = model.standard_normal((n_clusters, d), np.float32)
    bases = model.standard_normal((n_clusters, intrinsic_dim, d), np.float32) / np.float32(intrinsic_dim**0.5)

    def block(number: int) -> FloatMatrix:
        rng = np.random.default_rng([seed, 1 + skip_blocks + number])
        cluster = rng.integers(0, n_clusters, SYNTHETIC_BLOCK)
        inner = rng.standard_normal((SYNTHETIC_BLOCK, intrinsic_dim), np.float32)
        x = 0.05 * rng.standard_normal((SYNTHETIC_BLOCK, d), np.float32) + centres[cluster]
        for c in np.unique(cluster):
            x[cluster == c] += inner[cluster == c] @ bases[c]
        return x[: n - number * SYNTHETIC_BLOCK]

    return (block(number) for number in range(-(-n // SYNTHETIC_BLOCK)))


def synthetic(
    n: int, d: int, *, nq: int = 1000, n_clusters: int = 100, intrinsic_dim: int = 16, seed: int = 0
) -> Dataset:
    """Return a data set of n vectors and nq queries from `synthetic_chunks`, with exact ground truth.

    Example:
        >>> synthetic(500, 8, nq=10).gt.shape
        (10, 100)

    Raises:
        TypeError, ValueError: as in `synthetic_chunks`; nq < 1.
    """
    nq = _check.integer(nq, "nq", 1)
    model = {"n_clusters": n_clusters, "intrinsic_dim": intrinsic_dim, "seed": seed}
    xb = np.concatenate(list(synthetic_chunks(n, d, **model)))
    xq = np.concatenate(list(synthetic_chunks(nq, d, skip_blocks=-(-len(xb) // SYNTHETIC_BLOCK), **model)))
    gt, distances = groundtruth.compute(xb, xq)
    return Dataset(f"synthetic-{n}x{d}", xb, xq, gt, distances)
