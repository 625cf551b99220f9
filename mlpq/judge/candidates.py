"""Which indexes are worth building: how many cells, and by bytes and by the order that codes keep, which codes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import FloatMatrix, IdMatrix, Rows
from mlpq._parallel import one_thread
from mlpq.clustering import KMeans, sample
from mlpq.codecs.codebooks import CodebookDtype, Owner
from mlpq.codecs.pq import Array3, ProductQuantizer
from mlpq.codecs.rotation import deal
from mlpq.data.datasets import Dataset
from mlpq.judge.tuning import predict_memory
from mlpq.search.lists import in_bytes

Setting = dict[str, Any]  # keyword arguments of `MultiLevelPQ`

ROWS = 100_000  # of the base, for the cells
POINTS = 10_000  # of them, for axes and codebooks
QUERIES = 1000
JUDGES = 128  # of the queries: their neighbours are put in order by codes
JUDGED = 5_000_000  # numbers in these neighbours, at most
LEADING = 64  # principal components in which cells are counted
NITER = 6  # Lloyd iterations of cells that only count
LEAST = 39  # training points a cell or a codeword should have, as Faiss has it
PROBE = 10_000  # multiplications that take as long as what each further cell costs beside its vectors
NEARLY = 1.1  # so much more work for fewer cells, which are built sooner
SHARE = 1 / 16  # of the budget, for cells
DIMS = (1, 2, 3, 4, 6, 8)  # of a sub-vector, after PCA


class Guide(NamedTuple):
    """What a sample of the base tells.

    Attributes:
        n_inner: the number of cells that takes the least work.
        nprobe: how many of them hold the wanted share of the true neighbours.
        residuals: (at most `POINTS`, d) float32, of vectors to the means of their cells.
        near: (at most `JUDGES`, neighbours, d) float32, of the true neighbours of some queries.
        asked: like near, of these queries to the means of the same cells.
        centroids: like near, these means.
        axes: (d, d) float32, principal components in columns, largest variance first.
        variances: (d,) float32.
        ip: whether the largest inner products are wanted.
    """

    n_inner: int
    nprobe: int
    residuals: FloatMatrix
    near: Array3
    asked: Array3
    centroids: Array3
    axes: FloatMatrix
    variances: npt.NDArray[np.float32]
    ip: bool


class Kind(NamedTuple):
    """One question to the budget: the longest codes are wanted for each kind."""

    codebooks: Owner
    nbits: int
    keep_originals: bool


def guide(ds: Dataset, recall: float, k: int, n_inner: int | None) -> Guide:
    """Count, for some numbers of cells, what a search must scan to meet the wanted share of true neighbours.

    Half of what may be missed is allowed to the cells, the rest to the codes. The smallest number of cells is taken whose
    work is nearly the least.
    """
    counts = cell_counts(len(ds.xb)) if n_inner is None else [n_inner]
    size = max(ROWS, 64 * counts[-1])
    x = ds.xb[sample(len(ds.xb), size, 0)] if len(ds.xb) > size else ds.xb
    few = x[sample(len(x), POINTS, 0)]
    ip = ds.metric == "ip"  # inner products are taken from the origin
    middle = np.zeros(ds.d, np.float32) if ip else few.mean(axis=0, dtype=np.float64).astype(np.float32)
    products = (few - middle).T @ (few - middle)
    with one_thread():
        variances, directions = np.linalg.eigh(products)
    axes = np.ascontiguousarray(directions[:, ::-1])

    def reduced(y: FloatMatrix) -> FloatMatrix:
        z: FloatMatrix = (y - middle) @ axes[:, :LEADING]
        return z

    base, xq, true = map(reduced, (x, ds.xq[:QUERIES], ds.xb[ds.gt[:QUERIES, :k].ravel()]))
    known = ds.gt[:QUERIES, :k] >= 0  # -1 stands for none
    tried = []
    for count in counts:
        km = KMeans(base.shape[1], count, niter=NITER).train(Rows(base[sample(len(base), 64 * count, 0)]))
        cells, probes = km.assign(Rows(base)), km._probe(Rows(xq), count, ip=ip)[1]
        ranks = np.sort(_ranks(probes, km.assign(Rows(true)).reshape(known.shape))[known])
        start, enough = (int(ranks[round(share * (len(ranks) - 1))]) + 1 for share in (recall, (1 + recall) / 2))
        sizes = np.bincount(cells, minlength=count) * (len(ds.xb) / len(base))
        scanned = sizes[probes[:, :enough]].sum(axis=1).mean()
        tried.append(((scanned + count) * ds.d + enough * PROBE, start, cells, km))
    least = min(work for work, *_ in tried)
    _, start, cells, km = next(one for one in tried if one[0] <= NEARLY * least)
    means = _means(x, cells, km.k)
    rows = sample(len(x), POINTS, 0)
    judges = max(1, min(JUDGES, JUDGED // (ds.gt.shape[1] * ds.d)))
    near = ds.xb[np.maximum(ds.gt[:judges], 0)]
    centroids = means[km.assign(Rows(reduced(near.reshape(-1, ds.d))))].reshape(near.shape)
    near -= centroids
    residuals, asked = x[rows] - means[cells[rows]], ds.xq[:judges, None] - centroids
    return Guide(km.k, start, residuals, near, asked, centroids, axes, np.maximum(variances[::-1], 0), ip)


def cell_counts(n: int) -> list[int]:
    """Return powers of two about the square root of n, from half to four times as many, that n vectors can train."""
    most = max(1, n // LEAST).bit_length() - 1
    root = round(np.log2(n) / 2)
    return [2**e for e in sorted({max(0, min(most, root + step)) for step in (-1, 0, 1, 2)})]


def _ranks(probes: IdMatrix, cells: IdMatrix) -> IdMatrix:
    """Return at which place among its query's probes (nq, n_cells) each of the cells (nq, k) stands."""
    places = np.empty_like(probes)
    np.put_along_axis(places, probes, np.arange(probes.shape[1])[None], axis=1)
    return np.take_along_axis(places, cells, axis=1)


