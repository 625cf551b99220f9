"""A Faiss index over the arrays of ours, in place: it scans the codes of few queries, and short codes, by distance tables.

A table makes each code cost m additions (Jégou, Douze & Schmid 2011, eq. 13). Written in NumPy those are many small calls
for each query; here they are one. Codes and ids stay where they are: Faiss's `OnDiskInvertedLists` finds its lists at
offsets in one block of memory, commonly a file's, and here the codes of an index.

What is found is what `search.scan` finds. Faiss sums in float32; where that leaves the order open, the candidates are
summed again in float64, and where more of them are level than were asked for, the query is searched the other way.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial

import faiss
import numpy as np
import numpy.typing as npt

from mlpq._check import FloatMatrix, IdMatrix
from mlpq._parallel import cut, in_threads
from mlpq.codecs.pq import ProductQuantizer, squared_norms
from mlpq.exchange.convert import trained
from mlpq.search.bounds import TINY, Floats, Ids, gamma, middle, rounding
from mlpq.search.distance import VAGUE, Flags, distances_to_pairs, rounded
from mlpq.search.lists import InvertedLists
from mlpq.search.scan import FEW, Scanner
from mlpq.search.visits import Originals

TABLES = 1 << 27  # bytes of tables that Faiss may prepare for all cells together
MOST = 1 << 10  # candidates of a query up to which Faiss's heap is quick
CACHED = 1 << 19  # numbers that are summed at a time: they stay in a processor's cache
SPARE = 6  # more candidates than are asked for: they show whether rounding may have left one out
# Nanoseconds of two threads, by which batches choose. Tables: each of the m words of a code. Products: a code and each of its
# dimensions, and beside that its decoding, by pieces and by numbers, which the queries that visit its cell share.
PER_WORD, PER_CODE, PER_DIMENSION = 0.17, 0.5, 0.004
PER_PIECE, PER_NUMBER = 2.0, 0.6

Summed = Callable[[Ids, Ids], tuple[Floats, Floats]]  # numbers of queries, and of rows -> distances, and errors at most
Exact = Callable[[Ids, Ids], npt.NDArray[np.float64]]  # numbers of queries, and of rows -> their distances


class InPlace:
    """Searches the lists of an index with one codebook.

    Args:
        lists: of the codes.
        centroids: (n_cells, d), to which the residuals were taken.
        pq: the codebook.
        ip: by inner products: distances are then -2 z.y.
    """

    def __init__(self, lists: InvertedLists, centroids: FloatMatrix, pq: ProductQuantizer, ip: bool) -> None:
        self.lists, self.ip = lists, ip
        self._rows = lists.rows  # held, since Faiss knows no more than their address
        self.origin = np.zeros(pq.d, np.float32) if ip else middle(centroids)
        self._faiss, self._lists = _cells(centroids - self.origin, pq, ip), _in_place(lists)
        self._faiss.replace_invlists(self._lists, False)
        weakref.finalize(self, setattr, self._lists, "ptr", None)  # which is not Faiss's to give back
        self._parameters: dict[int, faiss.SearchParametersIVF] = {}
        self._longest = float(np.linalg.norm(centroids - self.origin, axis=1).max())
        self._radius = float(squared_norms(pq.codebooks).max(axis=1).sum() ** 0.5)
        self._errors_of_sums = gamma(pq.dsub + pq.m + 12), gamma(pq.d + 8)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Leave nothing to a copy of an index, or to another process: each makes its own."""
        return type(None), ()

    def search(
        self, scanner: Scanner, near: FloatMatrix, probes: IdMatrix, k: int, shortlist: int
    ) -> tuple[FloatMatrix, IdMatrix]:
        """Return what `scanner.search(probes, k, shortlist)` returns.

        Args:
            near: (nq, nprobe), the distances of the scanner's queries to the centroids of the cells `probes`.
        """
        D, rows, error = self._candidates(scanner.z, near, probes, shortlist + SPARE)
        lost = (D[:, shortlist - 1] + 2 * error[:, 0] > D[:, -1]).nonzero()[0]
        ids = self.lists.ids
        if (originals := scanner.originals) is None:
            wanted: Flags = (rows >= 0) & (D[:, [k - 1]] + 2 * error >= D)
            sums, exact = partial(by_codes, scanner), scanner.exact
        else:
            D, rows = settled(D, rows, error, ids[rows], shortlist, scanner.exact, ordered=False)
            wanted, sums, exact = rows >= 0, partial(by_originals, originals), originals.exact
        D, error = summed(sums, rows, wanted, scanner.z.shape[1])
        order = np.arange(len(D))[:, None], D.argsort(axis=1)
        D, rows, error = D[order], rows[order], error[order]
        D, rows = settled(D, rows, error, ids[rows], k, exact)
        I = ids[rows].astype(np.int64)
        I[rows < 0] = -1
        if len(lost):
            D[lost], I[lost] = for_some(scanner, lost).search(probes[lost], k, shortlist)
        return D, I

    def _candidates(
        self, z: FloatMatrix, near: FloatMatrix, probes: IdMatrix, k: int
    ) -> tuple[FloatMatrix, IdMatrix, FloatMatrix]:
        """Return the k nearest codes of queries z (nq, d) as float32 tells them.

        Returns:
            D (nq, k), ascending, and rows (nq, k), padded with +inf and -1; and how far D may be wrong, (nq, 1).
        """
        moved, nprobe = z - self.origin, probes.shape[1]
        D, labels = np.empty((len(z), k), np.float32), np.empty((len(z), k), np.int64)
        if (parameters := self._parameters.get(nprobe)) is None:
            parameters = self._parameters[nprobe] = faiss.SearchParametersIVF(nprobe=nprobe)
        arrays = map(faiss.swig_ptr, (np.ascontiguousarray(probes), np.ascontiguousarray(near), D, labels))
        self._faiss.search_preassigned_c(len(z), faiss.swig_ptr(moved), k, *arrays, True, parameters)
        rows: Ids = self.lists.offsets[labels >> 32] + (labels & 0xFFFFFFFF)
        if labels[:, -1].min(initial=0) < 0:
            D[labels < 0], rows[labels < 0] = -np.inf if self.ip else np.inf, -1
        if self.ip:
            D *= -2
        return D, rows, self._errors(moved, near[:, -1])

    def _errors(self, z: FloatMatrix, farthest: FloatMatrix) -> FloatMatrix:
        """Return how far rounding may have moved the distances of each query, (nq, 1).

        They are sums of the distance to a centroid, at most `farthest`, which has d terms, and of |w|^2 + 2 c.w - 2 q.w
        for m parts w of the decoded residual, which have d / m terms each.
        """
        reach = np.sqrt(np.einsum("ij,ij->i", z, z)) + self._longest
        few, many = self._errors_of_sums
        errors = few * self._radius * (2 * reach + self._radius) + TINY
        errors += many * (reach**2 if self.ip else np.minimum(farthest, reach**2))
        found: FloatMatrix = errors[:, None]
        return found


