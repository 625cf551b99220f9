"""What multi-level PQ is compared with: a scan of everything, and a scan of the nearest clusters, both uncompressed."""

from __future__ import annotations

from itertools import pairwise
from typing import Self

import numpy as np
import numpy.typing as npt

from mlpq import _check, visits
from mlpq._check import FloatMatrix, IdMatrix
from mlpq._objects import copied, shown
from mlpq._parallel import undisturbed
from mlpq.clustering import KMeans
from mlpq.distance import SPARE, batches, blocks, distances_to_pairs, nearest, refine, smallest, squared_l2
from mlpq.lists import Ids, InvertedLists, appended, kept_on_failure
from mlpq.storage import Memory
from mlpq.visits import Floats, Run

TILE = 1 << 14  # base vectors compared at a time


class ExactIndex:
    """Brute force: every query is compared with every vector; directly summed distances order the nearest.

    Args:
        d: dimension of the vectors.

    Example:
        >>> D, I = ExactIndex(2).add([[0, 0], [1, 1]]).search([[0.9, 1]], k=1)
        >>> I
        array([[1]])
    """

    def __init__(self, d: int) -> None:
        self.d = _check.integer(d, "d", 1)
        self.vectors = np.empty((0, self.d), np.float32)

    def __repr__(self) -> str:
        return shown(self, d=self.d, ntotal=self.ntotal)

    @property
    def ntotal(self) -> int:
        """Number of vectors added."""
        return len(self.vectors)

    def add(self, xb: npt.ArrayLike) -> Self:
        """Append a copy of xb (n, d); ids count on from `ntotal`.

        Raises:
            ValueError: wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        x = _check.rows(xb, "xb", self.d, least=0)

        def append() -> None:
            with kept_on_failure(self, "vectors"):
                self.vectors = appended(self.vectors, x)

        undisturbed(append)
        return self

    def search(self, xq: npt.ArrayLike, k: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k nearest vectors of each row of xq (nq, d).

        Returns:
            D (nq, k) float32 squared distances and I (nq, k) int64 ids, nearest first; padded with +inf and -1 when
            k > ntotal. Ties go to the lower id, unless more than eight others are level with the last.

        Raises:
            ValueError, TypeError: as in `add`; k < 1.
        """
        k = _check.integer(k, "k", 1)
        x = _check.matrix(xq, "xq", self.d, least=0)
        spare = min(k + SPARE, self.ntotal)
        D, I = np.empty((len(x), k), np.float32), np.empty((len(x), k), np.int64)
        for rows in blocks(len(x), max(TILE // 16, spare)):
            D[rows], I[rows] = refine(x[rows], self.vectors, self._candidates(x[rows], spare), k)
        return D, I

    def _candidates(self, x: FloatMatrix, k: int) -> IdMatrix:
        """Return the k nearest by matrix product, tile by tile of the base, keeping the best so far."""
        D, I = np.empty((len(x), 0), np.float32), np.empty((len(x), 0), np.int64)
        for start in range(0, self.ntotal, TILE):
            D_tile, I_tile = nearest(x, self.vectors[start : start + TILE], k)
            D, I = np.hstack([D, D_tile]), np.hstack([I, I_tile + start])
            D, columns = smallest(D, min(k, D.shape[1]))
            I = np.take_along_axis(I, columns, axis=1)
        return I

    def memory(self) -> Memory:
        """Return the bytes of every component, with the sum as `.total`."""
        return Memory.of({"originals": self.vectors})


class KMeansIndex:
    """k-means only: the vectors of the nprobe nearest clusters are scanned uncompressed (Faiss's IVF-Flat).

    Args:
        d: dimension of the vectors.
        n_clusters: number of clusters; each is one inverted list.
        niter: Lloyd iterations.
        seed: same seed, same machine: same index.

    Example:
        >>> x = np.random.default_rng(0).random((1000, 4))
        >>> D, I = KMeansIndex(4, n_clusters=10).train(x).add(x).search(x[:5], k=1, nprobe=2)
        >>> I.ravel()
        array([0, 1, 2, 3, 4])
    """

    def __init__(self, d: int, n_clusters: int = 100, *, niter: int = 20, seed: int = 0) -> None:
        self.clusters = KMeans(d, _check.integer(n_clusters, "n_clusters", 1), niter=niter, seed=seed)
        self.d = self.clusters.d
        self.lists = InvertedLists.empty(self.clusters.k, self.d, np.float32)

    def __repr__(self) -> str:
        counted = {"ntotal": self.ntotal} if self.clusters.is_trained else {"trained": False}
        return shown(self, d=self.d, n_clusters=self.clusters.k, **counted)

    def __copy__(self) -> Self:
        return copied(self, "clusters", "lists")

    @property
    def ntotal(self) -> int:
        """Number of vectors added."""
        return len(self.lists.ids)

    def train(self, xt: npt.ArrayLike, *, progress: bool = False) -> Self:
        """Learn the clusters from xt (n, d); vectors added before are dropped. `progress` shows a bar.

        Raises:
            ValueError: fewer points than clusters, wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        self.clusters.train(xt, progress=progress)
        self.lists = InvertedLists.empty(self.clusters.k, self.d, np.float32)
        return self

    def add(self, xb: npt.ArrayLike) -> Self:
        """Append a copy of xb (n, d); ids count on from `ntotal`.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.clusters.is_trained, "KMeansIndex", "add")
        x = _check.rows(xb, "xb", self.d, least=0)
        cells = self.clusters.assign(x)
        undisturbed(lambda: self.lists.extend(cells, x))
        return self

    def search(self, xq: npt.ArrayLike, k: int, *, nprobe: int = 1) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k nearest vectors of each row of xq (nq, d) among the nprobe nearest clusters.

        Returns:
            D (nq, k) float32 squared distances and I (nq, k) int64 ids, nearest first; padded with +inf and -1 when
            fewer than k are found. nprobe above n_clusters counts as n_clusters.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`; k < 1, nprobe < 1.
        """
        _check.trained(self.clusters.is_trained, "KMeansIndex", "search")
        k = _check.integer(k, "k", 1)
        x = _check.matrix(xq, "xq", self.d, least=0)
        nprobe, shortlist = min(_check.integer(nprobe, "nprobe", 1), self.clusters.k), k + SPARE
        D, I = np.empty((len(x), k), np.float32), np.empty((len(x), k), np.int64)

        for rows in batches(len(x), visits.entries(self.lists, nprobe, shortlist, self.d)):
            D[rows], I[rows] = self._search(x[rows], self.clusters.probe(x[rows], nprobe), k, shortlist)
        return D, I

    def _search(self, x: FloatMatrix, probes: IdMatrix, k: int, shortlist: int) -> tuple[FloatMatrix, IdMatrix]:
        lists = self.lists

        def distances(run: Run) -> list[FloatMatrix]:
            queries = np.split(run.queries, np.cumsum(run.counts)[:-1])
            vectors = [lists.rows[start:stop] for start, stop in pairwise(run.offsets.tolist())]
            return [squared_l2(x[some], y) for some, y in zip(queries, vectors, strict=True)]

        def rescore(run: Run, pairs: Ids, rows: Ids) -> Floats:
            return distances_to_pairs(x, lists.rows, run.queries[pairs], rows)

        return visits.search(lists, probes, k, shortlist, distances, rescore, self.d)

    def memory(self) -> Memory:
        """Return the bytes of every component, with the sum as `.total`."""
        lists = self.lists
        return Memory.of(
            {
                "originals": lists.rows,
                "ids": lists.ids,
                "list_offsets": lists.offsets,
                "centroids": self.clusters.centroids,
            }
        )
