"""Squared L2 distances and the selection of the smallest: the two steps that every search here is made of.

The order is exact, that of sums of squared differences in float64, ties by id, and nearly all work is done by products of
float32 matrices. Three steps lead there: products say which rows could be among the k nearest (`mlpq.search.bounds`); the
squared differences of those are summed in float32; and `best` sums them in float64 where the sums are too close to tell.

Inner products go the same way: with `ip`, a distance is -2 x.y, which leaves out both norms, and may be negative.
"""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np
import numpy.typing as npt

from mlpq._check import FloatMatrix, IdMatrix, lengths
from mlpq._parallel import MANY, block, blocks, cut, in_threads
from mlpq.search.bounds import (
    TINY,
    Factor,
    Floats,
    Ids,
    at_least_kth,
    left_factor,
    middle,
    reach,
    right_factor,
    rounding,
    within_reach,
)

TILE = 1 << 14  # base vectors compared at a time
FEW = 4  # rows from which on a matrix product is quicker than sums for each row
VAGUE = 1e-3  # of a distance: where rounding may have changed more of it, it is summed in float64
CROWD = 8  # times k rows of a tile within reach of a query: then products in float32 say too little

Flags = npt.NDArray[np.bool_]
Exact = Callable[[Ids], npt.NDArray[np.float64]]  # numbers of candidates -> their distances, summed in float64


def squared_l2(x: FloatMatrix, y: FloatMatrix) -> FloatMatrix:
    """Return all squared distances between rows of x (n, d) and rows of y (k, d), shape (n, k), by one product.

    They are rounded relative to the norms, seen from the middle of y. No search trusts them: see `nearest`.
    """
    origin = middle(y)
    left, right = left_factor(x, origin), right_factor(y, origin)
    D = left.rows @ right.rows.T + (left.allowance[:, None] + right.allowance) / 2
    return np.maximum(D, 0, dtype=np.float32)


# ---- exact order -----------------------------------------------------------------------------------------------------


def best(
    n: int, k: int, queries: Ids, D: Floats, error: Floats, ids: Ids, exact: Exact, *, ordered: bool = True
) -> tuple[FloatMatrix, IdMatrix]:
    """Return the k nearest candidates of each of n queries, in exact order: D (n, k) float32, and which they are, (n, k).

    Args:
        queries, D, error, ids: (candidates,), in any order: whose candidate it is, its distance in float32, its error at
            most, and its id.
        exact: distances of some candidates in float64.
        ordered: without it these are the k nearest, in any order.

    Returns:
        Padded with +inf and -1. Ties go to the lower id.
    """
    low, high = (D - error).astype(np.float32, copy=False), (D + error).astype(np.float32, copy=False)
    keys = (queries << 32) + sortable(low)
    order = np.argsort(keys)
    keys, queries, D, vague = keys[order], queries[order], D[order], (error > VAGUE * np.abs(D))[order]
    counts = np.bincount(queries, minlength=n)
    ranks = np.arange(len(order)) - (np.cumsum(counts) - counts)[queries]
    highest = np.maximum.accumulate((queries << 32) + sortable(high[order]))
    close = np.append(False, keys[1:] <= highest[:-1])  # to one before, of the same query: too close to tell
    some = unclear(close, ranks, k, vague & (ranks < k) if ordered else None)
    if len(some):
        chains, summed = np.cumsum(~close)[some], exact(order[some])
        inner = np.lexsort((ids[order[some]], summed, chains))
        order[some], D[some] = order[some][inner], summed[inner]
    kept = ranks < k
    found, places = np.full((n, k), np.inf, np.float32), np.full((n, k), -1, np.int64)
    found[queries[kept], ranks[kept]] = D[kept]
    places[queries[kept], ranks[kept]] = order[kept]
    return found, places


