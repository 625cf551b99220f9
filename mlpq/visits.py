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

RUNS = 16  # about as many runs of cells in a batch, so that threads end together


class Run(NamedTuple):
    """Neighbouring cells, and the queries that visit each of them."""

    start: int
    stop: int  # cells start, ..., stop - 1
    counts: Ids  # (stop - start,) queries that visit each cell
    queries: Ids  # (sum of counts,), cell by cell: each entry is a pair of a query and a cell

    @property
    def cells(self) -> Ids:
        """(sum of counts,) the cell of each pair."""
        return np.repeat(np.arange(self.start, self.stop), self.counts)


class Found(NamedTuple):
    """Candidates among the rows of a run of cells; each array is (n,)."""

    run: Run
    pairs: Ids  # which pair of run.queries found it
    rows: Ids
    D: Floats

    @property
    def queries(self) -> Ids:
        return self.run.queries[self.pairs]


# distances(run) -> cell by cell, D (queries that visit the cell, size of the cell)
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
        width: numbers that `distances` holds for each row of a cell, besides the result.

    Returns:
        D (nq, k) and I (nq, k), ids; ties go to the lower id. Padded with +inf and -1.
    """
    bound = np.full(len(probes), np.inf, np.float32)
    found: list[Found] = []
    cuts = ranges(lists, probes, width)

    def scan_nearest(run: Run) -> None:
        D = distances(run)
        bound[run.queries] = np.concatenate([last(part, shortlist) for part in D])
        found.append(within(lists, run, D, bound[run.queries], shortlist))

    def scan(run: Run) -> None:
        found.append(within(lists, run, distances(run), bound[run.queries], shortlist))

    in_threads(scan_nearest, runs(lists, probes[:, :1], cuts))
    in_threads(scan, runs(lists, probes[:, 1:], cuts))
    limit = last_of_each(found, len(probes), shortlist)

    def again(i: int) -> None:
        run, pairs, rows, D = found[i]
        kept = np.flatnonzero(D <= limit[found[i].queries])
        found[i] = Found(run, pairs[kept], rows[kept], rescore(run, pairs[kept], rows[kept]))

    in_threads(again, range(len(found)))
    D, rows = by_query(found, len(probes))
    return pad(*smallest(D, min(k, D.shape[1]), np.append(lists.ids, -1)[rows]), k)


def entries(lists: InvertedLists, nprobe: int, shortlist: int) -> int:
    """Return the candidates that `search` holds for a query at most: callers cut a batch by it."""
    return nprobe * min(shortlist, int(lists.sizes.max())) + shortlist


def ranges(lists: InvertedLists, probes: IdMatrix, width: int) -> list[tuple[int, int]]:
    """Cut the cells into ranges of similar work, each with at most a block of numbers unless it is a single cell."""
    counts = np.bincount(probes[probes >= 0], minlength=len(lists.sizes))
    work = np.cumsum(np.maximum(counts, width) * lists.sizes)
    step = max(1, min(block() // 2, int(work[-1]) // RUNS))
    cuts = np.flatnonzero(np.diff(work // step)) + 1
    return list(zip([0, *cuts.tolist()], [*cuts.tolist(), len(counts)], strict=True))


def runs(lists: InvertedLists, probes: IdMatrix, cuts: list[tuple[int, int]]) -> list[Run]:
    """Return a run for each range of cells; a single cell with very many queries comes in parts."""
    order = np.argsort(probes, axis=None, kind="stable")  # (query, rank) pairs, cell by cell
    queries = order // max(1, probes.shape[1])
    starts = np.searchsorted(probes.ravel()[order], np.arange(len(lists.sizes) + 1))
    found = []
    for start, stop in cuts:
        counts, own = np.diff(starts[start : stop + 1]), queries[starts[start] : starts[stop]]
        if stop - start > 1:
            found.append(Run(start, stop, counts, own))
        else:
            parts = [own[part] for part in blocks(len(own), int(lists.sizes[start]))]
            found.extend(Run(start, stop, np.array([len(part)]), part) for part in parts)
    return [run for run in found if len(run.queries)]


def within(lists: InvertedLists, run: Run, D: list[FloatMatrix], limits: Floats, k: int) -> Found:
    """Return the rows of a run of cells at most as far as the limits: of each query about k in a cell at most.

    Where the limits let through more than twice as many, as when a nearest cell was too small to give one, the k
    smallest of each row of D are taken.

    Args:
        D: distances, cell by cell.
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
    numbers = np.repeat(np.arange(len(D)), [len(some) for some in hits])  # which cell of the run
    pairs, rows = np.divmod(np.concatenate(hits), lists.sizes[run.start : run.stop][numbers])
    D_hits = np.concatenate([part.ravel()[some] for part, some in zip(D, hits, strict=True)])
    rows += lists.offsets[run.start : run.stop][numbers]
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


def by_query(found: list[Found], nq: int) -> tuple[FloatMatrix, IdMatrix]:
    """Bring candidates together by query: D and rows, both (nq, as many as any query has), padded with +inf and -1."""
    queries = joined([f.queries for f in found], np.int64)
    order = np.argsort(queries.astype(np.min_scalar_type(nq)), kind="stable")  # short integers sort by radix
    counts = np.bincount(queries, minlength=nq)
    width = int(counts.max(initial=0))
    places = np.arange(len(order)) + np.repeat(width * np.arange(nq) - (np.cumsum(counts) - counts), counts)
    D, rows = np.full((nq, width), np.inf, np.float32), np.full((nq, width), -1, np.int64)
    D.ravel()[places] = joined([f.D for f in found], np.float32)[order]
    rows.ravel()[places] = joined([f.rows for f in found], np.int64)[order]
    return D, rows


def joined(arrays: list[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays])