def for_some(scanner: Scanner, some: Ids) -> Scanner:
    """Return a scanner for some of the queries, (n,)."""
    all_of = scanner.originals
    originals = None if all_of is None else Originals(all_of.x[some], all_of.vectors, all_of.ip)
    return Scanner(scanner.lists, scanner.centroids, scanner.codec, scanner.z[some], scanner.ip, originals)


def settled(
    D: FloatMatrix, rows: IdMatrix, error: FloatMatrix, ids: Ids, k: int, exact: Exact, *, ordered: bool = True
) -> tuple[FloatMatrix, IdMatrix]:
    """Return the k nearest of the candidates of each query, in exact order: distances and rows, (n, k).

    Summed again is only where rounding may have changed the order, or much of the distance.

    Args:
        D, rows, ids: (n, c): distances, ascending; row numbers, -1 for none, and ids. The first two are written to.
        error: (n, 1) or (n, c), of the distances, at most.
        ordered: without it these are the k nearest, in any order.
    """
    doubt = error > VAGUE * np.abs(D) if ordered else np.zeros(D.shape, bool)
    close = (D - error)[:, 1:] < (D + error)[:, :-1]  # to the one before: too close to tell
    doubt[:, 1:] |= close
    doubt[:, :-1] |= close
    some = np.nonzero(doubt[:, :k].any(axis=1) if ordered else close[:, k - 1])[0]
    if len(some):
        doubt = doubt[some] & (rows[some] >= 0)
        queries, columns = doubt.nonzero()
        sums = D[some].astype(np.float64)
        sums[queries, columns] = exact(some[queries], rows[some[queries], columns])
        order = np.arange(len(some))[:, None], np.lexsort((ids[some], sums))
        D[some], rows[some] = sums[order], rows[some][order]
    return D[:, :k], rows[:, :k]


