"""The multi-level index: residual product quantization inside a two-level hierarchy of cells.

IVFADC (Jégou, Douze & Schmid 2011, section IV) with one codebook per inner cell, per outer cluster, or for all: the
locally optimized idea of Kalantidis & Avrithis (2014), without their rotations.
"""

from __future__ import annotations

import os
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from mlpq import _check, storage
from mlpq._check import Array, FloatMatrix, IdMatrix
from mlpq._parallel import in_threads
from mlpq.clustering import POINTS_PER_CENTROID, TwoLevelKMeans, sample
from mlpq.distance import blocks, refine
from mlpq.lists import InvertedLists
from mlpq.pq import ProductQuantizer, unpack
from mlpq.storage import Memory

Owner = Literal["inner", "outer", "global"]
Codebooks = npt.NDArray[np.float32]  # (n_codebooks, m, 2**nbits, d // m)
Key = tuple[Owner, int]  # a codebook's owner: ("inner", cell), ("outer", cluster) or ("global", 0)


def checked_owner(codebooks: Owner) -> Owner:
    """Return `codebooks` if it names an owner; raise `ValueError` otherwise."""
    if codebooks not in get_args(Owner):
        raise ValueError(f"codebooks must be one of {', '.join(map(repr, get_args(Owner)))}; got {codebooks!r}")
    return codebooks


