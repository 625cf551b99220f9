"""Exact nearest neighbours: the order of float64 sums of squared differences, ties by id; kept once computed."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from mlpq import _check
from mlpq._check import FloatMatrix, IdMatrix, Rows
from mlpq._hdf5 import numbers, text
from mlpq._parallel import cut
from mlpq.search.distance import balanced, exact_to_pairs, nearest
from mlpq.storage import replacing

log = logging.getLogger(__name__)

K = 100  # neighbours per query of a data set, as in ann-benchmarks
QUERIES = 1000  # that are searched for at a time

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

    The search is that of `ExactIndex`; distances are summed in float64.
    """
    D, I = np.full((len(xq), k), -np.inf if ip else np.inf), np.full((len(xq), k), -1)
    found = min(k, len(xb))
    with tqdm(total=len(xq), desc="exact neighbours", disable=not progress) as bar:
        for rows in cut(len(xq), QUERIES):
            x = xq[rows]
            _, I[rows, :found] = nearest(balanced(x, xb, ip)[0], xb, found, ip=ip)
            exact = exact_to_pairs(x, xb, np.repeat(np.arange(len(x)), found), I[rows, :found].ravel(), ip=ip)
            D[rows, :found] = exact.reshape(len(x), found) / (-2 if ip else 1)
            bar.update(len(x))
    return D, I


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
