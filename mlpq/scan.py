"""How a batch of queries meets the codes: cell by cell with matrix products, or, for few queries, by distance tables.

A table makes each code cost m additions for each query (Jégou, Douze & Schmid 2011, eq. 13). Where many queries visit the
same cell it is quicker to decode the cell once: its distances to all of them are then a single matrix product. Both
give the same asymmetric distances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpq._check import FloatMatrix, IdMatrix
from mlpq.distance import by_product, compacted, distances_to, distances_to_pairs, pad, smallest
from mlpq.lists import Floats, Ids
from mlpq.pq import ProductQuantizer

if TYPE_CHECKING:
    from mlpq.index import MultiLevelPQ

FEW = 4  # queries that visit a cell, on average, from which on it is decoded


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

    def search(self, k: int, shortlist: int, nprobe: int, n_outer_probe: int | None) -> tuple[FloatMatrix, IdMatrix]:
        """Return distances and ids of the k best among the cells probed; the best `shortlist` by code are rescored."""
        probes = self.index.clusters.probe(self.z, nprobe, n_outer_probe)
        if probes.size >= FEW * len(self.centroids):
            width = max(self.index.d, self.index.m * self.index.ksub)
            return self.lists.search(probes, k, shortlist, self.distances, self.rescore, width)
        found = [self._search_one(q, probes[q], k, shortlist) for q in range(len(probes))]
        return np.concatenate([D for D, _ in found]), np.concatenate([I for _, I in found])

    # ---- many queries: cell by cell ----------------------------------------------------------------------------

    def distances(self, cell: int, queries: Ids) -> FloatMatrix:
        """Return the asymmetric distances of some queries to all codes of a cell; see `lists.Distances`."""
        return by_product(self.z[queries] - self.centroids[cell], self._decoded(cell, self.lists.cell(cell)))

    def rescore(self, cell: int, queries: Ids, rows: Ids) -> Floats:
        """Return better distances of pairs of a query and a row of the cell; see `lists.Rescore`.

        With `rerank` they are exact, else those by code, summed directly. Each row is fetched once.
        """
        some_queries, queries = compacted(queries, len(self.x))
        some_rows, rows = compacted(rows, int(self.lists.sizes[cell]))
        some_rows += self.lists.offsets[cell]
        if self.rerank:
            return distances_to_pairs(self.x[some_queries], self._originals(some_rows), queries, rows)
        residuals = self.z[some_queries] - self.centroids[cell]
        return distances_to_pairs(residuals, self._decoded(cell, some_rows), queries, rows)

    # ---- few queries: one by one -------------------------------------------------------------------------------

    def _search_one(self, q: int, cells: Ids, k: int, shortlist: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k best of one query, (1, k) each."""
        cells = cells[cells >= 0]
        offsets, sizes = self.lists.offsets[cells], self.lists.sizes[cells]
        D = self._by_tables(q, cells)
        best = np.argpartition(D, shortlist - 1)[:shortlist] if shortlist < len(D) else np.arange(len(D))
        D, ends = D[best], np.cumsum(sizes)
        ranks = np.searchsorted(ends, best, side="right")
        rows = best + (offsets - ends + sizes)[ranks]
        if self.rerank:
            D = distances_to(self.x[q : q + 1], self._originals(rows), np.arange(len(rows))[None])[0]
        return pad(*smallest(np.maximum(D, 0)[None], min(k, len(D)), self.lists.ids[rows][None]), k)

    def _by_tables(self, q: int, cells: Ids) -> Floats:
        """Return the distances of one query to all codes of some cells; cells of one codebook share its product."""
        residuals, owners = self.z[q] - self.centroids[cells], self.index.codebook_of_cell[cells]
        codes = [self.lists.rows[self.lists.cell(c)] for c in cells.tolist()]
        D = [np.empty(0, np.float32)] * len(cells)
        for owner in set(owners.tolist()):
            places = np.flatnonzero(owners == owner).tolist()
            found = self.index.quantizers[owner]._look_up(residuals[places], [codes[i] for i in places])
            for i, D_i in zip(places, found, strict=True):
                D[i] = D_i
        return np.concatenate(D)

    def _decoded(self, cell: int, rows: slice | Ids) -> FloatMatrix:
        return self._quantizer(cell).decode(self.lists.rows[rows])

    def _quantizer(self, cell: int) -> ProductQuantizer:
        return self.index.quantizers[int(self.index.codebook_of_cell[cell])]

    def _originals(self, rows: Ids) -> FloatMatrix:
        originals: FloatMatrix = self.index.originals[self.lists.ids[rows]].astype(np.float32)
        return originals
