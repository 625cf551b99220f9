"""Exact nearest neighbours: the order of float64 sums of squared differences, ties by id; kept, and verified if stored."""

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
from mlpq._check import FloatMatrix, IdMatrix
from mlpq._hdf5 import numbers, text
from mlpq._parallel import cut, in_threads
from mlpq.storage import replacing

log = logging.getLogger(__name__)

METRICS = ("l2", "cosine", "ip")
K = 100  # neighbours per query of a data set, as in ann-benchmarks
QUERIES, FEW = 256, 16  # that one thread compares at a time, at most and at least
BLOCK = 1 << 20  # numbers of one block: 8 MB of float64
CHECKED = 128  # queries searched anew, at least: all of them miss one wrong query in ten in 1 of 700,000 files
CHEAP = 1 << 31  # multiplications for which more queries are searched anew
TOLERANCE = 1e-4  # relative, of a squared distance stored in float32 after a square root
ROUNDING = 4e-6  # relative to squared norms, of a distance that float32 computed as ||x||^2 - 2 x.y + ||y||^2

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
    _check.one_of(metric, "metric", METRICS)
    base = _check.matrix(xb, "xb")
    queries = _check.matrix(xq, "xq", base.shape[1])
    k = _check.integer(k, "k", 1)
    if metric == "cosine":
        base, queries = unit(base, "xb"), unit(queries, "xq")
    D, I = compute(base, queries, k, ip=metric == "ip")
    return D.astype(np.float32), I


def unit(x: FloatMatrix, name: str, out: FloatMatrix | None = None) -> FloatMatrix:
    """Return the rows of x (n, d) scaled to unit length, in `out` if given, which may be x.

    Raises:
        ValueError: a zero vector; its row is named.
    """
    out = np.empty_like(x) if out is None else out
    for rows in cut(len(x), BLOCK // x.shape[1]):
        block = x[rows].astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        if not norms.all():
            row = rows.start + int(np.argmin(norms))
            raise ValueError(f"{name} must not hold a zero vector where the metric is cosine; row {row} is one")
        out[rows] = block / norms[:, None]
    return out


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


def stored_metric(xb: Any, xq: Any, gt: Ids, distances: Doubles) -> str | None:
    """Return what stored distances are by their meaning: "l2" (roots) or "cosine" (1 - cos); None if they fit both.

    Looks at the last neighbour of some queries. xb and xq may be HDF5 data sets, of which only those rows are read.

    Raises:
        ValueError: they are neither, or do not fit these vectors in number.
    """
    if len(xb.shape) != 2 or xb.shape[1:] != xq.shape[1:]:
        raise ValueError(f"base vectors {xb.shape} and queries {xq.shape} do not belong together")
    if gt.ndim != 2 or gt.shape != distances.shape or len(gt) != len(xq) or gt.shape[1] < 1:
        raise ValueError(f"neighbors {gt.shape} and distances {distances.shape} do not fit {len(xq)} queries")
    if gt.min() < -1 or gt.max() >= len(xb):
        raise ValueError(f"neighbors must be ids from 0 to {len(xb) - 1}; got {gt.min()} to {gt.max()}")
    count = (gt >= 0).sum(axis=1)
    if (gt[:, 0] < 0).any() or ((gt[:, 1:] >= 0) & (gt[:, :-1] < 0)).any():
        raise ValueError("neighbors may be -1 only after all that were found, of which there must be one")
    q = np.unique(np.linspace(0, len(xq) - 1, 16).astype(int))
    rows, position = np.unique(gt[q, count[q] - 1], return_inverse=True)
    x, y, stored = np.asarray(xq[q], np.float64), np.asarray(xb[rows], np.float64)[position], distances[q, count[q] - 1]
    unit_x, unit_y = (side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-99) for side in (x, y))
    fits = {"l2": _close(stored**2, x, y), "cosine": _close(2 * stored, unit_x, unit_y)}
    if max(fits.values()) == 0:
        raise ValueError("the stored distances are neither the Euclidean ones to the stored neighbors nor 1 - cos")
    return None if fits["l2"] == fits["cosine"] else max(fits, key=lambda metric: fits[metric])


