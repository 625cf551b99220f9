"""How the cells are cut for the threads: large ones into pieces, all pieces into runs of similar work."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlpq._check import IdMatrix
from mlpq._parallel import block, blocks
from mlpq.search.bounds import Ids
from mlpq.search.lists import InvertedLists

PIECE = 1 << 22  # numbers in a piece of a cell, at most
RUNS = 16  # about as many runs of cells in a batch, so that threads end together


class Pieces(NamedTuple):
    """All cells; one that is too large to be worked on at once is cut.

    Piece p holds rows offsets[p], ..., offsets[p + 1] - 1; cell c is the pieces firsts[c], ..., firsts[c + 1] - 1.
    """

    offsets: Ids
    cells: Ids  # the cell of each piece
    firsts: Ids

    @classmethod
    def of(cls, lists: InvertedLists, width: int) -> Pieces:
        """Cut the cells into equal pieces of at most `PIECE` numbers, `width` for each row."""
        counts = np.maximum(1, -(-lists.sizes // max(1, PIECE // width)))
        firsts = np.concatenate([[0], np.cumsum(counts)])
        cells = np.repeat(np.arange(len(counts)), counts)
        rank = np.arange(len(cells)) - firsts[cells]
        starts = lists.offsets[cells] + rank * lists.sizes[cells] // counts[cells]
        return cls(np.append(starts, lists.offsets[-1]), cells, firsts)

    @property
    def sizes(self) -> Ids:
        return np.diff(self.offsets)

    def visited(self, probes: IdMatrix) -> tuple[Ids, Ids]:
        """Return the pieces in the cells `probes` (nq, nprobe; -1 for none), and who visits them: both (n,)."""
        queries, ranks = np.nonzero(probes >= 0)
        cells = probes[queries, ranks]
        counts = np.diff(self.firsts)[cells]
        of_its_cell = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(self.firsts[cells], counts) + of_its_cell, np.repeat(queries, counts)


class Run(NamedTuple):
    """Neighbouring pieces of cells, and the queries that visit each of them."""

    offsets: Ids  # (pieces + 1,) piece i is the rows offsets[i], ..., offsets[i + 1] - 1
    owners: Ids  # (pieces,) the cell of each piece
    counts: Ids  # (pieces,) queries that visit each piece
    queries: Ids  # (sum of counts,), piece by piece: each entry is a pair of a query and a piece

    @property
    def sizes(self) -> Ids:
        """(pieces,) rows in each piece."""
        return np.diff(self.offsets)

    @property
    def cells(self) -> Ids:
        """(sum of counts,) the cell of each pair."""
        return np.repeat(self.owners, self.counts)


def entries(lists: InvertedLists, nprobe: int, shortlist: int, width: int) -> int:
    """Return the candidates that `search` holds for a query at most, or what the query itself weighs in them.

    Callers cut a batch by it.
    """
    largest, met = int(lists.sizes.max()), nprobe
    if largest * width > PIECE:
        pieces = Pieces.of(lists, width)
        largest, met = int(pieces.sizes.max()), int(np.sort(np.diff(pieces.firsts))[-nprobe:].sum())
    return max(met * min(shortlist, largest) + shortlist, width // 4)


def ranges(pieces: Pieces, visited: Ids, width: int) -> list[tuple[int, int]]:
    """Cut the pieces into ranges of similar work, each with at most a block of numbers unless it is a single piece."""
    counts, sizes = np.bincount(visited, minlength=len(pieces.cells)), pieces.sizes
    work = np.cumsum(np.maximum(np.maximum(counts, width) * sizes, counts * width))
    step = max(1, min(block() // 2, int(work[-1]) // RUNS))
    cuts = np.flatnonzero(np.diff(work // step)) + 1
    return list(zip([0, *cuts.tolist()], [*cuts.tolist(), len(counts)], strict=True))


def runs(pieces: Pieces, visited: Ids, queries: Ids, cuts: list[tuple[int, int]], width: int) -> list[Run]:
    """Return a run for each range of pieces; a single piece with very many queries comes in parts."""
    order = np.argsort(visited, kind="stable")  # pairs, piece by piece
    queries = queries[order]
    starts = np.searchsorted(visited[order], np.arange(len(pieces.cells) + 1))
    found = []
    for start, stop in cuts:
        counts, own = np.diff(starts[start : stop + 1]), queries[starts[start] : starts[stop]]
        offsets, owners = pieces.offsets[start : stop + 1], pieces.cells[start:stop]
        if stop - start > 1:
            found.append(Run(offsets, owners, counts, own))
        else:
            parts = [own[part] for part in blocks(len(own), max(width, int(np.diff(offsets)[0])))]
            found.extend(Run(offsets, owners, np.array([len(part)]), part) for part in parts)
    return [run for run in found if len(run.queries)]