def unclear(close: Flags, ranks: Ids, k: int, vague: Flags | None) -> Ids:
    """Return the places of candidates whose order matters and is not known.

    Args:
        close: whether each is too close to one before it to tell; such a chain counts as a whole.
        ranks: of each among those of its query.
        vague: whose own distance is not known well; without it, it only matters which are the first k.
    """
    if not close.any():
        return np.flatnonzero(vague) if vague is not None else np.empty(0, np.int64)
    starts, chains = np.flatnonzero(~close), np.cumsum(~close) - 1
    sizes = np.diff(starts, append=len(close))
    matters = (sizes > 1) & (ranks[starts] < k)
    if vague is None:
        return np.flatnonzero((matters & (ranks[starts] + sizes > k))[chains])
    return np.flatnonzero(matters[chains] | vague)


def k_nearest(
    x: FloatMatrix, y: FloatMatrix, i: Ids, j: Ids, k: int, *, ip: bool = False
) -> tuple[FloatMatrix, IdMatrix]:
    """Return, of the pairs of rows x[i] and y[j], the k nearest of each row of x: D (n, k), and row numbers of y (n, k)."""
    if ip:
        D, error = rounded(exact_to_pairs(x, y, i, j, ip=True))
    else:
        D = distances_to_pairs(x, y, i, j)
        error = rounding(D, x.shape[1])
    D, places = best(len(x), k, i, D, error, j, lambda some: exact_to_pairs(x, y, i[some], j[some], ip=ip))
    return D, at(j, places)


def nearest(x: FloatMatrix, y: FloatMatrix, k: int, *, ip: bool = False) -> tuple[FloatMatrix, IdMatrix]:
    """Return squared distances and row numbers of the k rows of y nearest to each row of x, both (n, min(k, len(y))).

    Exact, for any rows and any number of them; ties go to the lower row number.
    """
    k = min(k, len(y))
    if len(x) < FEW and k and not ip:
        return k_nearest(x, y, *candidates_by_sums(x, y, k), k)
    D, I = np.full((len(x), k), np.inf, np.float32), np.full((len(x), k), -1, np.int64)
    origin = np.zeros(y.shape[1], np.float32) if ip else middle(y)
    for part in cut(len(y), TILE):
        right = right_factor(y[part], origin, norms=0 if ip else None)

        def scan(rows: slice, part: slice = part, right: Factor = right) -> None:
            own, (i, old) = x[rows], np.nonzero(I[rows] >= 0)
            queries, columns = candidates(own, y[part], right, origin, reach(D[rows, -1], x.shape[1]), k, ip=ip)
            queries, ids = np.append(i, queries), np.append(I[rows][i, old], columns + part.start)
            D[rows], I[rows] = k_nearest(own, y, queries, ids, k, ip=ip)

        in_threads(scan, blocks(len(x), len(y[part])))
    return D, I


def balanced(x: FloatMatrix, y: FloatMatrix, ip: bool) -> tuple[FloatMatrix, FloatMatrix]:
    """Return queries x (n, d) as searches take them, and factors (n, 1) that make what was asked for of their distances.

    For inner products each query is multiplied by a power of two that makes it about as long as the longest of y: that
    keeps errors small, and changes no order.
    """
    if not ip:
        return x, np.ones((len(x), 1), np.float32)
    own, longest = lengths(x), float(lengths(y).max(initial=0))
    ratios = np.divide(longest, own, out=np.ones(len(x)), where=(own > 0) & (longest > 0))
    factors = np.exp2(np.clip(np.rint(np.log2(ratios)), -120, 120)).astype(np.float32)[:, None]
    return x * factors, np.float32(-0.5) / factors


def candidates_by_sums(x: FloatMatrix, y: FloatMatrix, k: int) -> tuple[Ids, Ids]:
    """Return pairs of a row of x and a row of y that could be among the k nearest, by summing all differences."""
    D = distances_to_all(x, y)
    rows, columns = np.divmod(np.flatnonzero(reach(at_least_kth(D, k), x.shape[1])[:, None] >= D), len(y))
    return rows, columns