def _close(stored: Doubles, x: Doubles, y: Doubles) -> int:
    """Return how many of the squared distances stored are those of rows x and y."""
    D = ((x - y) ** 2).sum(axis=1)
    return int((np.abs(stored - D) <= TOLERANCE * D + ROUNDING * (x**2).sum(axis=1)).sum())


def verified(
    xb: FloatMatrix, xq: FloatMatrix, gt: Ids, stored: Doubles, rounding: float = 0
) -> tuple[Ids, FloatMatrix]:
    """Return stored neighbours with their exact squared distances, those within rounding of each other in exact order.

    All stored squared distances are compared with the true ones. For `CHECKED` queries drawn at random, and for all
    where that is cheap, the neighbours are compared with an exact search. What the distances err may displace them.
    `rounding` is an absolute error that their kind brings with it.

    Raises:
        ValueError: they are not what they should be.
    """
    absent = gt < 0
    if not np.isfinite(stored[~absent]).all():
        raise ValueError("distances must be finite")
    D = np.full(gt.shape, np.inf)

    def compare(rows: slice) -> None:
        i, columns = np.nonzero(~absent[rows])
        D[rows][i, columns] = pair_distances(xq[rows], xb, i, gt[rows][i, columns])

    in_threads(compare, cut(len(xq), 64))
    stored = np.where(absent, 0, stored)
    true = np.where(absent, 0, D)
    scale = _scale(xb, xq)
    error, allowed = np.abs(stored - true), TOLERANCE * true + 2 * ROUNDING * scale + rounding
    if (wrong := (error > allowed).any(axis=1)).any():
        raise ValueError(f"the stored distances of query {np.argmax(wrong)} are not those to its stored neighbors")
    if (stored[:, 1:] < stored[:, :-1] - allowed[:, 1:])[~absent[:, 1:]].any():
        raise ValueError("distances must be ascending")
    order = np.lexsort((gt, D), axis=1)
    gt, D = np.take_along_axis(gt, order, axis=1), np.take_along_axis(D, order, axis=1)
    ids = np.sort(gt, axis=1)
    if (twice := ((ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] >= 0)).any(axis=1)).any():
        raise ValueError(f"the stored neighbors of query {np.argmax(twice)} hold one base vector twice")
    _check_nearest(xb, xq, D, 4 * error.max(axis=1, keepdims=True) + 2 * ROUNDING * scale)
    return gt, D.astype(np.float32)


def _scale(xb: FloatMatrix, xq: FloatMatrix) -> Doubles:
    """Return for each query about the squared distances that occur in these data, (nq, 1), wherever they lie."""
    centre = middle(xb)
    spread = float(np.median(((sample(xb) - centre) ** 2).sum(axis=1)))
    scale: Doubles = spread + ((xq - centre) ** 2).sum(axis=1, keepdims=True)
    return scale


def _check_nearest(xb: FloatMatrix, xq: FloatMatrix, D: Doubles, allowed: Doubles) -> None:
    """Raise ValueError where an exact search finds nearer ones than at D (nq, k), by more than is allowed (nq, 1)."""
    count = min(len(xq), max(CHECKED, CHEAP // xb.size))
    chosen = np.sort(np.random.default_rng(0).choice(len(xq), count, replace=False))
    nearest, _ = compute(xb, xq[chosen], min(D.shape[1], len(xb)))
    D = D[chosen, : nearest.shape[1]]
    wrong = np.isfinite(D) & (D > (1 + 2 * ROUNDING) * nearest + allowed[chosen])
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"the stored neighbors are not the nearest: of {count} queries searched anew, {wrong.any(axis=1).sum()} have "
            f"nearer ones; of query {chosen[row]} number {column + 1} is at squared distance {D[row, column]:.6g} and "
            f"should be at {nearest[row, column]:.6g}. Were they computed for other base vectors, or for a part of these?"
        )
