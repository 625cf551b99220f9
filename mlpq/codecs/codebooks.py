"""The codebooks of an index: who owns them, and in how many bytes their numbers are stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property
from typing import Literal, Self, get_args, overload

import numpy as np
import numpy.typing as npt

from mlpq._check import Array, Codes, FloatMatrix, Rows
from mlpq._parallel import blocks, in_threads
from mlpq.clustering import POINTS_PER_CENTROID, TwoLevelKMeans, sample
from mlpq.codecs.pq import Array3, ProductQuantizer, squared_norms, unpack
from mlpq.search.bounds import Floats
from mlpq.search.lists import Ids

Owner = Literal["inner", "outer", "global"]
Key = tuple[Owner, int]  # a codebook's owner: ("inner", cell), ("outer", cluster) or ("global", 0)
CodebookDtype = Literal["float32", "float16", "uint8"]
Array4 = npt.NDArray[np.float32]
OWNERS, DTYPES = get_args(Owner), get_args(CodebookDtype)
STEPS = 255  # between the smallest and the largest number of a codebook in uint8


def candidates(cells: Ids, inner_to_outer: Ids) -> dict[Key, Ids]:
    """Return the training rows of every possible owner of a codebook, from the inner cell of each row."""
    outer = inner_to_outer[cells]
    rows: dict[Key, Ids] = {("global", 0): np.arange(len(cells))}
    rows |= {("outer", o): np.flatnonzero(outer == o) for o in range(int(inner_to_outer.max()) + 1)}
    rows |= {("inner", c): np.flatnonzero(cells == c) for c in range(len(inner_to_outer))}
    return rows


def owners_of_cells(level: Owner, rows: dict[Key, Ids], inner_to_outer: Ids, needed: int) -> list[Key]:
    """Return whose codebook each inner cell uses: that of its owner on `level`, or of the next with rows enough."""
    levels = slice(OWNERS.index(level), None)
    chains: list[list[Key]] = [[("inner", c), ("outer", int(o)), ("global", 0)] for c, o in enumerate(inner_to_outer)]
    return [next(key for key in chain[levels] if len(rows[key]) >= needed) for chain in chains]


class Codebooks(Sequence[ProductQuantizer]):
    """A sequence of quantizers, over numbers that may be stored in fewer bytes: the codec of residuals, cell by cell.

    Attributes:
        stored: (n_codebooks, m, 2**nbits, d // m) float32, float16 or uint8.
        ranges: (n_codebooks, m, 2) float32, with uint8: the number that 0 stands for, and the step to the next.
        of_cell: (n_cells,) int64, which of them encodes each cell.
    """

    def __init__(self, stored: Array, ranges: npt.NDArray[np.float32], of_cell: Ids) -> None:
        self.stored, self.ranges, self.of_cell = stored, ranges, of_cell
        self._unpacked: tuple[int, ProductQuantizer] | None = None
        self._float32: list[ProductQuantizer] = []
        if stored.dtype == np.float32:
            self._float32 = [ProductQuantizer.from_codebooks(books) for books in stored]

    @classmethod
    def of(cls, books: npt.NDArray[np.float32], dtype: CodebookDtype, of_cell: Ids) -> Self:
        """Store codebooks (n_codebooks, m, 2**nbits, d // m), rounded to the nearest that `dtype` holds."""
        if dtype != "uint8":
            return cls(books.astype(dtype, copy=False), np.empty((0, books.shape[1], 2), np.float32), of_cell)
        low, high = books.min(axis=(2, 3)), books.max(axis=(2, 3))
        ranges = np.stack([low, (high - low) / STEPS], axis=2)
        steps = np.where(ranges[..., 1] > 0, ranges[..., 1], 1)[..., None, None]
        return cls(np.rint((books - low[..., None, None]) / steps).astype(np.uint8), ranges, of_cell)

    @classmethod
    def none(cls, d: int, m: int, nbits: int) -> Self:
        """No codebooks."""
        return cls.of(np.empty((0, m, 2**nbits, d // m), np.float32), "float32", np.empty(0, np.int64))

    @classmethod
    def train(
        cls, pq: ProductQuantizer, x: Rows, cells: Ids, clusters: TwoLevelKMeans, level: Owner, dtype: CodebookDtype,
        step: Callable[[int], object],
    ) -> Self:  # fmt: skip
        """Train a quantizer like `pq` for each owner on `level`, on a sample of its residuals.

        Args:
            x: (n, d) vectors.
            cells: (n,), the inner cell of each.
            step: called with the number of owners after each of them.
        """
        rows = candidates(cells, clusters.inner_to_outer)
        keys = owners_of_cells(level, rows, clusters.inner_to_outer, pq.ksub)
        owners = sorted(set(keys))
        books = np.empty((len(owners), pq.m, pq.ksub, pq.dsub), np.float32)

        def train(number: int) -> None:
            own = rows[owners[number]]
            own = own[sample(len(own), pq.ksub * POINTS_PER_CENTROID, pq.seed)]
            residuals = x[own]
            residuals -= clusters.inner_centroids[cells[own]]
            books[number] = copy(pq).train(Rows(residuals)).codebooks
            step(len(owners))

        in_threads(train, range(len(owners)))
        return cls.of(books, dtype, np.array([owners.index(key) for key in keys]))

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, i: int) -> ProductQuantizer: ...
    @overload
    def __getitem__(self, i: slice) -> list[ProductQuantizer]: ...
    def __getitem__(self, i: int | slice) -> ProductQuantizer | list[ProductQuantizer]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        if self._float32:
            return self._float32[i]
        latest = self._unpacked  # one is kept: an index with one codebook unpacks it once
        if latest is None or latest[0] != i:
            latest = self._unpacked = i, ProductQuantizer.from_codebooks(self._books(i))
        return latest[1]

    @property
    def code_size(self) -> int:
        """Bytes of a packed code."""
        _, m, ksub, _ = self.stored.shape
        return int((m * (ksub.bit_length() - 1) + 7) // 8)

    @cached_property
    def radius(self) -> float:
        """The norm that no decoded vector exceeds."""
        squares = [float(squared_norms(pq.codebooks).max(axis=1).sum()) for pq in self]
        return float(max(squares, default=0.0) ** 0.5)

    def encode(self, cells: Ids, x: FloatMatrix, centroids: FloatMatrix) -> Codes:
        """Return the packed codes (n, code_size) of what is left of x (n, d) in some cells (n,), less their centroids."""
        codes, owners = np.empty((len(cells), self.code_size), np.uint8), self.of_cell[cells]

        def encode(rows: Ids) -> None:
            codes[rows] = self[int(owners[rows[0]])].encode(Rows(x[rows] - centroids[cells[rows]]))

        own = [np.flatnonzero(owners == owner) for owner in np.unique(owners)]
        in_threads(encode, [rows[part] for rows in own for part in blocks(len(rows), x.shape[1])])
        return codes

    def decode(self, cells: Ids, codes: Codes) -> FloatMatrix:
        """Return what packed codes (n, code_size) in some cells (n,) stand for, (n, d)."""
        numbers = self.of_cell[cells]
        _, m, ksub, dsub = self.stored.shape
        at = unpack(codes, m, ksub.bit_length() - 1) + ksub * (np.arange(m) + m * numbers[:, None])
        decoded: Array3 = self.stored.reshape(-1, dsub).take(at, axis=0).astype(np.float32, copy=False)
        if self.stored.dtype == np.uint8:
            decoded *= self.ranges[numbers, :, 1, None]
            decoded += self.ranges[numbers, :, 0, None]
        return decoded.reshape(len(codes), m * dsub)

    def norms(self, codes: Codes) -> None:
        """Estimates are distances to what is decoded."""

    def look_up(self, residuals: FloatMatrix, cells: Ids, codes: list[Codes]) -> Floats:
        """Return the distances of one query, by its residuals (n, d) to some cells (n,), to all codes of those, in a row."""
        owners, D = self.of_cell[cells], [np.empty(0, np.float32)] * len(cells)
        for owner in set(owners.tolist()):
            places = np.flatnonzero(owners == owner).tolist()
            found = self[owner]._look_up(residuals[places], [codes[i] for i in places])
            for i, D_i in zip(places, found, strict=True):
                D[i] = D_i
        return np.concatenate([np.empty(0, np.float32), *D])  # an outer cluster may hold no cell

    def arrays(self) -> dict[str, Array]:
        """Return what it holds, by component."""
        return {"codebooks": self.stored, "codebook_ranges": self.ranges, "codebook_of_cell": self.of_cell}

    def _books(self, i: int) -> Array3:
        books: Array3 = self.stored[i].astype(np.float32)
        if self.stored.dtype == np.uint8:
            books *= self.ranges[i, :, 1, None, None]
            books += self.ranges[i, :, 0, None, None]
        return books
