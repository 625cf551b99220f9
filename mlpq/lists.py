"""Inverted lists: rows (codes or vectors) lie cell by cell in one array, and a batch of queries scans each cell once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mlpq._check import Array, FloatMatrix, IdMatrix
from mlpq._parallel import in_threads
from mlpq.distance import blocks, pad, smallest

# scan(cell, rows of its queries, k) -> (D, I), both (len(rows), min(k, size of the cell)); I counts within the cell
Scan = Callable[[int, npt.NDArray[np.int64], int], tuple[FloatMatrix, IdMatrix]]

FEW_SCANS = 64  # (query, cell) pairs in a batch below which threads cost more than they save


class InvertedLists:
    """Rows sorted by cell; within a cell they keep the order in which they came.

    Attributes:
        offsets: (n_cells + 1,) int64; cell c is rows[offsets[c] : offsets[c + 1]].
        ids: (ntotal,) int64, the id of each row: the position in which it was added.
        rows: (ntotal, width), codes or vectors.
    """

    def __init__(self, offsets: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], rows: Array) -> None:
        self.offsets, self.ids, self.rows = offsets, ids, rows

    @classmethod
    def empty(cls, n_cells: int, width: int, dtype: npt.DTypeLike) -> InvertedLists:
        return cls(np.zeros(n_cells + 1, np.int64), np.empty(0, np.int64), np.empty((0, width), dtype))

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(n_cells,) rows in each cell."""
        return np.diff(self.offsets)

    def cell(self, c: int) -> slice:
        return slice(self.offsets[c], self.offsets[c + 1])

    def extended(self, cells: npt.NDArray[np.int64], rows: Array) -> InvertedLists:
        """Return new lists that also hold `rows` (n, width), put into `cells` (n,); their ids follow on."""
        old_cells = np.repeat(np.arange(len(self.sizes)), self.sizes)
        order = np.argsort(np.concatenate([old_cells, cells]), kind="stable")
        ids = np.concatenate([self.ids, len(self.ids) + np.arange(len(rows))])
        sizes = self.sizes + np.bincount(cells, minlength=len(self.sizes))
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        return InvertedLists(offsets, ids[order], np.concatenate([self.rows, rows])[order])

    def search(self, probes: IdMatrix, k: int, scan: Scan, width: int) -> tuple[FloatMatrix, IdMatrix]:
        """Scan the cells in `probes` (nq, nprobe; -1 for none) and return the k nearest rows of each query.

        Args:
            width: floats that `scan` needs for a query besides its distances; bounds how many it gets at a time.

        Returns:
            D and I, both (nq, k); I counts rows of `rows`, not ids. Padded with +inf and -1.
        """
        nq, nprobe = probes.shape
        k_cell = min(k, int(self.sizes.max()))  # no cell yields more
        D = np.full((nq, nprobe, k_cell), np.inf, np.float32)
        I = np.full((nq, nprobe, k_cell), -1, np.int64)
        pairs = np.argsort(probes, axis=None, kind="stable")  # (query, probe rank) pairs, cell by cell
        starts = np.searchsorted(probes.ravel()[pairs], np.arange(len(self.sizes) + 1))

        def scan_cell(c: int) -> None:
            queries, ranks = np.divmod(pairs[starts[c] : starts[c + 1]], nprobe)
            for part in blocks(len(queries), max(width, int(self.sizes[c]))):
                D_cell, I_cell = scan(c, queries[part], k_cell)
                found = D_cell.shape[1]
                D[queries[part], ranks[part], :found] = D_cell
                I[queries[part], ranks[part], :found] = self.offsets[c] + I_cell

        visited = np.flatnonzero((np.diff(starts) > 0) & (self.sizes > 0)).tolist()
        if len(pairs) < FEW_SCANS:
            for c in visited:
                scan_cell(c)
        else:
            in_threads(scan_cell, visited)
        D, columns = smallest(D.reshape(nq, -1), min(k, nprobe * k_cell))
        return pad(D, np.take_along_axis(I.reshape(nq, -1), columns, axis=1), k)

    def entries(self, nprobe: int, k: int) -> int:
        """Return the entries that `search` holds for a query: callers cut a batch into blocks by it."""
        return nprobe * min(k, int(self.sizes.max())) + k

    def to_ids(self, I: IdMatrix) -> IdMatrix:
        """Turn row numbers into ids; -1 stays."""
        if len(self.ids) == 0:
            return I
        return np.where(I < 0, -1, self.ids[I])
