"""Inverted lists: rows (codes or vectors) lie cell by cell in one array, so that a cell is a slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from mlpq._check import Array, FloatMatrix, Rows, parts

Ids = npt.NDArray[np.int64]

PER_ROW = ("ids", "rows", "originals")


class InvertedLists:
    """Rows sorted by cell; within a cell they keep the order in which they came.

    Attributes:
        offsets: (n_cells + 1,) int64; cell c is rows[offsets[c] : offsets[c + 1]].
        ids: (ntotal,) uint32 while all are below 2**32, else int64: the id of each row.
        rows: (ntotal, width), codes or vectors.
        originals: (ntotal, d), the vector of each row as it came: as bytes while all are whole numbers from 0 to 255,
            else in float32. Where they are not kept, (ntotal, 0).
        places: (ntotal,) int64, where the original of each row stands; None where each has its own place.
    """

    def __init__(self, offsets: Ids, ids: Array, rows: Array, originals: Array, places: Ids | None = None) -> None:
        self.offsets, self.ids, self.rows, self.originals, self.places = offsets, ids, rows, originals, places

    @classmethod
    def empty(cls, n_cells: int, width: int, dtype: npt.DTypeLike, d: int = 0) -> InvertedLists:
        """Lists without rows; with d, originals of d dimensions are kept."""
        originals = np.empty((0, d), np.uint8)
        return cls(np.zeros(n_cells + 1, np.int64), np.empty(0, np.uint32), np.empty((0, width), dtype), originals)

    @property
    def sizes(self) -> Ids:
        """(n_cells,) rows in each cell."""
        return np.diff(self.offsets)

    def cell(self, c: int) -> slice:
        return slice(self.offsets[c], self.offsets[c + 1])

    def cells_of(self, rows: Ids) -> Ids:
        """Return the cell of each of some rows (n,)."""
        return np.searchsorted(self.offsets, rows, side="right") - 1

    def extend(self, cells: Ids, rows: Array | Rows, ids: Ids, originals: Rows | None = None) -> None:
        """Put `rows` (n, width) with `ids` (n,) into `cells` (n,), in place; after an error nothing has changed.

        The arrays grow where they are and cells move up, the last one first: no second copy is held meanwhile.
        """
        n, order = len(self.ids), np.argsort(cells, kind="stable")
        if originals is None:
            originals = Rows(np.empty((len(rows), 0), np.float32))
        added = np.bincount(cells, minlength=len(self.sizes))
        with unchanged_on_failure(self):
            self.ids = self.ids.astype(id_dtype(self.ids, ids), copy=False)
            if self.originals.dtype == np.uint8 and not in_bytes(originals):
                self.originals = self.originals.astype(np.float32)
            for name in PER_ROW:
                grow(self, name, n + len(rows))
            self._insert(added, order, ((self.ids, ids), (self.rows, rows), (self.originals, originals)))
        self.offsets = self.offsets + np.concatenate([[0], np.cumsum(added)])

    def _insert(self, added: Ids, order: Ids, what: Sequence[tuple[Array, Array | Rows]]) -> None:
        """Move cells up, and put new values, taken in an order, behind the old ones in each; or leave all as it was.

        Args:
            added: (n_cells,) rows that come into each cell.
            order: which they are, cell by cell.
            what: arrays that have room for them at the end, and the values.
        """
        ends, moved = np.cumsum(added), []
        try:
            for c in reversed(np.flatnonzero(ends).tolist()):  # cells before the first that grows stay where they are
                old, up = self.cell(c), ends[c] - added[c]
                middle, new = old.stop + up, order[up : ends[c]]
                for array, values in what:
                    array[old.start + up : middle] = array[old]
                    moved.append((array, old, slice(old.start + up, middle)))
                    place = array[middle : middle + added[c]]
                    for part in parts(place):
                        place[part] = values[new[part]]
        except BaseException:
            for array, old, now in reversed(moved):
                array[old] = array[now]
            raise

    def rows_of(self, ids: Ids) -> Ids:
        """Return the row of each of some ids (n,); -1 for those that are not here."""
        there = np.flatnonzero(np.isin(self.ids, ids))
        there = there[np.argsort(self.ids[there])]
        places = np.searchsorted(self.ids[there], ids)
        rows = np.append(there, -1)[places]
        return np.where(np.append(self.ids[there], 0)[places] == ids, rows, -1)

    def original(self, rows: Ids) -> FloatMatrix:
        """Return the originals (n, d) of some rows (n,) in float32."""
        places = rows if self.places is None else self.places[rows]
        vectors: FloatMatrix = self.originals[places].astype(np.float32)
        return vectors

    def some(self, rows: Ids) -> InvertedLists:
        """Return lists of some rows alone, (n,), ascending; the originals stay where they are."""
        places = rows if self.places is None else self.places[rows]
        offsets = np.searchsorted(rows, self.offsets)
        return InvertedLists(offsets, self.ids[rows], self.rows[rows], self.originals, places)

    def without(self, ids: Ids) -> InvertedLists:
        """Return lists without the rows that have these ids, as they would be had those never come."""
        kept = np.flatnonzero(~np.isin(self.ids, ids))
        if len(kept) == len(self.ids):
            return self
        left, originals = self.some(kept), self.originals[kept]
        if originals.dtype != np.uint8 and in_bytes(Rows(originals)):
            originals = originals.astype(np.uint8)
        return InvertedLists(left.offsets, left.ids.astype(id_dtype(left.ids), copy=False), left.rows, originals)


def id_dtype(*ids: Array) -> type[np.unsignedinteger | np.signedinteger]:
    """Return the smaller type, of two, that holds all ids."""
    return np.uint32 if all(one.max(initial=0) < 2**32 for one in ids) else np.int64


@contextmanager
def unchanged_on_failure(lists: InvertedLists) -> Iterator[None]:
    """Give all arrays their old lengths again if what is done meanwhile fails: they may have grown in place."""
    before = {name: (len(array), array.dtype) for name, array in vars(lists).items() if array is not None}
    try:
        yield
    except BaseException:
        for name, (n, dtype) in before.items():
            setattr(lists, name, getattr(lists, name)[:n].astype(dtype, copy=False))
        raise


def grow(holder: object, name: str, n: int) -> None:
    """Give an array (old n, ...) of the holder room for n rows, where it stands if nothing else refers to it.

    An array without entries is made anew: NumPy would not look who refers to it, and it would not lie in large pages of
    memory, as what NumPy makes does where the system has them, and be scanned more slowly.
    """
    old, shape, dtype = len(getattr(holder, name)), (n, *getattr(holder, name).shape[1:]), getattr(holder, name).dtype
    try:
        if not (getattr(holder, name).size and getattr(holder, name).flags.writeable):
            raise ValueError("nothing to grow, or not here")
        getattr(holder, name).resize(shape)
    except ValueError:  # also where it is a view, or somebody has one
        larger = np.empty(shape, dtype)
        larger[:old] = getattr(holder, name)
        setattr(holder, name, larger)


def in_bytes(rows: Rows) -> bool:
    """Return whether all numbers are whole and from 0 to 255."""
    return all(whole(rows[part]) for part in rows.parts())


def whole(x: FloatMatrix) -> bool:
    return x.size == 0 or bool(x.min() >= 0 and x.max() <= 255 and (x == x.astype(np.uint8)).all())
