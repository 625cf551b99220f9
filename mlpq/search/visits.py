"""A batch of queries visits the inverted lists: each cell is scanned once, for all the queries that probe it.

Threads share the cells. Python lets one of them run at a time, except within an array operation: a run of neighbouring
cells is therefore prepared in a few large operations, and only what depends on the cell is done cell by cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from mlpq._check import Array, FloatMatrix, IdMatrix
from mlpq._parallel import MANY, blocks, in_threads
from mlpq.search.bounds import Factor, Floats, Ids, reach, rounding, within_reach
from mlpq.search.distance import CROWD, at, best, compacted, distances_to_pairs, exact_to_pairs, rounded, sortable
from mlpq.search.lists import InvertedLists
from mlpq.search.pieces import Pieces, Run, ranges, runs


class Found(NamedTuple):
    """Candidates among the rows of a run; each array is (n,)."""

    run: Run
    pairs: Ids  # which pair of run.queries found it
    rows: Ids
    low: Floats  # the distance lies between these two
    high: Floats

    @property
    def queries(self) -> Ids:
        return self.run.queries[self.pairs]

    def of(self, part: slice) -> Found:
        """Return what the queries of a part found."""
        own = (self.run.queries >= part.start) & (self.run.queries < part.stop)
        return self.some(np.flatnonzero(own[self.pairs]))

    def some(self, which: npt.NDArray[Any]) -> Found:
        return Found(self.run, self.pairs[which], self.rows[which], self.low[which], self.high[which])


class Sums(Protocol):
    """Sums the squared differences between queries and rows."""

    def sums(self, run: Run, pairs: Ids, rows: Ids) -> tuple[Floats, Floats]:
        """Return the distances (n,), in float32, of the queries of these pairs to these rows, and their errors at most."""

    def exact(self, queries: Ids, rows: Ids) -> npt.NDArray[np.float64]:
        """Return the distances (n,) of these queries to these rows, in float64."""


class Compares(Sums, Protocol):
    """Compares all the rows of a run with the queries that visit them."""

    def factors(self, run: Run) -> tuple[Factor, Factor]:
        """Return what is multiplied, piece by piece: the left factor of run.queries, the right factor of the rows."""


class Originals:
    """Compares queries x (nq, d) with vectors as they came.

    Args:
        vectors: the (n, d) float32 vectors of some rows (n,).
        ip: by inner products.
    """

    def __init__(self, x: FloatMatrix, vectors: Callable[[Ids], FloatMatrix], ip: bool) -> None:
        self.x, self.vectors, self.ip = x, vectors, ip

    def sums(self, run: Run, pairs: Ids, rows: Ids) -> tuple[Floats, Floats]:
        if self.ip:
            return rounded(self.exact(run.queries[pairs], rows))
        some, j = compacted(rows - run.offsets[0], int(run.offsets[-1] - run.offsets[0]))  # each row is fetched once
        D = distances_to_pairs(self.x, self.vectors(some + run.offsets[0]), run.queries[pairs], j)
        return D, rounding(D, self.x.shape[1])

    def exact(self, queries: Ids, rows: Ids) -> npt.NDArray[np.float64]:
        some, j = np.unique(rows, return_inverse=True)
        return exact_to_pairs(self.x, self.vectors(some), queries, j, ip=self.ip)


def search(
    lists: InvertedLists, probes: IdMatrix, k: int, shortlist: int, rows: Compares, width: int,
    originals: Sums | None = None,
) -> tuple[FloatMatrix, IdMatrix]:  # fmt: skip
    """Scan the cells in `probes` (nq, nprobe; -1 for none) and return the k nearest rows of each query, in exact order.

    The nearest cell of each query comes first: its best `shortlist` rows bound what is worth keeping elsewhere.

    Args:
        lists: whose rows are searched.
        rows: compares them, by vectors of dimension `width`.
        shortlist: as many rows of each query, at least k, are ordered by `originals`, where those are given.

    Returns:
        D (nq, k) and I (nq, k), ids; ties go to the lower id. Padded with +inf and -1.
    """
    bound = np.full(len(probes), np.inf, np.float32)
    found: list[Found] = []
    pieces = Pieces.of(lists, width)
    nearest, others = pieces.visited(probes[:, :1]), pieces.visited(probes[:, 1:])
    cuts = ranges(pieces, np.concatenate([nearest[0], others[0]]), width)

    def scan(run: Run) -> Found:
        hits = within(run, *rows.factors(run), bound[run.queries], shortlist)
        found.append(uncrowded(hits, shortlist, lists.ids, rows))
        return found[-1]

    def scan_nearest(run: Run) -> None:
        hits = scan(run)
        firsts = np.flatnonzero(np.diff(hits.pairs, prepend=-1))  # of each pair's candidates
        enough = np.diff(firsts, append=len(hits.pairs)) >= shortlist
        if enough.any():  # any shortlist of rows bounds the best one, should threads collide here
            queries, farthest = hits.queries[firsts[enough]], np.maximum.reduceat(hits.high, firsts)[enough]
            bound[queries] = np.minimum(bound[queries], reach(farthest, width))

    in_threads(scan_nearest, runs(pieces, *nearest, cuts, width))
    in_threads(scan, runs(pieces, *others, cuts, width))
    D, I = np.empty((len(probes), k), np.float32), np.empty((len(probes), k), np.int64)

    def settle(part: slice) -> None:
        own = [hits.of(part) for hits in found]
        limit = reach(last_of_each(own, part, shortlist), width)
        own = [hits.some(hits.low <= limit[hits.queries - part.start]) for hits in own]
        if originals:
            own = shortlisted(own, part, shortlist, lists.ids, rows)
        D[part], I[part] = ordered(own, part, k, lists.ids, originals or rows)

    in_threads(settle, blocks(len(probes), 1))
    return D, I


def ordered(found: list[Found], part: slice, k: int, ids: Array, by: Sums) -> tuple[FloatMatrix, IdMatrix]:
    """Return distances and ids of the k nearest candidates of each query of a part, (n, k), in exact order."""
    summed = [by.sums(hits.run, hits.pairs, hits.rows) for hits in found]
    D, error = joined([D for D, _ in summed], np.float32), joined([error for _, error in summed], np.float32)
    queries, rows = joined([hits.queries for hits in found], np.int64), joined([hits.rows for hits in found], np.int64)
    n, own, ids = part.stop - part.start, queries - part.start, ids[rows]
    D, places = best(n, k, own, D, error, ids, lambda some: by.exact(queries[some], rows[some]))
    return D, at(ids, places)


def within(run: Run, left: Factor, right: Factor, limits: Floats, k: int) -> Found:
    """Return the rows of a run that could be among the k nearest of a piece, and within the limits (pairs of the run,)."""
    pairs, rows, low, i, j = [], [], [], 0, 0
    for n, size in zip(run.counts.tolist(), run.sizes.tolist(), strict=True):
        own, other = slice(i, i + n), slice(j, j + size)
        L = left.rows[own] @ right.rows[other].T
        q, columns = within_reach(
            L, left.allowance[own], right.allowance[other], limits[own], k, left.rows.shape[1] - 2
        )
        pairs.append(q + i)
        rows.append(columns + j)
        low.append(L.take(q * size + columns))
        i, j = own.stop, other.stop
    all_pairs, all_rows, all_low = np.concatenate(pairs), np.concatenate(rows), np.concatenate(low)
    high = all_low + left.allowance[all_pairs] + right.allowance[all_rows]
    return Found(run, all_pairs, all_rows + run.offsets[0], all_low, high)


def uncrowded(found: Found, k: int, ids: Array, rows: Compares) -> Found:
    """Return the candidates; of a pair with very many, just the k nearest: there products say too little, or all are level."""
    crowded = np.bincount(found.pairs, minlength=len(found.run.queries)) > max(CROWD * k, MANY)
    if not crowded.any():
        return found
    some = np.flatnonzero(crowded[found.pairs])
    hits = found.some(some)
    D, error = rows.sums(found.run, hits.pairs, hits.rows)
    hits = hits._replace(low=D - error, high=D + error)

    def exact(part: Ids) -> npt.NDArray[np.float64]:
        return rows.exact(hits.queries[part], hits.rows[part])

    _, places = best(len(crowded), k, hits.pairs, D, error, ids[hits.rows], exact)
    found.low[some], found.high[some] = hits.low, hits.high
    kept = ~crowded[found.pairs]
    kept[some[places[places >= 0]]] = True
    return found.some(kept)


def shortlisted(found: list[Found], part: slice, shortlist: int, ids: Array, rows: Compares) -> list[Found]:
    """Return the nearest candidates of each query of a part, just as many as asked for."""
    queries, numbers = joined([f.queries for f in found], np.int64), joined([f.rows for f in found], np.int64)
    low, high = joined([f.low for f in found], np.float32), joined([f.high for f in found], np.float32)
    own = queries - part.start
    kept = (np.bincount(own, minlength=part.stop - part.start) <= shortlist)[own]
    some = np.flatnonzero(~kept)  # of queries with more of them
    queries, own, numbers, low, high = queries[some], own[some], numbers[some], low[some], high[some]
    _, places = best(
        part.stop - part.start, shortlist, own, (low + high) / 2, (high - low) / 2, ids[numbers],
        lambda few: rows.exact(queries[few], numbers[few]), ordered=False,
    )  # fmt: skip
    kept[some[places[places >= 0]]] = True
    parts = np.split(kept, np.cumsum([len(f.rows) for f in found])[:-1])
    return [hits.some(part) for hits, part in zip(found, parts, strict=True)]


def last_of_each(found: list[Found], part: slice, k: int) -> Floats:
    """Return what the k-th smallest distance of each query of a part is at most, (n,); +inf where it has fewer."""
    queries = joined([f.queries for f in found], np.int64) - part.start
    high = joined([f.high for f in found], np.float32)
    keys = (queries << 32) + sortable(high)
    keys.sort()
    counts = np.bincount(queries, minlength=part.stop - part.start)
    limit = np.full(len(counts), np.inf, np.float32)
    enough = np.flatnonzero(counts >= k)
    last = keys[(np.cumsum(counts) - counts)[enough] + k - 1].astype(np.int32)
    limit[enough] = sortable(last.view(np.float32)).view(np.float32)
    return limit


def joined(arrays: list[npt.NDArray[Any]], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays])