def summed(sums: Summed, rows: IdMatrix, wanted: Flags, d: int) -> tuple[FloatMatrix, FloatMatrix]:
    """Return the distances of queries to some rows (nq, n) where these are wanted (nq, n), else +inf; and their errors."""
    D, error = np.full(rows.shape, np.inf, np.float32), np.zeros(rows.shape, np.float32)

    def sum_up(part: slice) -> None:
        queries, columns = wanted[part].nonzero()
        queries = queries + part.start
        at = queries, columns
        D[at], error[at] = sums(queries, rows[at])

    in_threads(sum_up, cut(len(rows), CACHED // (rows.shape[1] * d)))
    return D, error


def by_codes(scanner: Scanner, queries: Ids, rows: Ids) -> tuple[Floats, Floats]:
    """Return the estimates (n,) for these queries and these rows as the scanner sums them, and their errors at most."""
    if scanner.ip:
        return rounded(scanner.exact(queries, rows))
    cells, every = scanner.lists.cells_of(rows), np.arange(len(rows))
    decoded = scanner.codec.decode(cells, scanner.lists.rows[rows])
    D = distances_to_pairs(scanner.z[queries] - scanner.centroids[cells], decoded, every, every)
    return D, scanner._errors(D)


def by_originals(originals: Originals, queries: Ids, rows: Ids) -> tuple[Floats, Floats]:
    """Return the distances (n,) of these queries to these originals, and their errors at most."""
    if originals.ip:
        return rounded(originals.exact(queries, rows))
    D = distances_to_pairs(originals.x, originals.vectors(rows), queries, np.arange(len(rows)))
    return D, rounding(D, originals.x.shape[1])


def quicker(pq: ProductQuantizer, probes: IdMatrix, lists: InvertedLists, shortlist: int) -> bool:
    """Return whether tables are quicker than matrix products for queries that visit the cells `probes` (nq, nprobe).

    They are not where they cannot be had: on Windows, where Faiss lacks these lists, and for lists made for one search.
    """
    if not len(lists.ids) or shortlist > MOST or lists.places is not None or not hasattr(faiss, "OnDiskInvertedLists"):
        return False
    share = (len(lists.offsets) - 1) / max(1, probes.size)  # that a query has in the decoding of a cell
    products = PER_CODE + PER_DIMENSION * pq.d + share * (PER_PIECE * pq.m + PER_NUMBER * pq.d)
    return share * FEW > 1 or PER_WORD * pq.m < products


def _cells(centroids: FloatMatrix, pq: ProductQuantizer, ip: bool) -> faiss.IndexIVFPQ:
    """Return a trained index without lists, its tables prepared where they are not too large."""
    index = trained(centroids, pq, ip)
    index.parallel_mode = 3  # threads share the queries
    if 4 * len(centroids) * pq.m * pq.ksub > TABLES:
        index.use_precomputed_table = -1
    index.precompute_table()
    if index.precomputed_table.size():  # then the centroids are in there
        index.quantizer.reset()
    return index


def _in_place(lists: InvertedLists) -> faiss.OnDiskInvertedLists:
    """Return lists that read the codes where they are."""
    there = faiss.OnDiskInvertedLists()
    there.nlist, there.code_size = len(lists.sizes), lists.rows.shape[1]
    there.prefetch_nthread = 0  # nothing is on a disk
    for start, size in zip((lists.offsets * there.code_size).tolist(), lists.sizes.tolist(), strict=False):
        one = faiss.OnDiskOneList()
        one.offset, one.size, one.capacity = start, size, size
        there.lists.push_back(one)
    there.ptr = faiss.swig_ptr(lists.rows.reshape(-1))
    return there
