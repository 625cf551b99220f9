"""Exact nearest neighbours: the order of float64 sums of squared differences, ties by id; kept once computed."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import faiss
import h5py
import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from mlpq import _check
from mlpq._check import FloatMatrix, IdMatrix, Rows
from mlpq._hdf5 import numbers, text
from mlpq._parallel import cut, in_threads
from mlpq.storage import replacing

log = logging.getLogger(__name__)

K = 100  # neighbours per query of a data set, as in ann-benchmarks
QUERIES, FEW = 256, 16  # that one thread compares at a time, at most and at least
BLOCK = 1 << 20  # numbers of one block: 8 MB of float64

Ids = npt.NDArray[np.int32]
Doubles = npt.NDArray[np.float64]


def ground_truth(xb: npt.ArrayLike, xq: npt.ArrayLike, k: int, *, metric: str = "l2") -> tuple[FloatMatrix, IdMatrix]:
    """Return the exact k nearest base vectors of each query, for any data: the order of float64 sums, ties by id.

    Args:
        xb: (N, d), the base.
        xq: (nq, d), the queries.
        k: how many to find.
        metric: "l2" for squared L2 distances, "cosine" for those of the vectors scaled to unit length, which are
            2 (1 - cos), or "ip" for inner products, largest first.

    Returns:
        D (nq, k) float32 and I (nq, k) int64, best first. Where N is below k they are padded with -1 in I, and +inf
        (for "ip" -inf) in D.

    Example:
        >>> ground_truth([[0, 0], [3, 4]], [[0, 1]], 2)
        (array([[ 1., 18.]], dtype=float32), array([[0, 1]]))

    Raises:
        TypeError, ValueError: vectors that are none, or whose dimensions differ; k < 1; another metric; for "cosine" a
            zero vector.
    """
    _check.one_of(metric, "metric", _check.METRICS)
    base = _check.matrix(xb, "xb", metric=metric)
    queries = _check.matrix(xq, "xq", base.shape[1], least=0, metric=metric)
    k = _check.integer(k, "k", 1)
    D, I = compute(base, queries, k, ip=metric == "ip")
    return D.astype(np.float32), I


def unit(x: FloatMatrix, name: str, out: FloatMatrix | None = None) -> FloatMatrix:
    """Return the rows of x (n, d) scaled to unit length, in `out` if given, which may be x.

    Raises:
        ValueError: a zero vector; its row is named.
    """
    _check.nonzero(Rows(x), name)
    return _check.scaled(x, out)


def compute(
    xb: FloatMatrix, xq: FloatMatrix, k: int, *, ip: bool = False, progress: bool = False
) -> tuple[Doubles, IdMatrix]:
    """Return squared L2 distances (nq, k) and ids of the nearest base vectors; with `ip` inner products, largest first.

    A product of matrices, with a bound on its error, says which pairs may be among the nearest. Those are summed
    directly. The data are seen from their median, so that neither an offset nor an outlier makes the bound wide.
    """
    D, I = np.full((len(xq), k), np.inf), np.full((len(xq), k), -1)
    origin = 0.0 if ip else middle(xb)
    parts = cut(len(xb), BLOCK // max(QUERIES, xb.shape[1]))
    threads = int(faiss.omp_get_max_threads())
    batches = cut(len(xq), min(QUERIES, max(FEW, -(-len(xq) // threads))))
    with tqdm(total=len(batches) * len(parts), desc="exact neighbours", disable=not progress) as bar:

        def search(rows: slice) -> None:
            x = xq[rows].astype(np.float64)
            for part in parts:
                y = xb[part].astype(np.float64)
                i, j = _candidates(x - origin, y - origin, D[rows, -1:], k, ip)
                # Those found so far stand first and have lower ids: a stable sort breaks ties by id.
                D[rows], I[rows] = _merged(D[rows], I[rows], i, j + part.start, pair_distances(x, y, i, j, ip=ip))
                bar.update()

        in_threads(search, batches)
    return -D if ip else D, I


def middle(x: FloatMatrix) -> Doubles:
    """Return about the median of the rows of x (n, d), (d,)."""
    return np.median(sample(x), axis=0).astype(np.float64)


def sample(x: FloatMatrix) -> FloatMatrix:
    return x[:: max(1, len(x) // 1000)]


def _candidates(x: Doubles, y: Doubles, worst: Doubles, k: int, ip: bool) -> tuple[IdMatrix, IdMatrix]:
    """Return the pairs of rows i of x and j of y that may be among the k nearest, sorted by (i, j).

    `worst` (n, 1) is the distance that a pair must not exceed. With u = 2**-53 and S = ||x||^2 + ||y||^2, rounding puts
    at most 2 (d + 6) u S into the shift, the norms and the product, and 2 (d + 2) u S into the direct sum (Higham,
    Accuracy and Stability of Numerical Algorithms, section 3.1).
    """
    slack = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y)
    upper = ((-1 if ip else -2) * x) @ y.T
    if not ip:
        upper += slack
    slack *= 4 * (x.shape[1] + 8) * 2.0**-53
    upper += slack
    slack *= 2
    near = upper <= slack + worst
    if k <= len(y) and np.count_nonzero(near) > 4 * k * len(x):  # as in the first block: select within the block
        near &= upper <= slack + np.partition(upper, k - 1, axis=1)[:, k - 1 : k]
    i, j = np.nonzero(near)
    return i, j


def pair_distances(
    x: npt.NDArray[Any], y: npt.NDArray[Any], i: npt.NDArray[Any], j: npt.NDArray[Any], *, ip: bool = False
) -> Doubles:
    """Return the squared distances of rows x[i] and y[j], (len(i),), or minus their inner products, summed in float64."""
    out = np.empty(len(i))
    for pairs in cut(len(i), BLOCK // 8 // x.shape[1]):
        a, b = x[i[pairs]].astype(np.float64, copy=False), y[j[pairs]].astype(np.float64, copy=False)
        if ip:
            np.negative(a, out=a)
        else:
            b = np.subtract(a, b, out=a)
        np.einsum("ij,ij->i", a, b, out=out[pairs])
    return out


def _merged(D: Doubles, I: IdMatrix, i: IdMatrix, ids: IdMatrix, distances: Doubles) -> tuple[Doubles, IdMatrix]:
    """Return the k nearest of each row among those in D and I (n, k) and the pairs (i, ids), sorted, at `distances`."""
    counts = np.bincount(i, minlength=len(D))
    place = D.shape[1] + np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    more = ((0, 0), (0, int(counts.max())))
    all_D, all_I = np.pad(D, more, constant_values=np.inf), np.pad(I, more, constant_values=-1)
    all_D[i, place], all_I[i, place] = distances, ids
    order = np.argsort(all_D, axis=1, kind="stable")[:, : D.shape[1]]
    return np.take_along_axis(all_D, order, axis=1), np.take_along_axis(all_I, order, axis=1)


def cached(
    xb: FloatMatrix, xq: FloatMatrix, folder: Path, *, ip: bool = False, progress: bool = False
) -> tuple[Ids, FloatMatrix]:
    """Return ids and distances as a data set holds them, from `folder` if computed before for the same vectors."""
    digest = hashlib.sha256(repr((xb.shape, xq.shape, K, ip)).encode())
    for x in (xb, xq):
        digest.update(x.data)
    path = folder / f"neighbors-{digest.hexdigest()[:32]}.hdf5"
    try:
        with h5py.File(path, "r") as file:
            gt, distances = numbers(file, "neighbors")[...], numbers(file, "distances")[...]
            if text(file, "sha256") != _digest(gt, distances):
                raise ValueError("it is damaged")
    except Exception:  # absent, or damaged in a way that h5py does not foresee: compute
        D, I = compute(xb, xq, min(K, len(xb)), ip=ip, progress=progress)
        gt, distances = I.astype(np.int32), D.astype(np.float32)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part, h5py.File(part, "w") as file:
                file["neighbors"], file["distances"] = gt, distances
                file.attrs["sha256"] = np.bytes_(_digest(gt, distances))
        except OSError as error:
            log.warning("the neighbours computed are not kept: %s", error)
    return gt, distances


def _digest(gt: Ids, distances: FloatMatrix) -> str:
    return hashlib.sha256(repr((gt.dtype, distances.dtype)).encode() + gt.tobytes() + distances.tobytes()).hexdigest()