def _means(x: FloatMatrix, cells: npt.NDArray[np.int64], count: int) -> FloatMatrix:
    """Return the mean of each cell's rows of x (n, d), (count, d); of an empty one, 0."""
    order, ends = np.argsort(cells, kind="stable"), np.cumsum(np.bincount(cells, minlength=count))
    means = np.zeros((count, x.shape[1]), np.float32)
    for c, rows in enumerate(np.split(order, ends[:-1])):
        if len(rows):
            means[c] = x[rows].mean(axis=0, dtype=np.float64)
    return means


def kinds(ds: Dataset, owners: Iterable[Owner], nbits: Iterable[int]) -> list[Kind]:
    """Return what to try, without an nbits whose codebooks would need more vectors than there are."""
    n = len(ds.xb)
    wanted = [_check.integer(bits, "nbits", 1, _check.MAX_NBITS) for bits in nbits]
    trained = [bits for bits in wanted if 2**bits <= n]
    if not trained:
        raise ValueError(f"nbits must hold one whose 2**nbits is at most the number of vectors, {n}")
    return [Kind(owner, bits, keep) for owner in owners for bits in trained for keep in (False, True)]


class Budget:
    """Fits settings into bytes.

    Args:
        ds: the data set.
        bytes_per_vector: for everything that the index holds.
        n_inner: the most cells to try; fewer where they would take more than a sixteenth of the budget.
        n_outer: of so many outer clusters, or None for the root of the cells.
        fixed: try n_inner cells only.
        codebook_dtype: of all codebooks.
    """

    def __init__(
        self,
        ds: Dataset,
        bytes_per_vector: float,
        n_inner: int,
        n_outer: int | None,
        *,
        fixed: bool,
        codebook_dtype: CodebookDtype,
    ) -> None:
        self.n, self.d, self.total = len(ds.xb), ds.d, bytes_per_vector * len(ds.xb)
        self.n_inner, self.n_outer, self.fixed, self.codebook_dtype = n_inner, n_outer, fixed, codebook_dtype
        self.metric = ds.metric
        self.original = ds.d if in_bytes(Rows(ds.xb)) else 4 * ds.d

    def setting(self, n_inner: int, kind: Kind, m: int, pca_dim: int | None) -> Setting:
        n_outer = self.n_outer or round(n_inner**0.5)
        return {
            "n_inner": n_inner,
            "n_outer": n_outer if self.fixed else min(n_outer, n_inner),
            "pca_dim": pca_dim,
            "m": m,
            "nbits": kind.nbits,
            "codebooks": kind.codebooks,
            "codebook_dtype": self.codebook_dtype,
            "keep_originals": kind.keep_originals,
            "metric": self.metric,
        }

    def bytes(self, setting: Setting) -> int:
        """Return what an index with this setting holds: originals in bytes where the vectors are whole numbers of a byte."""
        sized = {name: value for name, value in setting.items() if name != "metric"}
        without = predict_memory(self.n, self.d, **sized | {"keep_originals": False}).total
        return without + (self.n * self.original if setting["keep_originals"] else 0)

    def longest(self, kind: Kind, family: Sequence[tuple[int, int | None]]) -> Setting | None:
        """Return the last (m, pca_dim) of a family, ascending in bytes, that fits, with the most cells that leave room."""
        n_inner = self.n_inner
        while True:

            def needed(pair: tuple[int, int | None], cells: int = n_inner) -> int:
                return self.bytes(self.setting(cells, kind, *pair))

            fits = bisect_right(family, self.total, key=needed)
            if fits and (self.fixed or needed(family[fits - 1]) - needed(family[fits - 1], 1) <= SHARE * self.total):
                return self.setting(n_inner, kind, *family[fits - 1])
            if self.fixed or n_inner == 1:
                return None
            n_inner //= 2

    def fitting(self, wanted: Iterable[Kind], pca_dims: Sequence[int | None] | None) -> dict[Kind, list[Setting]]:
        """Return, for each kind of which anything fits, the settings with the longest codes; raise if nothing fits."""
        wanted, all_families = list(wanted), [family for family in families(self.d, pca_dims) if family]
        found = {kind: [s for family in all_families if (s := self.longest(kind, family))] for kind in wanted}
        found = {kind: settings for kind, settings in found.items() if settings}
        if not found:
            cells = self.n_inner if self.fixed else 1
            least = min(self.bytes(self.setting(cells, kind, *f[0])) for kind in wanted for f in all_families) / self.n
            raise ValueError(
                f"bytes_per_vector must be at least {least:.1f} for {self.n} vectors of d={self.d}; "
                f"got {self.total / self.n:g}"
            )
        return found


