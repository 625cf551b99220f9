"""A batch of queries visits the inverted lists: each cell is scanned once, for all the queries that probe it.

Threads share the cells. Python lets one of them run at a time, except within an array operation: a run of neighbouring
cells is therefore prepared in a few large operations, and only what depends on the cell is done cell by cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpq._check import FloatMatrix, IdMatrix
from mlpq._parallel import in_threads
from mlpq.distance import block, blocks, pad, smallest
from mlpq.lists import Ids, InvertedLists

Floats = npt.NDArray[np.float32]

WIDE = 8  # times as many places as candidates: then a table of candidates by query is too wide
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


class Found(NamedTuple):
    """Candidates among the rows of a run; each array is (n,)."""

    run: Run
    pairs: Ids  # which pair of run.queries found it
    rows: Ids
    D: Floats

    @property
    def queries(self) -> Ids:
        return self.run.queries[self.pairs]


# distances(run) -> piece by piece, D (queries that visit it, rows in it)
Distances = Callable[[Run], list[FloatMatrix]]
# rescore(run, pairs (n,), rows (n,)) -> D (n,): better distances of the queries of these pairs to these rows
Rescore = Callable[[Run, Ids, Ids], Floats]


def search(
    lists: InvertedLists, probes: IdMatrix, k: int, shortlist: int, distances: Distances, rescore: Rescore, width: int
) -> tuple[FloatMatrix, IdMatrix]:
    """Scan the cells in `probes` (nq, nprobe; -1 for none) and return the k nearest rows of each query.

    The nearest cell of each query comes first: its best `shortlist` rows bound what is worth keeping elsewhere.

    Args:
        lists: whose rows are searched.
        shortlist: at least k; as many rows of each query, and those level with the last, go to `rescore`.
        distances, rescore: as described above.
        width: numbers that `distances` holds for each row and for each query, besides the result.

    Returns:
        D (nq, k) and I (nq, k), ids; ties go to the lower id. Padded with +inf and -1.
    """
    bound = np.full(len(probes), np.inf, np.float32)
    found: list[Found] = []
    pieces = Pieces.of(lists, width)
    nearest, others = pieces.visited(probes[:, :1]), pieces.visited(probes[:, 1:])
    cuts = ranges(pieces, np.concatenate([nearest[0], others[0]]), width)

    def scan_nearest(run: Run) -> None:
        D = distances(run)
        kth = np.concatenate([last(part, shortlist) for part in D])
        bound[run.queries] = np.minimum(bound[run.queries], kth)  # any k-th smallest is one, should threads collide
        found.append(within(run, D, bound[run.queries], shortlist))

    def scan(run: Run) -> None:
        found.append(within(run, distances(run), bound[run.queries], shortlist))

    in_threads(scan_nearest, runs(pieces, *nearest, cuts, width))
    in_threads(scan, runs(pieces, *others, cuts, width))
    limit = last_of_each(found, len(probes), shortlist)

    def again(i: int) -> None:
        run, pairs, rows, D = found[i]
        kept = np.flatnonzero(D <= limit[found[i].queries])
        found[i] = Found(run, pairs[kept], rows[kept], rescore(run, pairs[kept], rows[kept]))

    in_threads(again, range(len(found)))
    D, I = by_query(found, len(probes), lists.ids, k)
    return pad(*smallest(D, min(k, D.shape[1]), I), k)


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


def within(run: Run, D: list[FloatMatrix], limits: Floats, k: int) -> Found:
    """Return the rows of a run at most as far as the limits: of each query about k in a piece at most.

    Where the limits let through more than twice as many, as when a nearest piece was too small to give one, the k
    smallest of each row of D are taken.

    Args:
        D: distances, piece by piece.
        limits: (pairs of the run,).
    """
    firsts = np.cumsum(run.counts) - run.counts
    hits = []
    for first, part in zip(firsts.tolist(), D, strict=True):
        some = np.flatnonzero(part <= limits[first : first + len(part), None])
        if len(some) > 2 * k * len(part):
            _, columns = smallest(np.maximum(part, 0), min(k, part.shape[1]))
            some = (columns + part.shape[1] * np.arange(len(part))[:, None]).ravel()
        hits.append(some)
    numbers = np.repeat(np.arange(len(D)), [len(some) for some in hits])  # which piece of the run
    pairs, rows = np.divmod(np.concatenate(hits), run.sizes[numbers])
    D_hits = np.concatenate([part.ravel()[some] for part, some in zip(D, hits, strict=True)])
    rows += run.offsets[:-1][numbers]
    return Found(run, pairs + firsts[numbers], rows, np.maximum(D_hits, 0))


def last(D: FloatMatrix, k: int) -> Floats:
    """Return the k-th smallest of each row of D (n, c), +inf where there are fewer."""
    if k > D.shape[1]:
        return np.full(len(D), np.inf, np.float32)
    kth: Floats = np.partition(D, k - 1, axis=1)[:, k - 1]
    return kth


def last_of_each(found: list[Found], nq: int, k: int) -> Floats:
    """Return the k-th smallest distance of each query, (nq,), +inf where it has fewer candidates."""
    queries, D = joined([f.queries for f in found], np.int64), joined([f.D for f in found], np.float32)
    keys = queries << 32 | D.view(np.int32)  # bits of floats that are not negative sort as the floats do
    keys.sort()
    counts = np.bincount(queries, minlength=nq)
    limit = np.full(nq, np.inf, np.float32)
    enough = np.flatnonzero(counts >= k)
    limit[enough] = keys[(np.cumsum(counts) - counts)[enough] + k - 1].astype(np.int32).view(np.float32)
    return limit


def by_query(found: list[Found], nq: int, ids: Ids, k: int) -> tuple[FloatMatrix, IdMatrix]:
    """Bring candidates together by query: D and I, both (nq, most that any query has), padded with +inf and -1.

    A few queries with very many candidates, all level, would make that wide: then only the k best of each are taken.
    """
    queries, D = joined([f.queries for f in found], np.int64), joined([f.D for f in found], np.float32)
    I = ids[joined([f.rows for f in found], np.int64)]
    counts = np.bincount(queries, minlength=nq)
    if nq * int(counts.max(initial=0)) > WIDE * len(D):
        order = np.lexsort((I, D, queries))
        order = order[np.arange(len(order)) - (np.cumsum(counts) - counts)[queries[order]] < k]
        queries, counts = queries[order], np.minimum(counts, k)
    else:
        order = np.argsort(queries.astype(np.min_scalar_type(nq)), kind="stable")  # short integers sort by radix
        queries = queries[order]
    width = int(counts.max(initial=0))
    places = np.arange(len(order)) + (width * np.arange(nq) - (np.cumsum(counts) - counts))[queries]
    best_D, best_I = np.full((nq, width), np.inf, np.float32), np.full((nq, width), -1, np.int64)
    best_D.ravel()[places], best_I.ravel()[places] = D[order], I[order]
    return best_D, best_I


def joined(arrays: list[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays])