def candidates(
    x: FloatMatrix, y: FloatMatrix, right: Factor, origin: FloatMatrix, limit: FloatMatrix, k: int, *, ip: bool = False
) -> tuple[Ids, Ids]:
    """Return pairs of a row of x and a row of y, within the limits (n,), that could be among the k nearest of y.

    Where products of float32 leave very many for a row, products of float64 take their place.

    Args:
        right: the right factor of y seen from `origin`.
    """
    d = x.shape[1]
    left = left_factor(x, origin, ip=ip)
    rows, columns = within_reach(left.rows @ right.rows.T, left.allowance, right.allowance, limit, k, d)
    crowded = np.bincount(rows, minlength=len(x)) > max(CROWD * k, MANY)
    if not crowded.any():
        return rows, columns
    found = [(rows[~crowded[rows]], columns[~crowded[rows]])]
    some, left = np.flatnonzero(crowded), left_factor(x[crowded], origin, np.float64, ip=ip)
    for part in cut(len(y), max(MANY, block() // d)):
        right = right_factor(y[part], origin, np.float64, norms=0 if ip else None)
        L = left.rows @ right.rows.T
        rows, columns = within_reach(L, left.allowance, right.allowance, limit[crowded], k, d)
        found.append((some[rows], columns + part.start))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([columns for _, columns in found])


# ---- sums of squared differences -------------------------------------------------------------------------------------


def distances_to_all(x: FloatMatrix, y: FloatMatrix) -> FloatMatrix:
    """Return all squared distances between rows of x (n, d) and rows of y (k, d), summed directly: (n, k)."""
    D = np.empty((len(x), len(y)), np.float32)
    for row, distances in zip(x, D, strict=True):
        faiss.fvec_L2sqr_ny(*map(faiss.swig_ptr, (distances, row, y)), *y.shape[::-1])
    return D


def distances_to_pairs(x: FloatMatrix, y: FloatMatrix, i: IdMatrix, j: IdMatrix) -> npt.NDArray[np.float32]:
    """Return the squared distances of rows x[i] to rows y[j], (n,), for i and j (n,), summed directly."""
    D = np.empty(len(i), np.float32)
    faiss.pairwise_indexed_L2sqr(x.shape[1], len(i), *map(faiss.swig_ptr, (x, i, y, j, D)))
    return D


def exact_to_pairs(x: FloatMatrix, y: FloatMatrix, i: Ids, j: Ids, *, ip: bool = False) -> npt.NDArray[np.float64]:
    """Return the squared distances of rows x[i] to rows y[j], (n,), for i and j (n,): differences and sums in float64.

    With `ip`, -2 times their inner products.
    """
    D = np.empty(len(i))
    for part in cut(len(i), block() // (4 * x.shape[1])):
        if ip:
            D[part] = -2 * np.multiply(x[i[part]], y[j[part]], dtype=np.float64).sum(axis=1)
        else:
            D[part] = np.square(np.subtract(x[i[part]], y[j[part]], dtype=np.float64)).sum(axis=1)
    return D


def rounded(exact: npt.NDArray[np.float64]) -> tuple[FloatMatrix, FloatMatrix]:
    """Return distances (n,) in float32, and the error that this makes, at most."""
    D = exact.astype(np.float32)
    return D, np.abs(D) * np.float32(2.0**-23) + np.float32(TINY)


# ---- arrays -----------------------------------------------------------------------------------------------------------


def sortable(D: FloatMatrix) -> npt.NDArray[np.int32]:
    """Return integers (n,) that sort as the floats D do: their bits, those of negative ones turned round; it undoes itself."""
    bits = D.view(np.int32)
    turned: npt.NDArray[np.int32] = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return turned


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


def at(values: Ids, places: IdMatrix) -> IdMatrix:
    """Return values[places], -1 where the place is -1."""
    return np.append(values.astype(np.int64, copy=False), -1)[places]


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