def families(d: int, pca_dims: Sequence[int | None] | None) -> Iterator[list[tuple[int, int | None]]]:
    """Yield families of (m, pca_dim), each ascending in bytes: those with sub-vectors of one dimension apart.

    All dimensions, or those named, cut into m parts; unless they are named, also m sub-vectors of as many of the
    principal components as they need.
    """
    for dim in (None,) if pca_dims is None else pca_dims:
        dim = None if dim is None else _check.integer(dim, "pca_dims", 1, d)
        whole = dim or d
        yield [(m, dim) for m in _check.valid_m(whole)[:-1]]
        yield [(whole, dim)]
    for dsub in DIMS if pca_dims is None else ():
        yield [(m, m * dsub) for m in range(1, d // dsub + 1)]


def is_scalar(setting: Setting, d: int) -> bool:
    """Return whether each sub-vector has a single dimension."""
    return bool(setting["m"] == (setting["pca_dim"] or d))


def by_order(settings: Sequence[Setting], known: Guide, k: int) -> list[Setting]:
    """Sort settings by how well their codes keep the order of true neighbours, best first."""
    return sorted(settings, key=lambda s: -_kept(s, known, k)) if len(settings) > 1 else list(settings)


def _kept(setting: Setting, known: Guide, k: int) -> float:
    """Return the share of the k nearest that codes leave among the first k of the neighbours, with one codebook for all.

    What disturbs the order counts, and an error along an axis in which neighbours hardly differ does not: of two errors
    of equal size, that of axes left out by PCA disturbs less than that of codewords.
    """
    dim, m = setting["pca_dim"], setting["m"]
    axes = None if dim is None else known.axes[:, deal(known.variances[:dim], m)]
    parts = known.residuals, known.near, known.asked, known.centroids
    z, near, asked, centroids = (r if axes is None else r @ axes for r in parts)
    nbits = min(setting["nbits"], len(z).bit_length() - 1)  # as many as the sample can train
    pq = ProductQuantizer(z.shape[1], m, nbits).train(Rows(z))
    decoded = pq.decode(pq.encode(Rows(near.reshape(-1, z.shape[1])))).reshape(near.shape)
    if known.ip:
        D = -((asked + centroids) * (decoded + centroids)).sum(axis=2)
    else:
        D = np.square(decoded - asked).sum(axis=2)
    g = D.shape[1]
    first = min(k, max(1, g // 2))
    order = np.argsort(D[:, ::-1], axis=1, kind="stable")  # of equal distances, the farther neighbour first
    return float((order[:, :first] >= g - first).mean())
