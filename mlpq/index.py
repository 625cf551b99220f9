"""The multi-level index: residual product quantization inside a two-level hierarchy of cells.

IVFADC (Jégou, Douze & Schmid 2011, section IV) with one codebook per inner cell, per outer cluster, or for all: the
locally optimized idea of Kalantidis & Avrithis (2014), without their rotations.
"""

from __future__ import annotations

import os
from typing import Self

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from mlpq import _check, storage
from mlpq._check import Array, Codes, FloatMatrix, IdMatrix, Rows
from mlpq._objects import Memory, copied, shown
from mlpq._parallel import batches, in_threads, undisturbed
from mlpq.clustering import TwoLevelKMeans
from mlpq.codecs.codebooks import (
    DTYPES,
    OWNERS,
    CodebookDtype,
    Codebooks,
    Owner,
    candidates,
    owners_of_cells,
    trained_books,
)
from mlpq.codecs.pq import ProductQuantizer
from mlpq.codecs.rotation import Rotation
from mlpq.search import visits
from mlpq.search.lists import Ids, InvertedLists, kept_on_failure, with_originals
from mlpq.search.scan import Scanner


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
        keep_originals: keep the added vectors, which `rerank` needs, as bytes while all are whole numbers from 0 to 255,
            else in float32; `memory()` counts them.
        pca_dim: reduce vectors to this many dimensions first: the `Rotation` of kind "pca"; m divides it. No matter to `rerank`.
        codebook_dtype: "float32", "float16" or "uint8": what codewords are rounded to before anything is encoded.

    Attributes:
        clusters: the `TwoLevelKMeans`.
        quantizers: the `Codebooks`, a sequence with one trained `ProductQuantizer` per owner.
        codebook_of_cell: (n_inner,) int64, which of them encodes each inner cell.
        lists: the `InvertedLists` with the codes.
        reduction: the `Rotation`, or None without `pca_dim`.

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
        pca_dim: int | None = None,
        codebook_dtype: CodebookDtype = "float32",
    ) -> None:
        self.codebooks = _check.one_of(codebooks, "codebooks", OWNERS)
        self.codebook_dtype = _check.one_of(codebook_dtype, "codebook_dtype", DTYPES)
        self.d = _check.integer(d, "d", 1)
        self.pca_dim = None if pca_dim is None else _check.integer(pca_dim, "pca_dim", 1, self.d)
        self.clusters = TwoLevelKMeans(self.pca_dim or d, n_inner, n_outer, niter=niter, seed=seed)
        pq = ProductQuantizer(self.pca_dim or d, m, nbits, seed=seed)
        self.m, self.nbits, self.ksub, self.code_size = pq.m, pq.nbits, pq.ksub, pq.code_size
        self.niter, self.seed, self.keep_originals = self.clusters.inner.niter, pq.seed, bool(keep_originals)
        self.reduction: Rotation | None = None
        no_codebooks = np.empty((0, self.m, self.ksub, pq.dsub), np.float32)
        self._reset(self.clusters, Codebooks.of(no_codebooks, self.codebook_dtype), np.empty(0, np.int64))

    def _reset(self, clusters: TwoLevelKMeans, quantizers: Codebooks, codebook_of_cell: Ids) -> None:
        """Take over what training found, with nothing added yet."""
        self.clusters, self.quantizers, self.codebook_of_cell = clusters, quantizers, codebook_of_cell
        self.lists = InvertedLists.empty(clusters.n_inner, self.code_size, np.uint8)
        self.originals = np.empty((0, self.d), np.float32)

    def __repr__(self) -> str:
        facts: dict[str, object] = {"d": self.d, "n_inner": self.clusters.n_inner, "n_outer": self.clusters.n_outer}
        facts |= {"m": self.m, "nbits": self.nbits, "codebooks": self.codebooks, "pca_dim": self.pca_dim}
        facts |= {"keep_originals": True} if self.keep_originals else {}
        facts |= {"codebook_dtype": self.codebook_dtype} if self.codebook_dtype != "float32" else {}
        return shown(self, **facts, **({"ntotal": self.ntotal} if self.is_trained else {"trained": False}))

    def __copy__(self) -> Self:
        return copied(self, "lists")

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

        All of xt is checked and assigned to cells; k-means works on samples of 256 for each cell and each codeword. Of
        an array that is not float32, such as a file mapped into memory, no more than those is converted at a time.

        Raises:
            ValueError: fewer points than n_inner or than 2**nbits, wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        x = _check.rows(xt, "xt", self.d)
        if len(x) < self.ksub:
            raise ValueError(
                f"xt must hold at least 2**nbits = {self.ksub} points for nbits={self.nbits}; got {len(x)}"
            )
        turn = Rotation(self.d, self.pca_dim, kind="pca", m=self.m, seed=self.seed)
        reduction = turn.train(x) if self.pca_dim else None
        x = Rows(reduction(x)) if reduction else x
        old = self.clusters
        clusters = TwoLevelKMeans(old.d, old.n_inner, old.n_outer, niter=self.niter, seed=self.seed)
        with tqdm(total=2 * self.niter, desc="cells", disable=not progress) as bar:
            clusters._fit(x, bar.update)
            cells = clusters.assign(x)
            members = candidates(cells, clusters.inner_to_outer)
            keys = owners_of_cells(self.codebooks, members, clusters.inner_to_outer, self.ksub)
            owners = sorted(set(keys))
            bar.set_description("codebooks")
            bar.total = 2 * self.niter + len(owners)
            pq = ProductQuantizer(old.d, self.m, self.nbits, seed=self.seed)
            groups = [members[owner] for owner in owners]
            books = trained_books(pq, x, cells, clusters.inner_centroids, groups, bar.update)
        self.reduction = reduction
        quantizers = Codebooks.of(books, self.codebook_dtype)
        self._reset(clusters, quantizers, np.array([owners.index(key) for key in keys]))
        return self

    # ---- add and search ----------------------------------------------------------------------------------------

    def add(self, xb: npt.ArrayLike) -> Self:
        """Encode xb (n, d) and append it; ids count on from `ntotal`. May be called many times.

        An array that is not float32, such as a file mapped into memory, is converted part by part.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "add")
        x = _check.rows(xb, "xb", self.d, least=0)
        cells, codes = np.empty(len(x), np.int64), np.empty((len(x), self.code_size), np.uint8)
        for part in x.parts():
            z = self.reduction(Rows(x[part])) if self.reduction else x[part]
            cells[part] = self.clusters.assign(Rows(z))
            self._encode(z, cells[part], codes[part])

        def append() -> None:
            with kept_on_failure(self, "originals"):
                if self.keep_originals:
                    self.originals = with_originals(self.originals, x)
                self.lists.extend(cells, codes)

        undisturbed(append)
        return self

    def _encode(self, z: FloatMatrix, cells: Ids, codes: Codes) -> None:
        """Write the codes of z (n, pca_dim), which lie in `cells` (n,), into `codes` (n, code_size)."""

        def encode(c: int) -> None:
            rows = np.flatnonzero(cells == c)
            residuals = z[rows] - self.clusters.inner_centroids[c]
            codes[rows] = self.quantizers[int(self.codebook_of_cell[c])].encode(Rows(residuals))

        in_threads(encode, np.unique(cells).tolist())

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
        nprobe = min(_check.integer(nprobe, "nprobe", 1), self.clusters.n_inner)
        if rerank and not self.keep_originals:
            raise RuntimeError("rerank needs the original vectors: create the index with keep_originals=True")
        x = _check.matrix(xq, "xq", self.d, least=0)
        shortlist = max(1, rerank) * k
        D, I = np.empty((len(x), k), np.float32), np.empty((len(x), k), np.int64)

        for rows in batches(len(x), visits.entries(self.lists, nprobe, shortlist, self.clusters.d)):
            scanner = Scanner(self, x[rows], bool(rerank))
            D[rows], I[rows] = scanner.search(k, shortlist, nprobe, n_outer_probe)
        return D, I

    # ---- bytes -------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, Array]:
        """Return everything the index holds, by component: what `memory` counts and `save` writes."""
        return {
            "codes": self.lists.rows,
            "ids": self.lists.ids,
            "list_offsets": self.lists.offsets,
            "codebooks": self.quantizers.stored,
            "codebook_ranges": self.quantizers.ranges,
            "codebook_of_cell": self.codebook_of_cell,
            "inner_centroids": self.clusters.inner_centroids,
            "outer_centroids": self.clusters.outer_centroids,
            "inner_to_outer": self.clusters.inner_to_outer,
            "originals": self.originals,
        } | ({"mean": self.reduction.mean, "axes": self.reduction.axes} if self.reduction else {})

    def memory(self) -> Memory:
        """Return the bytes of every component in memory, with the sum as `.total`; a file adds some 10 kB of format."""
        return Memory.of(self._arrays())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to an HDF5 file, by a temporary file beside it and a rename; links, and a file's mode, stay.

        Killed meanwhile, it leaves the old file, and beside it a hidden one that ends in .part and may be deleted.

        Raises:
            RuntimeError: not trained.
            OSError: the file cannot be written; an older file under that name is as it was.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "save")
        clusters = self.clusters
        settings = {
            "d": self.d, "n_inner": clusters.n_inner, "n_outer": clusters.n_outer, "m": self.m, "nbits": self.nbits,
            "codebooks": self.codebooks, "niter": self.niter, "seed": self.seed, "keep_originals": self.keep_originals,
            "pca_dim": self.pca_dim or 0, "codebook_dtype": self.codebook_dtype,
        }  # fmt: skip
        storage.write(path, settings, self._arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False) -> Self:
        """Read an index written by `save`; it gives the same results.

        Args:
            path: the file.
            mmap: leave the originals in the file, of which `rerank` then reads what it needs; `memory()` leaves them
                out. The file must stay as it is: `save` elsewhere, or over it, which puts a new file in its place.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not an index file, of another version, damaged or inconsistent.
        """
        settings, arrays = storage.read(path, mmap)
        with storage.explained(path):
            pca_dim = settings.pop("pca_dim") or None
            return cls(settings.pop("d"), **settings, pca_dim=pca_dim)._restored(arrays)

    def _restored(self, arrays: dict[str, Array]) -> Self:
        clusters = self.clusters
        clusters.inner.centroids, clusters.outer.centroids = arrays["inner_centroids"], arrays["outer_centroids"]
        clusters.inner_to_outer = arrays["inner_to_outer"]
        quantizers = Codebooks(arrays["codebooks"], arrays["codebook_ranges"])
        self._reset(clusters, quantizers, arrays["codebook_of_cell"])
        self.lists = InvertedLists(arrays["list_offsets"], arrays["ids"], arrays["codes"])
        self.originals = arrays["originals"]
        if self.pca_dim:
            self.reduction = Rotation.from_arrays(arrays["mean"], arrays["axes"])
        return self
