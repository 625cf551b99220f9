"""What is searched in, what is searched for, and the exact answer: by name, from a file, or from arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import FloatMatrix, Metric
from mlpq.data import groundtruth, named, readers

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
        texts: what each base vector stands for, a list of N texts, or None where there are none.
        query_texts: a list of nq texts, or None.
        metric: what near means: "l2"; "cosine": xb and xq have unit length, and distances are 2 (1 - cos); or "ip".
    """

    name: str
    xb: FloatMatrix
    xq: FloatMatrix
    gt: npt.NDArray[np.int32]
    distances: FloatMatrix
    labels: npt.NDArray[np.uint8] | None = None
    query_labels: npt.NDArray[np.uint8] | None = None
    texts: list[str] | None = None
    query_texts: list[str] | None = None
    metric: Metric = "l2"

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
        name: "fashion-mnist-20k" (images) or "wordnet-20k" (texts), which the package holds; "fashion-mnist",
            "wordnet", "glove", "sift", "gist"; or a path to .npy, .npz, .fvecs, .bvecs, .fbin, .u8bin, .i8bin or HDF5.
            None takes the environment variable MLPQ_DATASET, else the embedded images.
        limit: take only the first `limit` base vectors; only those are held in memory.
        progress: show bars on stderr while files are downloaded and neighbours computed.

    Files are looked for in the folder that MLPQ_DATA_DIR names, in the user's cache, then downloaded to the cache.
    A file without queries: at most 1,000 vectors, drawn with a fixed seed, are taken out of the base as queries.
    Ground truth that the file does not hold is computed, and kept in the cache. What it holds is verified: all
    distances, and the neighbours of some 128 queries or more, which is all where there are few.
    Texts are read from `train_texts` and `test_texts` of an HDF5 or .npz file, or for the base from a .txt beside the
    vectors, one line each.
    An HDF5 file whose distances are 1 - cos, as ann-benchmarks has them for "angular", or which says that it is angular
    and has none, is a cosine set: its vectors are scaled to unit length.

    Example:
        >>> ds = load_dataset("fashion-mnist-20k")
        >>> ds.xb.shape, ds.xq.shape, ds.gt.shape
        ((20000, 784), (1000, 784), (1000, 100))

    Raises:
        ValueError: unknown name (the known ones are listed), unreadable or inconsistent file, limit < 1.
        FileNotFoundError: no such file; for "wordnet" and "glove" it says how to get it.
        DownloadError: no source could be reached.
    """
    if limit is not None:
        limit = _check.integer(limit, "limit", 1)
    if name is None:
        name = os.environ.get("MLPQ_DATASET") or "fashion-mnist-20k"
    loader = named.LOADERS.get(os.fspath(name))
    if loader is not None:
        return _complete(os.fspath(name), loader(limit, progress), progress=progress)
    path = Path(name).expanduser()
    if path.suffix not in readers.SUFFIXES:
        raise ValueError(
            f"unknown data set {os.fspath(name)!r}: use one of {', '.join(named.LOADERS)}, "
            f"or the path of a {', '.join(readers.SUFFIXES)} file"
        )
    return _complete(str(path), readers.read(path, limit), progress=progress)


def dataset(
    xb: npt.ArrayLike,
    xq: npt.ArrayLike | None = None,
    *,
    texts: Sequence[str] | None = None,
    query_texts: Sequence[str] | None = None,
    metric: Metric = "l2",
    name: str = "yours",
    seed: int = 0,
) -> Dataset:
    """Return a data set of the reader's own arrays, with exact ground truth.

    Args:
        xb: (N, d), the base.
        xq: (nq, d), the queries. None: as from a file, at most 1,000 vectors, drawn with `seed`, are taken out of xb.
        texts: N of them, what each base vector stands for: a list, or a column of a table.
        query_texts: nq of them, if xq is given.
        metric: "l2", "cosine" or "ip"; for "cosine" the vectors are scaled to unit length.
        name: the set's name.

    The ground truth is kept in the cache.

    Example:
        >>> dataset(np.eye(50))
        Dataset('yours', xb (45, 50), xq (5, 50), 'l2', k=45)

    Raises:
        TypeError, ValueError: vectors that are none, too few to hold out queries, of different dimensions; texts that
            are none, or another number of them; another metric; for "cosine" a zero vector.
    """
    metric = _check.one_of(metric, "metric", _check.METRICS)
    if not isinstance(name, str):
        raise TypeError(f"name must be a str; got {name!r}")
    arrays: readers.Arrays = {key: _own(x, key) for key, x in (("xb", xb), ("xq", xq)) if key == "xb" or x is not None}
    if metric == "cosine":
        arrays = {key: groundtruth.unit(x, key, out=x if x.flags.writeable else None) for key, x in arrays.items()}
    given = (("texts", texts, "xb"), ("query_texts", query_texts, "xq"))
    arrays |= {key: _texts(words, key, arrays.get(of)) for key, words, of in given if words is not None}
    return _complete(name, arrays | {"metric": metric}, seed=_check.integer(seed, "seed", 0))


def _own(given: Any, name: str) -> FloatMatrix:
    """Return a checked matrix that may be written to only where it surely shares no memory with what was given."""
    x = _check.matrix(given, name)
    if not isinstance(given, np.ndarray) or np.may_share_memory(x, given):
        x = x.view()
        x.flags.writeable = False
    return x


def _texts(given: Sequence[str], name: str, x: FloatMatrix | None) -> list[str]:
    """Return a list of one text for each vector of x."""
    texts = list(given)
    if isinstance(given, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} must be a list of texts, one for each vector; got {type(given).__name__}")
    if x is None or len(texts) != len(x):
        n = "no xq" if x is None else f"{len(x)} vectors"
        raise ValueError(f"{name} must be a list of texts, one for each vector; got {len(texts)} for {n}")
    return [str(text) for text in texts]


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
        if "texts" in arrays:
            texts, queries = arrays["texts"], set(chosen)
            arrays["query_texts"] = [texts[row] for row in chosen]
            arrays["texts"] = [text for row, text in enumerate(texts) if row not in queries]
    xb, xq = arrays["xb"], arrays["xq"]
    if xq.shape[1] != xb.shape[1]:
        raise ValueError(f"{name!r}: base vectors have dimension {xb.shape[1]}, queries {xq.shape[1]}")
    if "gt" not in arrays:
        ip = arrays.get("metric") == "ip"
        arrays["gt"], arrays["distances"] = groundtruth.cached(xb, xq, named.cache_folder(), ip=ip, progress=progress)
    return Dataset(name, **arrays)


def _without(x: FloatMatrix, rows: npt.NDArray[np.int64]) -> FloatMatrix:
    """Return x without some rows, ascending: in place where x may be written to, so that memory holds it but once."""
    if not x.flags.writeable:
        return np.delete(x, rows, axis=0)
    for gone, (row, following) in enumerate(zip(rows, [*rows[1:], len(x)], strict=True)):
        x[row - gone : following - gone - 1] = x[row + 1 : following]
    return x[: len(x) - len(rows)]
