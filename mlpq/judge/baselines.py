"""What multi-level PQ is compared with: a scan of everything, and a scan of the nearest clusters, both uncompressed."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import FloatMatrix, IdMatrix, Metric, Rows
from mlpq._objects import Memory, copied, shown
from mlpq._parallel import batches, undisturbed
from mlpq.clustering import KMeans
from mlpq.search import pieces, visits
from mlpq.search.bounds import Factor, left_factor, right_factor
from mlpq.search.distance import balanced
from mlpq.search.lists import InvertedLists
from mlpq.search.pieces import Run
from mlpq.search.visits import Originals


class Vectors(Originals):
    """Compares queries x (nq, d) with the vectors in the lists of an index."""

    def __init__(self, x: FloatMatrix, index: KMeansIndex) -> None:
        self.rows, self.centroids = index.lists.rows, index.clusters.centroids
        super().__init__(x, self.rows.__getitem__, index.metric == "ip")

    def factors(self, run: Run) -> tuple[Factor, Factor]:
        rows = self.rows[run.offsets[0] : run.offsets[-1]]
        origins = self.centroids[np.repeat(run.owners, run.sizes)]
        right = right_factor(rows, origins, norms=0 if self.ip else None)
        return left_factor(self.x[run.queries], self.centroids[run.cells], ip=self.ip), right


class KMeansIndex:
    """k-means only: the vectors of the nprobe nearest clusters are scanned uncompressed (Faiss's IVF-Flat).

    Args:
        d: dimension of the vectors.
        n_clusters: number of clusters; each is one inverted list.
        niter: Lloyd iterations.
        seed: same seed, same machine: same index.
        metric: as in `ExactIndex`.

    Example:
        >>> x = np.random.default_rng(0).random((1000, 4))
        >>> D, I = KMeansIndex(4, n_clusters=10).train(x).add(x).search(x[:5], k=1, nprobe=2)
        >>> I.ravel()
        array([0, 1, 2, 3, 4])
    """

    def __init__(self, d: int, n_clusters: int = 100, *, niter: int = 20, seed: int = 0, metric: Metric = "l2") -> None:
        self.metric = _check.one_of(metric, "metric", _check.METRICS)
        self.clusters = KMeans(d, _check.integer(n_clusters, "n_clusters", 1), niter=niter, seed=seed)
        self.d = self.clusters.d
        self.lists = InvertedLists.empty(self.clusters.k, self.d, np.float32)

    def __repr__(self) -> str:
        counted = {"ntotal": self.ntotal} if self.clusters.is_trained else {"trained": False}
        metric = None if self.metric == "l2" else self.metric
        return shown(self, d=self.d, n_clusters=self.clusters.k, metric=metric, **counted)

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
        self.clusters.train(_check.rows(xt, "xt", self.d, metric=self.metric), progress=progress)
        self.lists = InvertedLists.empty(self.clusters.k, self.d, np.float32)
        return self

    def add(self, xb: npt.ArrayLike) -> Self:
        """Append a copy of xb (n, d); ids count on from `ntotal`.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.clusters.is_trained, "KMeansIndex", "add")
        x = _check.rows(xb, "xb", self.d, least=0, metric=self.metric)
        cells = self.clusters.assign(x)
        undisturbed(lambda: self.lists.extend(cells, x, self.ntotal + np.arange(len(x))))
        return self

    def search(self, xq: npt.ArrayLike, k: int, *, nprobe: int = 1) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k nearest vectors of each row of xq (nq, d) among the nprobe nearest clusters.

        Returns:
            D (nq, k) float32 squared distances and I (nq, k) int64 ids, nearest first; padded with +inf and -1 when
            fewer than k are found. nprobe above n_clusters counts as n_clusters. For "ip" as in `ExactIndex`.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`; k < 1, nprobe < 1.
        """
        _check.trained(self.clusters.is_trained, "KMeansIndex", "search")
        k = _check.integer(k, "k", 1)
        x, ip = _check.matrix(xq, "xq", self.d, least=0, metric=self.metric), self.metric == "ip"
        x, factors = balanced(x, self.clusters.centroids, ip)
        nprobe = min(_check.integer(nprobe, "nprobe", 1), self.clusters.k)
        D, I = np.empty((len(x), k), np.float32), np.empty((len(x), k), np.int64)
        for rows in batches(len(x), pieces.entries(self.lists, nprobe, k, self.d)):
            _, probes = self.clusters._probe(Rows(x[rows]), nprobe, ip=ip)
            D[rows], I[rows] = visits.search(self.lists, probes, k, k, Vectors(x[rows], self), self.d)
        return D * factors, I

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
