"""How a batch of queries meets the codes: cell by cell with matrix products, or, for few queries, by distance tables.

A table makes each code cost m additions for each query (Jégou, Douze & Schmid 2011, eq. 13). Where many queries visit the
same cell it is quicker to decode the cell once: its distances to all of them are then a single matrix product. Both
give the same asymmetric distances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpq import visits
from mlpq._check import Codes, FloatMatrix, IdMatrix, Rows
from mlpq.distance import compacted, distances_to, distances_to_pairs, left_factor, pad, right_factor, smallest
from mlpq.lists import Ids
from mlpq.visits import Floats, Run

if TYPE_CHECKING:
    from mlpq.index import MultiLevelPQ

KEEP = 1 << 24  # decoded numbers that a batch keeps, at most
CLOSE = 0.01  # of the squares summed: below, sums from tables lose digits, and distances are computed anew
FEW = 10  # queries that visit a cell, on average, from which on it is decoded


class Scanner:
    """Scans cells for one batch of queries.

    Args:
        index: a trained index.
        x: (nq, d) the queries.
        rerank: whether distances are to the originals in the end.

    Attributes:
        z: (nq, pca_dim) the queries in the coordinates of the codes.
    """

    def __init__(self, index: MultiLevelPQ, x: FloatMatrix, rerank: bool) -> None:
        self.index, self.x, self.rerank = index, x, rerank
        self.z = index.reduction(x) if index.reduction else x
        self.lists, self.centroids = index.lists, index.clusters.inner_centroids
        self.kept: dict[tuple[int, int], FloatMatrix] = {}

    def search(self, k: int, shortlist: int, nprobe: int, n_outer_probe: int | None) -> tuple[FloatMatrix, IdMatrix]:
        """Return distances and ids of the k best among the cells probed; the best `shortlist` by code are rescored."""
        probes = self.index.clusters.probe(Rows(self.z), nprobe, n_outer_probe)
        if probes.size >= FEW * len(self.centroids):
            return visits.search(self.lists, probes, k, shortlist, self.distances, self.rescore, self.z.shape[1])
        found = [self._search_one(q, probes[q], k, shortlist) for q in range(len(probes))]
        return np.concatenate([D for D, _ in found]), np.concatenate([I for _, I in found])

    # ---- many queries: cell by cell ----------------------------------------------------------------------------

    def distances(self, run: Run) -> list[FloatMatrix]:
        """Return the asymmetric distances of the queries that visit a piece to all its codes; see `visits.Distances`."""
        left, right = left_factor(self.z[run.queries], self.centroids[run.cells]), self._right(run)
        D, i, j = [], 0, 0
        for n, size in zip(run.counts.tolist(), run.sizes.tolist(), strict=True):
            D.append(left[i : i + n] @ right[j : j + size].T)
            i, j = i + n, j + size
        return D

    def _right(self, run: Run) -> FloatMatrix:
        """Return the right factor for the codes of a run; a batch meets each twice, and small ones are kept."""
        start, stop = run.offsets[[0, -1]].tolist()
        if (kept := self.kept.pop((start, stop), None)) is not None:
            return kept
        right = right_factor(self._decoded(np.repeat(run.owners, run.sizes), self.lists.rows[start:stop]))
        if len(self.lists.rows) * right.shape[1] <= KEEP:
            self.kept[start, stop] = right
        return right

    def rescore(self, run: Run, pairs: Ids, rows: Ids) -> Floats:
        """Return better distances of pairs of a query and a row; see `visits.Rescore`. Each row is fetched once.

        With `rerank` they are exact, else those by code, summed directly.
        """
        start, stop = run.offsets[[0, -1]].tolist()
        some, j = compacted(rows - start, stop - start)
        some += start
        if self.rerank:
            return distances_to_pairs(self.x, self._originals(some), run.queries[pairs], j)
        some_pairs, i = compacted(pairs, len(run.queries))
        residuals = self.z[run.queries[some_pairs]] - self.centroids[run.cells[some_pairs]]
        cells = run.owners[np.searchsorted(run.offsets, some, side="right") - 1]
        return distances_to_pairs(residuals, self._decoded(cells, self.lists.rows[some]), i, j)

    # ---- few queries: one by one -------------------------------------------------------------------------------

    def _search_one(self, q: int, cells: Ids, k: int, shortlist: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k best of one query, (1, k) each."""
        cells = cells[cells >= 0]
        offsets, sizes = self.lists.offsets[cells], self.lists.sizes[cells]
        residuals = self.z[q] - self.centroids[cells]
        D = self._by_tables(residuals, cells)
        best = np.argpartition(D, shortlist - 1)[:shortlist] if shortlist < len(D) else np.arange(len(D))
        D, ends = D[best], np.cumsum(sizes)
        ranks = np.searchsorted(ends, best, side="right")
        rows = best + (offsets - ends + sizes)[ranks]
        if self.rerank:
            D = distances_to(self.x[q : q + 1], self._originals(rows), np.arange(len(rows))[None])[0]
        elif len(D) and D.min() < CLOSE * np.vdot(residuals, residuals):
            D = distances_to_pairs(
                residuals, self._decoded(cells[ranks], self.lists.rows[rows]), ranks, np.arange(len(D))
            )
        return pad(*smallest(np.maximum(D, 0)[None], min(k, len(D)), self.lists.ids[rows][None]), k)

    def _by_tables(self, residuals: FloatMatrix, cells: Ids) -> Floats:
        """Return the distances of one query, by its residuals, to all codes of some cells, whose products are shared."""
        owners = self.index.codebook_of_cell[cells]
        codes = [self.lists.rows[self.lists.cell(c)] for c in cells.tolist()]
        D = [np.empty(0, np.float32)] * len(cells)
        for owner in set(owners.tolist()):
            places = np.flatnonzero(owners == owner).tolist()
            found = self.index.quantizers[owner]._look_up(residuals[places], [codes[i] for i in places])
            for i, D_i in zip(places, found, strict=True):
                D[i] = D_i
        return np.concatenate([np.empty(0, np.float32), *D])  # an outer cluster may hold no cell

    def _decoded(self, cells: Ids, codes: Codes) -> FloatMatrix:
        return self.index.quantizers.decode(self.index.codebook_of_cell[cells], codes)

    def _originals(self, rows: Ids) -> FloatMatrix:
        originals: FloatMatrix = self.index.originals[self.lists.ids[rows]].astype(np.float32)
        return originals
