"""Squared L2 distances and the selection of the smallest: the two steps that every search here is made of."""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

from mlpq._check import FloatMatrix, IdMatrix
from mlpq._parallel import in_threads

BLOCK = 1 << 22  # entries of all blocks of distances in work at once (16 MB of float32): bounds the working set
BATCH = 1 << 22  # candidates that all queries of a search hold at once, at most: the rest of the queries wait
MANY = 256  # rows from which on it pays to have two threads
FEW = 4  # rows from which on a matrix product is quicker than sums for each row
SPARE = 8  # candidates beyond k that `refine` looks at, so that rounding in `squared_l2` does not lose a neighbour


def squared_l2(x: FloatMatrix, y: FloatMatrix) -> FloatMatrix:
    """Return all squared distances between rows of x (n, d) and rows of y (k, d), shape (n, k).

    The rounding error of the product is relative to the norms, so both sides are first shifted to the mean of y;
    `refine` recomputes the few distances that matter.
    """
    centre = y.mean(axis=0) if len(y) else np.zeros(x.shape[1], np.float32)
    D: FloatMatrix = np.maximum(left_factor(x, centre) @ right_factor(y, centre).T, 0)
    return D


def left_factor(x: FloatMatrix, origin: FloatMatrix | float = 0.0) -> FloatMatrix:
    """Return [-2x, ||x||^2, 1], (n, d + 2), with x (n, d) seen from `origin`, which may differ from row to row.

    The product with the transposed `right_factor` holds squared distances: ||x - y||^2 = -2 x.y + ||x||^2 + ||y||^2.
    Rounding may take some a little below 0.
    """
    left = np.empty((len(x), x.shape[1] + 2), np.float32)
    moved = np.subtract(x, origin, out=left[:, :-2])
    left[:, -2], left[:, -1] = np.einsum("ij,ij->i", moved, moved), 1
    moved *= -2
    return left


def right_factor(y: FloatMatrix, origin: FloatMatrix | float = 0.0) -> FloatMatrix:
    """Return [y, 1, ||y||^2], (k, d + 2), with y (k, d) seen from `origin`; see `left_factor`."""
    right = np.empty((len(y), y.shape[1] + 2), np.float32)
    moved = np.subtract(y, origin, out=right[:, :-2])
    right[:, -2], right[:, -1] = 1, np.einsum("ij,ij->i", moved, moved)
    return right


def smallest(D: FloatMatrix, k: int, labels: IdMatrix | None = None) -> tuple[FloatMatrix, IdMatrix]:
    """Return the k smallest values of each row of D (n, c), ascending, and their columns, or labels (n, c) if given.

    Ties go to the lower column or label. D must not be negative: the bits of such floats sort as integers do, so one
    int64 holds value and label, and one partial sort of integers orders both. Labels are below 2**32; -1 stays -1.
    """
    keys = D.view(np.int32).astype(np.int64)
    keys <<= 32
    keys |= np.arange(D.shape[1]) if labels is None else labels & 0xFFFFFFFF
    if k < D.shape[1]:
        keys.partition(k - 1, axis=1)
    keys = keys[:, :k]
    keys.sort(axis=1)
    found = keys & 0xFFFFFFFF
    if labels is not None:
        found[found == 0xFFFFFFFF] = -1
    return (keys >> 32).astype(np.int32).view(np.float32), found


def blocks(n: int, entries_per_row: int) -> list[slice]:
    """Cut n rows into slices for the threads; as many as there are threads hold at most `BLOCK` entries."""
    return cut(n, min(block() // max(1, entries_per_row), max(MANY, -(-n // int(faiss.omp_get_max_threads())))))


def block() -> int:
    """Return how many distances one thread may hold at a time."""
    return BLOCK // int(faiss.omp_get_max_threads())


def batches(n: int, entries_per_row: int) -> list[slice]:
    """Cut n queries into slices of at least one that hold at most `BATCH` candidates."""
    return cut(n, BATCH // max(1, entries_per_row))


def cut(n: int, step: int) -> list[slice]:
    step = max(1, step)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def nearest(x: FloatMatrix, y: FloatMatrix, k: int) -> tuple[FloatMatrix, IdMatrix]:
    """Return squared distances and row numbers of the k rows of y nearest to each row of x, both (n, min(k, len(y)))."""
    k = min(k, len(y))
    if len(x) < FEW:
        return smallest(distances_to_all(x, y), k)
    D = np.empty((len(x), k), np.float32)
    I = np.empty((len(x), k), np.int64)
    centre = y.mean(axis=0)
    right = right_factor(y, centre).T

    def scan(rows: slice) -> None:
        D[rows], I[rows] = smallest(np.maximum(left_factor(x[rows], centre) @ right, 0), k)

    in_threads(scan, blocks(len(x), len(y)))
    return D, I


def distances_to_all(x: FloatMatrix, y: FloatMatrix) -> FloatMatrix:
    """Return all squared distances between rows of x (n, d) and rows of y (k, d), summed directly: (n, k)."""
    D = np.empty((len(x), len(y)), np.float32)
    for row, distances in zip(x, D, strict=True):
        faiss.fvec_L2sqr_ny(*map(faiss.swig_ptr, (distances, row, y)), *y.shape[::-1])
    return D


def refine(x: FloatMatrix, y: FloatMatrix, candidates: IdMatrix, k: int) -> tuple[FloatMatrix, IdMatrix]:
    """Return the k nearest among each row's candidates (row numbers of y, -1 for none) by directly summed distances.

    Shapes (n, k), padded with +inf and -1; ties go to the lower row number.
    """
    if len(y) == 0:
        return pad(np.empty((len(x), 0), np.float32), np.empty((len(x), 0), np.int64), k)
    D, I = smallest(distances_to(x, y, candidates), min(k, candidates.shape[1]), candidates)
    return pad(D, I, k)


def distances_to(x: FloatMatrix, y: FloatMatrix, candidates: IdMatrix) -> FloatMatrix:
    """Return the squared distance of each row of x (n, d) to its candidates among the rows of y, (n, c), summed directly.

    A candidate of -1 is at distance +inf.
    """
    D = np.empty(candidates.shape, np.float32)
    candidates = np.ascontiguousarray(candidates, np.int64)
    faiss.fvec_L2sqr_by_idx(*map(faiss.swig_ptr, (D, x, y, candidates)), x.shape[1], *D.shape)
    return D


def distances_to_pairs(x: FloatMatrix, y: FloatMatrix, i: IdMatrix, j: IdMatrix) -> npt.NDArray[np.float32]:
    """Return the squared distances of rows x[i] to rows y[j], (n,), for i and j (n,), summed directly."""
    D = np.empty(len(i), np.float32)
    faiss.pairwise_indexed_L2sqr(x.shape[1], len(i), *map(faiss.swig_ptr, (x, i, y, j, D)))
    return D


def compacted(numbers: IdMatrix, bound: int) -> tuple[IdMatrix, IdMatrix]:
    """Return the distinct among numbers (n,) below bound, ascending, and for each number its place among them."""
    wanted = np.zeros(bound, bool)
    wanted[numbers] = True
    return np.flatnonzero(wanted), (np.cumsum(wanted) - 1)[numbers]


def pad(D: FloatMatrix, I: npt.NDArray[np.int64], k: int) -> tuple[FloatMatrix, IdMatrix]:
    """Widen (n, c) results to k columns with +inf and -1, as Faiss does when fewer than k are found."""
    if D.shape[1] == k:
        return D, I
    missing = ((0, 0), (0, k - D.shape[1]))
    return np.pad(D, missing, constant_values=np.inf), np.pad(I, missing, constant_values=-1)