class MultiLevelPQ:
    """Search by compressed residuals: outer clusters, then inner cells, then codes.

    Residuals are taken to the inner centroid. `codebooks` says who owns a codebook: each inner cell, each outer
    cluster, or all together. An owner with fewer than 2**nbits training residuals borrows: an inner cell from its
    outer cluster, that one from the global codebook.

    Args:
        d: dimension of the vectors.
        n_inner: number of inner cells; each is one inverted list.
        n_outer: number of outer clusters, at most n_inner.
        m: number of sub-vectors; divides d.
        nbits: bits per sub-code, 1 to 16.
        codebooks: "inner", "outer" or "global".
        niter: Lloyd iterations of the two clusterings.
        seed: same seed, same machine: same index.
        keep_originals: keep the added vectors in float32, which `rerank` needs; `memory()` counts them.

    Attributes:
        clusters: the `TwoLevelKMeans`.
        quantizers: one trained `ProductQuantizer` per codebook owner.
        codebook_of_cell: (n_inner,) int64, which of them encodes each inner cell.
        lists: the `InvertedLists` with the codes.

    Example:
        >>> x = np.random.default_rng(0).random((2000, 16))
        >>> ix = MultiLevelPQ(16, n_inner=4, n_outer=2, m=4, nbits=4).train(x).add(x)
        >>> D, I = ix.search(x[:5], k=3, nprobe=2)
        >>> I.shape
        (5, 3)
    """

    def __init__(
        self,
        d: int,
        n_inner: int = 100,
        n_outer: int = 10,
        *,
        m: int = 8,
        nbits: int = 8,
        codebooks: Owner = "inner",
        niter: int = 20,
        seed: int = 0,
        keep_originals: bool = False,
    ) -> None:
        self.codebooks = checked_owner(codebooks)
        self.clusters = TwoLevelKMeans(d, n_inner, n_outer, niter=niter, seed=seed)
        pq = ProductQuantizer(d, m, nbits, seed=seed)
        self.d, self.m, self.nbits, self.ksub, self.code_size = pq.d, pq.m, pq.nbits, pq.ksub, pq.code_size
        self.niter, self.seed, self.keep_originals = self.clusters.inner.niter, pq.seed, bool(keep_originals)
        no_codebooks = np.empty((0, self.m, self.ksub, pq.dsub), np.float32)
        self._reset(self.clusters, no_codebooks, np.empty(0, np.int64))

    def _reset(self, clusters: TwoLevelKMeans, codebooks: Codebooks, codebook_of_cell: npt.NDArray[np.int64]) -> None:
        """Take over what training found, with nothing added yet."""
        self.clusters, self._codebooks, self.codebook_of_cell = clusters, codebooks, codebook_of_cell
        self.quantizers: list[ProductQuantizer] = [ProductQuantizer.from_codebooks(books) for books in codebooks]
        self.lists = InvertedLists.empty(clusters.n_inner, self.code_size, np.uint8)
        self.originals = np.empty((0, self.d), np.float32)

    @property
    def is_trained(self) -> bool:
        return len(self.quantizers) > 0

    @property
    def ntotal(self) -> int:
        """Number of vectors added."""
        return len(self.lists.ids)

    # ---- train -------------------------------------------------------------------------------------------------

    def train(self, xt: npt.ArrayLike, *, progress: bool = False) -> Self:
        """Learn cells and codebooks from xt (n, d); vectors added before are dropped. `progress` shows one bar.

        Raises:
            ValueError: fewer points than n_inner or than 2**nbits, wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        x = _check.matrix(xt, "xt", self.d)
        if len(x) < self.ksub:
            raise ValueError(
                f"xt must hold at least 2**nbits = {self.ksub} points for nbits={self.nbits}; got {len(x)}"
            )
        old = self.clusters
        clusters = TwoLevelKMeans(self.d, old.n_inner, old.n_outer, niter=self.niter, seed=self.seed)
        with tqdm(total=2 * self.niter, desc="cells", disable=not progress) as bar:
            clusters._fit(x, bar.update)
            cells = clusters.assign(x)
            members = self._members(cells, clusters.inner_to_outer)
            keys = [self._owner(c, clusters.inner_to_outer, members) for c in range(clusters.n_inner)]
            owners = sorted(set(keys))
            bar.set_description("codebooks")
            bar.total = 2 * self.niter + len(owners)
            books = np.empty((len(owners), self.m, self.ksub, self.d // self.m), np.float32)

            def train_codebook(number: int) -> None:
                rows = members[owners[number]]
                rows = rows[sample(len(rows), self.ksub * POINTS_PER_CENTROID, self.seed)]
                residuals = x[rows] - clusters.inner_centroids[cells[rows]]
                pq = ProductQuantizer(self.d, self.m, self.nbits, seed=self.seed)
                books[number] = pq.train(residuals).codebooks
                bar.update()

            in_threads(train_codebook, range(len(owners)))
        self._reset(clusters, books, np.array([owners.index(key) for key in keys]))
        return self

    def _members(self, cells: npt.NDArray[np.int64], inner_to_outer: npt.NDArray[np.int64]) -> dict[Key, Array]:
        """Return the training rows of every possible owner of a codebook."""
        outer = inner_to_outer[cells]
        members: dict[Key, Array] = {("global", 0): np.arange(len(cells))}
        members |= {("outer", o): np.flatnonzero(outer == o) for o in range(self.clusters.n_outer)}
        members |= {("inner", c): np.flatnonzero(cells == c) for c in range(self.clusters.n_inner)}
        return members

    def _owner(self, cell: int, inner_to_outer: npt.NDArray[np.int64], members: dict[Key, Array]) -> Key:
        """Return whose codebook an inner cell uses: its own level's, or the next larger one with enough residuals."""
        chain: list[Key] = [("inner", cell), ("outer", int(inner_to_outer[cell])), ("global", 0)]
        allowed = chain[get_args(Owner).index(self.codebooks) :]
        return next(key for key in allowed if len(members[key]) >= self.ksub)

    # ---- add and search ----------------------------------------------------------------------------------------

    def add(self, xb: npt.ArrayLike) -> Self:
        """Encode xb (n, d) and append it; ids count on from `ntotal`. May be called many times.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "add")
        x = _check.matrix(xb, "xb", self.d)
        cells = self.clusters.assign(x)
        codes = np.empty((len(x), self.code_size), np.uint8)

        def encode(c: int) -> None:
            rows = np.flatnonzero(cells == c)
            residuals = x[rows] - self.clusters.inner_centroids[c]
            codes[rows] = self.quantizers[int(self.codebook_of_cell[c])].encode(residuals)

        in_threads(encode, np.unique(cells).tolist())
        originals = np.concatenate([self.originals, x]) if self.keep_originals else self.originals
        self.lists, self.originals = self.lists.extended(cells, codes), originals
        return self

    def search(
        self, xq: npt.ArrayLike, k: int, *, nprobe: int = 1, n_outer_probe: int | None = None, rerank: int = 0
    ) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k nearest added vectors of each query among the cells probed.

        Args:
            xq: (nq, d) queries.
            k: neighbours per query.
            nprobe: inner cells scanned per query; more than n_inner counts as n_inner.
            n_outer_probe: look for those cells in this many nearest outer clusters only; None looks in all.
            rerank: r > 0 orders the best r * k by exact distance; needs keep_originals=True.

        Returns:
            D (nq, k) float32 squared distances (asymmetric; exact with rerank) and I (nq, k) int64 ids, nearest
            first; padded with +inf and -1 when fewer than k are found.

        Raises:
            RuntimeError: not trained; rerank without the originals.
            ValueError, TypeError: as in `train`; k < 1, nprobe < 1, n_outer_probe < 1, rerank < 0.

        Several threads may search at once; none may add or train meanwhile.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "search")
        k, rerank = _check.integer(k, "k", 1), _check.integer(rerank, "rerank", 0)
        if rerank and not self.keep_originals:
            raise RuntimeError("rerank needs the original vectors: create the index with keep_originals=True")
        x = _check.matrix(xq, "xq", self.d)
        probes = self.clusters.probe(x, nprobe, n_outer_probe)
        shortlist = min(max(1, rerank) * k, max(k, self.ntotal))
        D, I = np.empty((len(x), k), np.float32), np.empty((len(x), k), np.int64)
        for rows in blocks(len(x), self.lists.entries(probes.shape[1], shortlist)):
            found = self._shortlist(x[rows], probes[rows], shortlist)
            D[rows], I[rows] = refine(x[rows], self.originals, found[1], k) if rerank else found
        return D, I

    def _shortlist(self, x: FloatMatrix, probes: IdMatrix, k: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k best by code, ids and asymmetric distances, among the cells probed."""
        lists = self.lists

        def scan(cell: int, queries: npt.NDArray[np.int64], k: int) -> tuple[FloatMatrix, IdMatrix]:
            pq = self.quantizers[int(self.codebook_of_cell[cell])]
            codes = unpack(lists.rows[lists.cell(cell)], self.m, self.nbits)
            return pq._scan(x[queries] - self.clusters.inner_centroids[cell], codes, k)

        D, I = lists.search(probes, k, scan, max(self.d, self.m * self.ksub))
        return D, lists.to_ids(I)

    # ---- bytes -------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, Array]:
        """Return everything the index holds, by component: what `memory` counts and `save` writes."""
        return {
            "codes": self.lists.rows,
            "ids": self.lists.ids,
            "list_offsets": self.lists.offsets,
            "codebooks": self._codebooks,
            "codebook_of_cell": self.codebook_of_cell,
            "inner_centroids": self.clusters.inner_centroids,
            "outer_centroids": self.clusters.outer_centroids,
            "inner_to_outer": self.clusters.inner_to_outer,
            "originals": self.originals,
        }

    def memory(self) -> Memory:
        """Return the bytes of every component, with the sum as `.total`; the saved file adds some 10 kB of format."""
        return Memory.of(self._arrays())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to an HDF5 file, by a temporary file beside it and a rename.

        Raises:
            RuntimeError: not trained.
            OSError: the file cannot be written; an older file under that name is as it was.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "save")
        clusters = self.clusters
        settings = {
            "d": self.d, "n_inner": clusters.n_inner, "n_outer": clusters.n_outer, "m": self.m, "nbits": self.nbits,
            "codebooks": self.codebooks, "niter": self.niter, "seed": self.seed, "keep_originals": self.keep_originals,
        }  # fmt: skip
        storage.write(path, settings, self._arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an index written by `save`; it gives the same results.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not an index file, of another version, damaged or inconsistent.
        """
        settings, arrays = storage.read(path)
        with storage.explained(path):
            return cls(settings.pop("d"), **settings)._restored(arrays)

    def _restored(self, arrays: dict[str, Array]) -> Self:
        clusters = self.clusters
        clusters.inner.centroids, clusters.outer.centroids = arrays["inner_centroids"], arrays["outer_centroids"]
        clusters.inner_to_outer = arrays["inner_to_outer"]
        self._reset(clusters, arrays["codebooks"], arrays["codebook_of_cell"])
        self.lists = InvertedLists(arrays["list_offsets"], arrays["ids"], arrays["codes"])
        self.originals = arrays["originals"]
        return self
