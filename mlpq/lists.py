"""Inverted lists: rows (codes or vectors) lie cell by cell in one array, so that a cell is a slice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlpq._check import Array

Ids = npt.NDArray[np.int64]


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
            old, up = self.cell(c), ends[c] - added[c]
            middle, new = old.stop + up, order[up : ends[c]]
            for array, values in ((self.rows, rows[new]), (self.ids, n + new)):
                array[old.start + up : middle] = array[old]
                array[middle : middle + added[c]] = values
        self.offsets = self.offsets + np.concatenate([[0], ends])


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
