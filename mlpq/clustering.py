"""k-means on one level and on two: Faiss trains, the functions here assign and probe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import faiss
import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from mlpq import _check
from mlpq._check import FloatMatrix, IdMatrix, Rows
from mlpq._objects import shown
from mlpq._parallel import blocks
from mlpq.search.bounds import left_factor, middle, moved, offset, right_factor, within_reach
from mlpq.search.distance import k_nearest, nearest

MAX_SEED = 2**31 - 1
POINTS_PER_CENTROID = (
    256  # beyond this many training points per centroid, k-means works on a seeded sample, as Faiss does
)


def sample(n: int, size: int, seed: int) -> npt.NDArray[np.int64]:
    """Return min(n, size) distinct row numbers below n, ascending."""
    if n <= size:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))


def faiss_sample(n: int, size: int, seed: int) -> npt.NDArray[np.int64] | slice:
    """Return the rows on which Faiss's k-means would work, in its order; sampled beforehand, nothing else is held."""
    if n <= size:
        return slice(None)
    order = np.empty(n, np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), n, seed)
    return order[:size].astype(np.int64)


class Iteration(NamedTuple):
    """What one Lloyd iteration reports.

    Attributes:
        inertia: sum of squared distances to the centroids that the iteration began with.
        imbalance: k * sum(n_i^2) / n^2 over the cluster sizes n_i: 1 when all are equal.
        n_split: empty clusters re-seeded by splitting a large one.
    """

    inertia: float
    imbalance: float
    n_split: int


