"""Inverted lists: rows (codes or vectors) lie cell by cell in one array, and a batch of queries scans each cell once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpq._check import Array, FloatMatrix, IdMatrix
from mlpq.distance import blocks, pad, smallest

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
# distances(cell, queries (n,)) -> D (n, size of the cell): from those rows of the batch to all rows of the cell
Distances = Callable[[int, Ids], FloatMatrix]
# rescore(cell, queries (n,), rows (n,)) -> D (n,): better distances of these pairs; rows count within the cell
Rescore = Callable[[int, Ids, Ids], Floats]


def grown(array: Array, n: int) -> Array:
    """Return the array (old n, ...) with room for n rows, where it stands if nothing else refers to it."""
    try:
        array.resize((n, *array.shape[1:]))
    except ValueError:  # it is a view, or somebody has one
        larger = np.empty((n, *array.shape[1:]), array.dtype)
        larger[: len(array)] = array
        return larger
    return array


def appended(array: Array, rows: Array) -> Array:
    """Return the array with rows added at its end."""
    n = len(array)
    array = grown(array, n + len(rows))
    array[n:] = rows
    return array


class Found(NamedTuple):
    """Candidates of one cell: pairs of a query and a row of the cell, each array (n,)."""

    cell: int
    queries: Ids
    rows: Ids
    D: Floats


NOTHING = Found(-1, np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


class InvertedLists:
    """Rows sorted by cell; within a cell they keep the order in which they came.

    Attributes:
        offsets: (n_cells + 1,) int64; cell c is rows[offsets[c] : offsets[c + 1]].
        ids: (ntotal,) int64, the id of each row: the position in which it was added.
        rows: (ntotal, width), codes or vectors.
    """

    def __init__(self, offsets: Ids, ids: Ids, rows: Array) -> None:
        self.offsets, self.ids, self.rows = offsets, ids, rows

    @classmethod
    def empty(cls, n_cells: int, width: int, dtype: npt.DTypeLike) -> InvertedLists:
        return cls(np.zeros(n_cells + 1, np.int64), np.empty(0, np.int64), np.empty((0, width), dtype))

    @property
    def sizes(self) -> Ids:
        """(n_cells,) rows in each cell."""
        return np.diff(self.offsets)

    def cell(self, c: int) -> slice:
        return slice(self.offsets[c], self.offsets[c + 1])

    def extend(self, cells: Ids, rows: Array) -> None:
        """Put `rows` (n, width) into `cells` (n,), in place; their ids follow on.

        The arrays grow where they are and cells move up, the last one first: no second copy is held meanwhile.
        """
        n, order = len(self.ids), np.argsort(cells, kind="stable")
        added = np.bincount(cells, minlength=len(self.sizes))
        ends = np.cumsum(added)
        self.rows, self.ids = grown(self.rows, n + len(rows)), grown(self.ids, n + len(rows))
        for c in reversed(np.flatnonzero(ends).tolist()):  # cells before the first one that grows stay where they are
            old = self.cell(c)
            middle, new = old.stop + ends[c] - added[c], order[ends[c] - added[c] : ends[c]]
            for array, values in ((self.rows, rows[new]), (self.ids, n + new)):
                array[old.start + ends[c] - added[c] : middle] = array[old]
                array[middle : middle + added[c]] = values
        self.offsets = self.offsets + np.concatenate([[0], ends])

    def search(
        self, probes: IdMatrix, k: int, shortlist: int, distances: Distances, rescore: Rescore, width: int
    ) -> tuple[FloatMatrix, IdMatrix]:
        """Scan the cells in `probes` (nq, nprobe; -1 for none) and return the k nearest rows of each query.

        The nearest cell of each query comes first: its best `shortlist` rows bound what is worth keeping elsewhere.

        Args:
            shortlist: at least k; as many rows of each query, and those level with the last, go to `rescore`.
            distances, rescore: as described above.
            width: floats that they need for a query besides its distances; bounds how many they get at a time.

        Returns:
            D (nq, k) and I (nq, k), ids; ties go to the lower id. Padded with +inf and -1.
        """
        bound = np.full(len(probes), np.inf, np.float32)
        found: list[Found] = []
        for c, queries in self._visits(probes[:, :1], width):
            D = distances(c, queries)
            bound[queries] = last(D, shortlist)
            found.append(within(c, queries, D, bound, shortlist))
        for c, queries in self._visits(probes[:, 1:], width):
            found.append(within(c, queries, distances(c, queries), bound, shortlist))
        limit = last(by_query(found, len(probes))[0], shortlist)
        for i, (c, queries, rows, D) in enumerate(found):
            kept = np.flatnonzero(D <= limit[queries])
            queries, rows = queries[kept], rows[kept].astype(np.int64)
            found[i] = Found(c, queries, self.offsets[c] + rows, rescore(c, queries, rows))
        D, rows = by_query(found, len(probes))
        return pad(*smallest(D, min(k, D.shape[1]), np.append(self.ids, -1)[rows]), k)

    def _visits(self, probes: IdMatrix, width: int) -> Iterator[tuple[int, Ids]]:
        """Yield (cell, queries) for each cell that holds rows and that any query probes."""
        pairs = np.argsort(probes, axis=None, kind="stable")  # (query, rank) pairs, cell by cell
        starts = np.searchsorted(probes.ravel()[pairs], np.arange(len(self.sizes) + 1))
        for c in np.flatnonzero((np.diff(starts) > 0) & (self.sizes > 0)).tolist():
            queries = pairs[starts[c] : starts[c + 1]] // probes.shape[1]
            for part in blocks(len(queries), max(width, int(self.sizes[c]))):
                yield c, queries[part]

    def entries(self, nprobe: int, shortlist: int) -> int:
        """Return the entries that `search` holds for a query at most: callers cut a batch into blocks by it."""
        return nprobe * min(shortlist, int(self.sizes.max())) + shortlist


def within(c: int, queries: Ids, D: FloatMatrix, bound: Floats, k: int) -> Found:
    """Return the entries of D (n, size of the cell) that are at most bound[queries], yet of each row about k at most.

    Where the bounds let through more than twice as many, as when a nearest cell was too small to give one, the k
    smallest of each row are taken.
    """
    hits = np.flatnonzero(D <= bound[queries, None])
    if len(hits) > 2 * k * len(D):
        _, chosen = smallest(np.maximum(D, 0), min(k, D.shape[1]))
        hits = (chosen + D.shape[1] * np.arange(len(D))[:, None]).ravel()
    places, rows = np.divmod(hits.astype(np.int32), D.shape[1])
    return Found(c, queries[places], rows, np.maximum(D.ravel()[hits], 0))


def by_query(found: list[Found], nq: int) -> tuple[FloatMatrix, IdMatrix]:
    """Bring candidates together by query: D and rows, both (nq, as many as any query has), padded with +inf and -1."""
    _, *columns = zip(NOTHING, *found, strict=True)
    queries, rows, D = (np.concatenate(column) for column in columns)
    order = np.argsort(queries.astype(np.min_scalar_type(nq)), kind="stable")  # short integers sort by radix
    counts = np.bincount(queries, minlength=nq)
    width = int(counts.max(initial=0))
    places = np.arange(len(order)) + np.repeat(width * np.arange(nq) - (np.cumsum(counts) - counts), counts)
    D_all, rows_all = np.full((nq, width), np.inf, np.float32), np.full((nq, width), -1, np.int64)
    D_all.ravel()[places], rows_all.ravel()[places] = D[order], rows[order]
    return D_all, rows_all


def last(D: FloatMatrix, k: int) -> Floats:
    """Return the k-th smallest of each row of D (n, c), +inf where there are fewer."""
    if k > D.shape[1]:
        return np.full(len(D), np.inf, np.float32)
    kth: Floats = np.partition(D, k - 1, axis=1)[:, k - 1]
    return kth
