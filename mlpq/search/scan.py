"""How a batch of queries meets the codes: cell by cell with matrix products, or, for few queries, by distance tables.

A table makes each code cost m additions for each query (Jégou, Douze & Schmid 2011, eq. 13). Where many queries visit the
same cell it is quicker to decode the cell once: its distances to all of them are then a single matrix product. Both
give the same asymmetric distances.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlpq._check import FloatMatrix, IdMatrix
from mlpq._parallel import block, cut
from mlpq.search import visits
from mlpq.search.bounds import Factor, Floats, Ids, gamma, left_factor, reach, right_factor, rounding
from mlpq.search.distance import best, compacted, distances_to_pairs, pad, rounded
from mlpq.search.lists import InvertedLists
from mlpq.search.pieces import Run
from mlpq.search.visits import Originals, Sums

KEEP = 1 << 24  # decoded numbers that a batch keeps, at most
FEW = 10  # queries that visit a cell, on average, from which on it is decoded


class Scanner:
    """Scans cells for one batch of queries.

    Args:
        lists: of the codes.
        centroids: (n_cells, d), to which the residuals were taken.
        codec: decodes residuals: `decode`, `norms`; with `look_up` and `radius`, as `Codebooks` have them, it knows tables.
        z: (nq, d) the queries, in the coordinates of the codes.
        ip: by inner products: distances are then -2 z.y.
        originals: orders the shortlist anew, if given.
    """

    def __init__(
        self, lists: InvertedLists, centroids: FloatMatrix, codec: Any, z: FloatMatrix, ip: bool,
        originals: Originals | None,
    ) -> None:  # fmt: skip
        self.lists, self.centroids, self.codec, self.z, self.ip = lists, centroids, codec, z, ip
        self.originals = originals
        self.plain = hasattr(codec, "look_up") and not ip  # distances to what is decoded
        self.kept: dict[tuple[int, int], Factor] = {}

    def search(self, probes: IdMatrix, k: int, shortlist: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return distances and ids of the k best in the cells `probes`; `originals` order the best `shortlist` anew."""
        if not self.plain or probes.size >= FEW * len(self.centroids):
            return visits.search(self.lists, probes, k, shortlist, self, self.z.shape[1], self.originals)
        found = [self._search_one(q, probes[q], k, shortlist) for q in range(len(probes))]
        return np.concatenate([D for D, _ in found]), np.concatenate([I for _, I in found])

    # ---- many queries: cell by cell ----------------------------------------------------------------------------

    def factors(self, run: Run) -> tuple[Factor, Factor]:
        """Return both sides of the estimates; a batch meets each run twice, and the right side is kept if small."""
        left = left_factor(self.z[run.queries], self.centroids[run.cells], ip=self.ip)
        start, stop = run.offsets[[0, -1]].tolist()
        right = self.kept.pop((start, stop), None)
        if right is None:
            codes = self.lists.rows[start:stop]
            norms = 0 if self.ip else self.codec.norms(codes)
            right = right_factor(self.codec.decode(np.repeat(run.owners, run.sizes), codes), norms=norms)
            if self.lists.rows.shape[0] * right.rows.shape[1] <= KEEP:
                self.kept[start, stop] = right
        return left, right

    def sums(self, run: Run, pairs: Ids, rows: Ids) -> tuple[Floats, Floats]:
        """Return the estimates for pairs of a query and a row, and their errors; see `visits.Sums`."""
        if not self.plain:
            return rounded(self.exact(run.queries[pairs], rows))
        start, stop = run.offsets[[0, -1]].tolist()
        some, j = compacted(rows - start, stop - start)
        some_pairs, i = compacted(pairs, len(run.queries))
        residuals = self.z[run.queries[some_pairs]] - self.centroids[run.cells[some_pairs]]
        cells = run.owners[np.searchsorted(run.offsets, some + start, side="right") - 1]
        D = distances_to_pairs(residuals, self.codec.decode(cells, self.lists.rows[some + start]), i, j)
        return D, self._errors(D)

    def exact(self, queries: Ids, rows: Ids) -> npt.NDArray[np.float64]:
        """Return the estimates (n,) for these queries and these rows in float64."""
        exact = np.empty(len(rows))
        for part in cut(len(rows), block() // (8 * self.z.shape[1])):
            cells, codes = self.lists.cells_of(rows[part]), self.lists.rows[rows[part]]
            z, centroids = self.z[queries[part]], self.centroids[cells]
            decoded = self.codec.decode(cells, codes)
            if self.ip:
                exact[part] = -2 * (z * np.add(centroids, decoded, dtype=np.float64)).sum(axis=1)
                continue
            exact[part] = np.square(np.subtract(z, centroids, dtype=np.float64) - decoded).sum(axis=1)
            norms = self.codec.norms(codes)
            if norms is not None:
                exact[part] += norms - np.square(decoded, dtype=np.float64).sum(axis=1)
        return exact

    def _errors(self, D: Floats) -> Floats:
        """Return the rounding errors of asymmetric distances, at most: of sums, and of residuals no longer than these."""
        longest = np.sqrt(D) + self.codec.radius
        error = gamma(2)
        errors: Floats = rounding(D, self.z.shape[1]) + error * longest * (2 * np.sqrt(D) + error * longest)
        return errors

    # ---- few queries: one by one -------------------------------------------------------------------------------

    def _search_one(self, q: int, cells: Ids, k: int, shortlist: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k best of one query, (1, k) each."""
        cells = cells[cells >= 0]
        offsets, sizes = self.lists.offsets[cells], self.lists.sizes[cells]
        residuals = self.z[q] - self.centroids[cells]
        places, D, error = self._candidates(residuals, cells, sizes, shortlist)
        ends = np.cumsum(sizes)
        ranks = np.searchsorted(ends, places, side="right")
        rows = places + (offsets - ends + sizes)[ranks]
        if self.originals:
            rows = rows[self._best_one(q, shortlist, D, error, rows, self, ordered=False)[1]]
            queries, numbers = np.full(len(rows), q), np.arange(len(rows))
            D = distances_to_pairs(self.originals.x, self.originals.vectors(rows), queries, numbers)
            error = rounding(D, self.originals.x.shape[1])
        else:
            decoded = self.codec.decode(cells[ranks], self.lists.rows[rows])
            D = distances_to_pairs(residuals, decoded, ranks, np.arange(len(rows)))
            error = self._errors(D)
        D, chosen = self._best_one(q, k, D, error, rows, self.originals or self)
        return pad(D[None], self.lists.ids[rows[chosen]].astype(np.int64)[None], k)

    def _best_one(
        self, q: int, k: int, D: Floats, error: Floats, rows: Ids, sums: Sums, ordered: bool = True
    ) -> tuple[Floats, Ids]:
        """Return the best k or fewer rows of one query: their distances, and which they are."""
        ids, queries = self.lists.ids[rows], np.zeros(len(rows), np.int64)
        D, chosen = best(
            1, min(k, len(rows)), queries, D, error, ids, lambda some: sums.exact(queries[some] + q, rows[some]),
            ordered=ordered,
        )  # fmt: skip
        return D[0], chosen[0]

    def _candidates(self, residuals: FloatMatrix, cells: Ids, sizes: Ids, shortlist: int) -> tuple[Ids, Floats, Floats]:
        """Return which codes of some cells could be among the best `shortlist` of one query, by distance tables.

        With them come their distances, and the errors of these at most.
        """
        codes = [self.lists.rows[self.lists.cell(c)] for c in cells.tolist()]
        D, d = self.codec.look_up(residuals, cells, codes), residuals.shape[1]
        squares = np.einsum("ij,ij->i", residuals, residuals) + self.codec.radius**2
        # Of entries, of their sum, and of the residual's square.
        error = np.repeat((4 * gamma(2 * d + 16) * squares + reach(0, d)).astype(np.float32), sizes)
        if shortlist >= len(D):
            return np.arange(len(D)), D, error
        limit = reach(np.partition(D + error, shortlist - 1)[shortlist - 1], d)
        places = np.flatnonzero(D - error <= limit)
        return places, D[places], error[places]
