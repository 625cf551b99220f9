"""Squared L2 distances and the selection of the smallest: the two steps that every search here is made of."""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

from mlpq._check import FloatMatrix, IdMatrix
from mlpq._parallel import in_threads

BLOCK = 1 << 22  # entries of all blocks of distances in work at once (16 MB of float32): bounds the working set
SPARE = 8  # candidates beyond k that `refine` looks at, so that rounding in `squared_l2` does not lose a neighbour


def squared_l2(x: FloatMatrix, y: FloatMatrix) -> FloatMatrix:
    """Return all squared distances between rows of x (n, d) and rows of y (k, d), shape (n, k).

    ||x - y||^2 = ||x||^2 - 2 x.y + ||y||^2 needs one matrix product. Its rounding error is relative to the norms, so
    both sides are first shifted to the mean of y; `refine` recomputes the few distances that matter.
    """
    centre = y.mean(axis=0)
    y = y - centre
    return _expanded(x - centre, y, np.einsum("ij,ij->i", y, y))


def _expanded(x: FloatMatrix, y: FloatMatrix, y_norms: npt.NDArray[np.float32]) -> FloatMatrix:
    D: FloatMatrix = x @ y.T
    D *= -2
    D += y_norms
    D += np.einsum("ij,ij->i", x, x)[:, None]
    return np.maximum(D, 0, out=D)


def smallest(D: FloatMatrix, k: int) -> tuple[FloatMatrix, IdMatrix]:
    """Return the k smallest values of each row of D (n, c), ascending, and their columns; ties go to the lower column.

    D must not be negative: the bits of such floats sort as integers do, so one int64 holds value and column, and one
    partial sort of integers orders both.
    """
    keys = D.view(np.int32).astype(np.int64)
    keys <<= 32
    keys |= np.arange(D.shape[1])
    if k < D.shape[1]:
        keys.partition(k - 1, axis=1)
    keys = keys[:, :k]
    keys.sort(axis=1)
    return (keys >> 32).astype(np.int32).view(np.float32), keys & 0xFFFFFFFF


def blocks(n: int, entries_per_row: int) -> list[slice]:
    """Cut n rows into slices of at least one row; as many as there are threads hold at most `BLOCK` entries."""
    step = max(1, BLOCK // faiss.omp_get_max_threads() // max(1, entries_per_row))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def nearest(x: FloatMatrix, y: FloatMatrix, k: int) -> tuple[FloatMatrix, IdMatrix]:
    """Return squared distances and row numbers of the k rows of y nearest to each row of x, both (n, min(k, len(y)))."""
    k = min(k, len(y))
    D = np.empty((len(x), k), np.float32)
    I = np.empty((len(x), k), np.int64)
    centre = y.mean(axis=0)
    y = y - centre
    y_norms = np.einsum("ij,ij->i", y, y)

    def scan(rows: slice) -> None:
        D[rows], I[rows] = smallest(_expanded(x[rows] - centre, y, y_norms), k)

    in_threads(scan, blocks(len(x), len(y)))
    return D, I


def refine(x: FloatMatrix, y: FloatMatrix, candidates: IdMatrix, k: int) -> tuple[FloatMatrix, IdMatrix]:
    """Return the k nearest among each row's candidates (row numbers of y, -1 for none) by directly summed distances.

    Shapes (n, k), padded with +inf and -1; ties go to the lower row number.
    """
    if len(y) == 0:
        return pad(np.empty((len(x), 0), np.float32), np.empty((len(x), 0), np.int64), k)
    I = np.sort(candidates, axis=1)
    D = np.empty(I.shape, np.float32)
    rows = np.maximum(I, 0)
    faiss.fvec_L2sqr_by_idx(*map(faiss.swig_ptr, (D, x, y, rows)), x.shape[1], *I.shape)
    D[I < 0] = np.inf
    D, columns = smallest(D, min(k, I.shape[1]))
    return pad(D, np.take_along_axis(I, columns, axis=1), k)


def pad(D: FloatMatrix, I: npt.NDArray[np.int64], k: int) -> tuple[FloatMatrix, IdMatrix]:
    """Widen (n, c) results to k columns with +inf and -1, as Faiss does when fewer than k are found."""
    missing = ((0, 0), (0, max(0, k - D.shape[1])))
    return np.pad(D, missing, constant_values=np.inf), np.pad(I, missing, constant_values=-1)