class KMeans:
    """Lloyd's k-means (Lloyd 1982), trained by `faiss.Kmeans`.

    Args:
        d: dimension of the vectors.
        k: number of clusters.
        niter: Lloyd iterations.
        seed: same seed, same machine: same centroids.

    Attributes:
        centroids: (k, d) float32, after `train`.
        history: one `Iteration` per Lloyd iteration, after `train`, over the points that it used: beyond 256 per cluster
            those are a sample, as in Faiss.

    Example:
        >>> km = KMeans(2, 3).train(np.random.default_rng(0).random((100, 2)))
        >>> km.centroids.shape
        (3, 2)
    """

    def __init__(self, d: int, k: int, *, niter: int = 20, seed: int = 0) -> None:
        self.d = _check.integer(d, "d", 1)
        self.k = _check.integer(k, "k", 1)
        self.niter = _check.integer(niter, "niter", 1)
        self.seed = _check.integer(seed, "seed", 0, MAX_SEED)
        self.centroids: FloatMatrix = np.empty((0, self.d), np.float32)
        self.history: list[Iteration] = []

    def __repr__(self) -> str:
        return shown(self, d=self.d, k=self.k, trained=self.is_trained)

    @property
    def is_trained(self) -> bool:
        return len(self.centroids) > 0

    def train(self, xt: npt.ArrayLike, *, progress: bool = False) -> Self:
        """Find the centroids of xt (n, d). `progress` shows a bar on stderr.

        All of xt is checked; beyond 256 rows for each cluster, a sample is used, and no more is converted to float32.

        Raises:
            ValueError: fewer points than clusters, wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        x = _check.rows(xt, "xt", self.d)
        with tqdm(total=self.niter, desc=f"k-means, {self.k} clusters", disable=not progress) as bar:
            self._fit(x, bar.update)
        return self

    def _fit(self, x: Rows, step: Callable[[], object]) -> None:
        if len(x) < self.k:
            raise ValueError(f"xt must hold at least as many points as clusters ({self.k}); got {len(x)}")
        size = self.k * POINTS_PER_CENTROID
        xt = x[sample(len(x), size, self.seed)] if len(x) > size else x[:]
        # One iteration per call, so that it can be watched and interrupted. Without the two bounds Faiss prints a
        # warning below 39 points per centroid, and draws a sample of its own.
        faiss_kmeans = faiss.Kmeans(
            self.d, self.k, niter=1, seed=self.seed, min_points_per_centroid=1, max_points_per_centroid=len(xt)
        )
        origin, history = offset(xt), []
        xt = moved(xt, origin)
        centroids: Any = None
        for _ in range(self.niter):
            faiss_kmeans.train(xt, init_centroids=centroids)
            centroids = faiss_kmeans.centroids
            stats = faiss_kmeans.iteration_stats[-1]
            history.append(Iteration(stats["obj"], stats["imbalance_factor"], stats["nsplit"]))
            step()
        self.centroids, self.history = centroids.reshape(self.k, self.d) + origin, history

    def assign(self, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the nearest centroid of each row of x (n, d), shape (n,).

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        return self.probe(x, 1)[:, 0]

    def probe(self, xq: npt.ArrayLike, nprobe: int) -> IdMatrix:
        """Return the nprobe nearest centroids of each row of xq (nq, d), nearest first, shape (nq, min(nprobe, k)).

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`; nprobe < 1.
        """
        _check.trained(self.is_trained, type(self).__name__, "probe or assign")
        nprobe = _check.integer(nprobe, "nprobe", 1)
        return self._probe(_check.rows(xq, "xq", self.d, least=0), nprobe, ip=False)[1]

    def _probe(self, x: Rows, nprobe: int, *, ip: bool) -> tuple[FloatMatrix, IdMatrix]:
        """Return distances to the nprobe nearest centroids, or with `ip` to those of the largest inner products, and which."""
        D, I = zip(*(nearest(x[part], self.centroids, nprobe, ip=ip) for part in x.parts()), strict=True)
        return np.concatenate(D), np.concatenate(I)


class TwoLevelKMeans:
    """Clusters of clusters: n_inner fine cells, and n_outer coarse clusters of their centroids.

    The second level lets a query skip whole regions: with `n_outer_probe`, distances are computed only to the inner
    centroids of the nearest outer clusters (the hierarchical k-means of Nistér & Stewénius 2006, on two levels,
    built from the fine level up).

    Args:
        d: dimension of the vectors.
        n_inner: number of inner (fine) cells.
        n_outer: number of outer (coarse) clusters, at most n_inner.
        niter: Lloyd iterations on each level.
        seed: same seed, same machine: same result.

    Attributes:
        inner, outer: the two `KMeans`.
        inner_to_outer: (n_inner,) int64, the outer cluster of each inner cell, after `train`.

    Example:
        >>> km = TwoLevelKMeans(2, 8, 3).train(np.random.default_rng(0).random((100, 2)))
        >>> km.probe([[0.5, 0.5]], nprobe=2).shape
        (1, 2)
    """

    def __init__(self, d: int, n_inner: int = 100, n_outer: int = 10, *, niter: int = 20, seed: int = 0) -> None:
        self.n_inner = _check.integer(n_inner, "n_inner", 1)
        self.n_outer = _check.integer(n_outer, "n_outer", 1)
        if self.n_outer > self.n_inner:
            raise ValueError(f"n_outer must be at most n_inner={self.n_inner}; got {self.n_outer}")
        self.inner = KMeans(d, self.n_inner, niter=niter, seed=seed)
        self.outer = KMeans(d, self.n_outer, niter=niter, seed=seed)
        self.d = self.inner.d
        self.inner_to_outer: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def __repr__(self) -> str:
        return shown(self, d=self.d, n_inner=self.n_inner, n_outer=self.n_outer, trained=self.is_trained)

    @property
    def inner_centroids(self) -> FloatMatrix:
        """(n_inner, d) float32."""
        return self.inner.centroids

    @property
    def outer_centroids(self) -> FloatMatrix:
        """(n_outer, d) float32."""
        return self.outer.centroids

    @property
    def is_trained(self) -> bool:
        return len(self.inner_to_outer) > 0

    def train(self, xt: npt.ArrayLike, *, progress: bool = False) -> Self:
        """Cluster xt (n, d), then its inner centroids. `progress` shows one bar for both levels.

        Raises:
            ValueError: fewer points than n_inner, wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        x = _check.rows(xt, "xt", self.d)
        with tqdm(total=2 * self.inner.niter, desc="two-level k-means", disable=not progress) as bar:
            self._fit(x, bar.update)
        return self

    def _fit(self, x: Rows, step: Callable[[], object]) -> None:
        # New objects take the places of the old ones at the end, so that an interrupted training changes nothing.
        inner = KMeans(self.d, self.n_inner, niter=self.inner.niter, seed=self.inner.seed)
        outer = KMeans(self.d, self.n_outer, niter=self.outer.niter, seed=self.outer.seed)
        inner._fit(x, step)
        outer._fit(Rows(inner.centroids), step)
        self.inner, self.outer, self.inner_to_outer = inner, outer, outer.assign(Rows(inner.centroids))

    def assign(self, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the nearest inner cell of each row of x (n, d), shape (n,).

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        return self.inner.assign(x)

    def probe(self, xq: npt.ArrayLike, nprobe: int, n_outer_probe: int | None = None) -> IdMatrix:
        """Return the nprobe nearest inner cells of each row of xq (nq, d), nearest first.

        `n_outer_probe` spares comparisons; it makes a batch faster only where there are thousands of inner cells.

        Args:
            nprobe: cells per query; more than n_inner counts as n_inner.
            n_outer_probe: consider only the cells of this many nearest outer clusters; None considers all.

        Returns:
            (nq, min(nprobe, n_inner)) int64, padded with -1 where the outer clusters hold fewer cells.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`; nprobe < 1, n_outer_probe < 1.
        """
        _check.trained(self.is_trained, type(self).__name__, "probe or assign")
        nprobe = min(_check.integer(nprobe, "nprobe", 1), self.n_inner)
        return self._probe(_check.rows(xq, "xq", self.d, least=0), nprobe, n_outer_probe, ip=False)[1]

    def _probe(self, x: Rows, nprobe: int, n_outer_probe: int | None, *, ip: bool) -> tuple[FloatMatrix, IdMatrix]:
        """Return distances to the nprobe nearest inner cells, or with `ip` to those of the largest inner products, and which."""
        if n_outer_probe is None:
            return self.inner._probe(x, nprobe, ip=ip)
        n_outer_probe = _check.integer(n_outer_probe, "n_outer_probe", 1)
        parts = blocks(len(x), self.n_inner) or [slice(0)]
        D, I = zip(*(self._probe_outer(x[rows], nprobe, n_outer_probe, ip) for rows in parts), strict=True)
        return np.concatenate(D), np.concatenate(I)

    def _probe_outer(self, x: FloatMatrix, nprobe: int, n_outer_probe: int, ip: bool) -> tuple[FloatMatrix, IdMatrix]:
        _, near = nearest(x, self.outer_centroids, n_outer_probe, ip=ip)
        origin = np.zeros(self.d, np.float32) if ip else middle(self.inner_centroids)
        left = left_factor(x, origin, ip=ip)
        right = right_factor(self.inner_centroids, origin, norms=0 if ip else None)
        L = np.full((len(x), self.n_inner), np.inf, np.float32)
        for outer in range(self.n_outer):  # queries grouped by outer cluster: one matrix product each
            rows = np.flatnonzero((near == outer).any(axis=1))
            cells = np.flatnonzero(self.inner_to_outer == outer)
            L[np.ix_(rows, cells)] = left.rows[rows] @ right.rows[cells].T
        limit = np.full(len(x), np.finfo(np.float32).max, np.float32)
        pairs = within_reach(L, left.allowance, right.allowance, limit, nprobe, self.d)
        return k_nearest(x, self.inner_centroids, *pairs, nprobe, ip=ip)
