"""Inverted lists: rows (codes or vectors) lie cell by cell in one array, so that a cell is a slice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from mlpq._check import Array, FloatMatrix, Rows

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

    def extend(self, cells: Ids, rows: Array | Rows) -> None:
        """Put `rows` (n, width) into `cells` (n,), in place; their ids follow on.

        The arrays grow where they are and cells move up, the last one first: no second copy is held meanwhile.
        """
        n, order = len(self.ids), np.argsort(cells, kind="stable")
        added = np.bincount(cells, minlength=len(self.sizes))
        ends = np.cumsum(added)
        with kept_on_failure(self, "rows"):
            self.rows, self.ids = grown(self.rows, n + len(rows)), grown(self.ids, n + len(rows))
        for c in reversed(np.flatnonzero(ends).tolist()):  # cells before the first one that grows stay where they are
            old, up = self.cell(c), ends[c] - added[c]
            middle, new = old.stop + up, order[up : ends[c]]
            for array, values in ((self.rows, rows[new]), (self.ids, n + new)):
                array[old.start + up : middle] = array[old]
                array[middle : middle + added[c]] = values
        self.offsets = self.offsets + np.concatenate([[0], ends])


@contextmanager
def kept_on_failure(holder: object, name: str) -> Iterator[None]:
    """Give an array its old length again if what is done meanwhile fails: it may have grown in place."""
    n = len(getattr(holder, name))
    try:
        yield
    except BaseException:
        setattr(holder, name, getattr(holder, name)[:n])
        raise


def grown(array: Array, n: int) -> Array:
    """Return the array (old n, ...) with room for n rows, where it stands if nothing else refers to it."""
    try:
        array.resize((n, *array.shape[1:]))
    except ValueError:  # it is a view, or somebody has one
        larger = np.empty((n, *array.shape[1:]), array.dtype)
        larger[: len(array)] = array
        return larger
    return array


def appended(array: Array, rows: Rows) -> Array:
    """Return the array with rows added at its end, converted part by part."""
    n = len(array)
    array = grown(array, n + len(rows))
    for part in rows.parts():
        array[n:][part] = rows[part]
    return array


def with_originals(originals: Array, rows: Rows) -> Array:
    """Return the originals with rows added: as bytes as long as all are whole numbers from 0 to 255, else in float32."""
    small = (len(originals) == 0 or originals.dtype == np.uint8) and all(in_bytes(rows[part]) for part in rows.parts())
    return appended(originals.astype(np.uint8 if small else np.float32, copy=False), rows)


def in_bytes(x: FloatMatrix) -> bool:
    """Return whether all numbers are whole and from 0 to 255."""
    return x.size == 0 or bool(x.min() >= 0 and x.max() <= 255 and (x == x.astype(np.uint8)).all())
