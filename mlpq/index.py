"""The multi-level index: compressed residuals inside a two-level hierarchy of cells.

IVFADC (Jégou, Douze & Schmid 2011, section IV), with any codec for the residuals. Product quantization may have one
codebook per inner cell or per outer cluster: the idea of Kalantidis & Avrithis (2014), without their rotations.
"""

from __future__ import annotations

import os
from typing import Any, Self

import faiss
import numpy as np
import numpy.typing as npt

from mlpq import _check, storage
from mlpq._check import Array, FloatMatrix, IdMatrix, Metric
from mlpq._objects import Memory, copied, shown
from mlpq._parallel import batches, undisturbed
from mlpq.codecs import Codec
from mlpq.codecs.codebooks import CodebookDtype, Owner
from mlpq.codecs.rotation import Kind
from mlpq.exchange import convert
from mlpq.model import CODECS, Model, codec_of
from mlpq.search import pieces, visits
from mlpq.search.distance import balanced
from mlpq.search.lists import InvertedLists
from mlpq.search.scan import Scanner


class MultiLevelPQ(Model):
    """Search by compressed residuals: outer clusters, then inner cells, then codes.

    Residuals are taken to the inner centroid. `codebooks` says who owns a codebook: each inner cell, each outer
    cluster, or all together. An owner with fewer than 2**nbits training residuals borrows: an inner cell from its
    outer cluster, that one from the global codebook.

    Args:
        d: dimension of the vectors.
        n_inner: number of inner cells; each is one inverted list.
        n_outer: number of outer clusters, at most n_inner.
        m: number of sub-vectors; divides d. 8 by default.
        nbits: bits per sub-code, 1 to 16. 8 by default.
        codebooks: "inner", "outer" or "global", which is the default.
        niter: Lloyd iterations of the two clusterings.
        seed: same seed, same machine: same index.
        keep_originals: keep the added vectors, which `rerank` needs, as bytes while all are whole numbers from 0 to 255,
            else in float32; `memory()` counts them.
        pca_dim: reduce vectors to this many dimensions first; m divides it. `rerank` is not affected.
        codebook_dtype: "float32" (the default), "float16" or "uint8": what codewords are rounded to before anything is
            encoded.
        metric: "l2"; "cosine", by vectors scaled to unit length as they come; or "ip" for the largest inner products,
            which lie in cells of few, long vectors: take a larger nprobe.
        rotation: "random", "pca" or "opq": how the axes are turned first, see `Rotation`; `pca_dim` alone means "pca".
        codec: what encodes residuals, in the place of product quantization: an untrained codec whose d is `pca_dim`, or d
            without it. `m`, `nbits`, `codebooks` and `codebook_dtype` may not be given then.

    Attributes:
        clusters: the `TwoLevelKMeans`.
        quantizers: the `Codebooks`, a sequence with one trained `ProductQuantizer` per owner; AttributeError with a codec.
        codebook_of_cell: (n_inner,) int64, which of them encodes each inner cell.
        codec: the codec, trained by `train`, or None.
        lists: the `InvertedLists` with the codes.
        reduction: the trained `Rotation`, or None.

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
        m: int | None = None,
        nbits: int | None = None,
        codebooks: Owner | None = None,
        niter: int = 20,
        seed: int = 0,
        keep_originals: bool = False,
        pca_dim: int | None = None,
        codebook_dtype: CodebookDtype | None = None,
        metric: Metric = "l2",
        rotation: Kind | None = None,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(
            d, n_inner, n_outer, m=m, nbits=nbits, codebooks=codebooks, codebook_dtype=codebook_dtype, niter=niter,
            seed=seed, pca_dim=pca_dim, metric=metric, rotation=rotation, codec=codec,
        )  # fmt: skip
        self.keep_originals = bool(keep_originals)
        self._drop()

    def _drop(self) -> None:
        """Have nothing added."""
        self._in_place = None
        d = self.d if self.keep_originals else 0
        self.lists = InvertedLists.empty(self.clusters.n_inner, self.code_size, np.uint8, d)

    def __repr__(self) -> str:
        return shown(self, **self._unusual(), **({"ntotal": self.ntotal} if self.is_trained else {"trained": False}))

    def __copy__(self) -> Self:
        return copied(self, "lists")

    @property
    def ntotal(self) -> int:
        """Number of vectors in the index."""
        return len(self.lists.ids)

    def train(self, xt: npt.ArrayLike, *, progress: bool = False) -> Self:
        """Learn axes, cells and codes from xt (n, d); vectors added before are dropped. `progress` shows one bar.

        All of xt is checked and assigned to cells; k-means works on samples of 256 for each cell and each codeword. Of
        an array that is not float32, such as a file mapped into memory, no more than those is converted at a time.

        Raises:
            ValueError: fewer points than n_inner or than 2**nbits, wrong shape, NaN or inf; for "cosine" a zero vector.
            TypeError: not numbers.
        """
        self._learn(_check.rows(xt, "xt", self.d, metric=self.metric), progress)
        self._drop()
        return self

    def add(self, xb: npt.ArrayLike, ids: npt.ArrayLike | None = None) -> Self:
        """Encode xb (n, d) and append it, any number of times. What is not float32 is converted part by part.

        Args:
            ids: (n,) distinct integers from 0 to 2**63 - 1, none of them in the index; without them, ids count on from
                the largest in the index.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`; ids that are none, or present, or not as many as vectors; no ids where
                counting on would go beyond 2**63 - 1.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "add")
        x = _check.rows(xb, "xb", self.d, least=0, metric=self.metric)
        numbers = _check.new_ids(ids, len(x), self.lists.ids)
        cells, codes = np.empty(len(x), np.int64), np.empty((len(x), self.code_size), np.uint8)
        for part in x.parts():
            cells[part], codes[part] = self._encode(x[part])
        originals, self._in_place = x if self.keep_originals else None, None
        undisturbed(lambda: self.lists.extend(cells, codes, numbers, originals))
        return self

    def remove(self, ids: npt.ArrayLike) -> int:
        """Remove the vectors with these ids (n,), as if never added; return how many there were: unknown ids count 0.

        Raises:
            ValueError, TypeError: ids that are none.
        """
        lists = self.lists.without(_check.id_list(ids, "ids"))
        removed, self.lists = self.ntotal - len(lists.ids), lists
        return removed

    def reconstruct(self, ids: npt.ArrayLike) -> FloatMatrix:
        """Return what the codes of some vectors stand for: (n, d) float32, in the original space, for ids (n,).

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: ids that are none, or not in the index.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "reconstruct")
        rows = self.lists.rows_of(_check.id_list(ids, "ids"))
        if (rows < 0).any():
            raise ValueError(f"ids must be in the index; {np.asarray(ids)[rows < 0][0]} is not")
        return self._decode(self.lists.cells_of(rows), self.lists.rows[rows])

    def search(
        self,
        xq: npt.ArrayLike,
        k: int,
        *,
        nprobe: int = 1,
        n_outer_probe: int | None = None,
        rerank: int = 0,
        allowed: npt.ArrayLike | None = None,
    ) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k nearest added vectors of each query among the cells probed.

        Args:
            xq: (nq, d) queries.
            k: neighbours per query.
            nprobe: inner cells scanned per query; more than n_inner counts as n_inner.
            n_outer_probe: look for those cells in this many nearest outer clusters only; None looks in all.
            rerank: r > 0 orders the best r * k by exact distance; needs keep_originals=True.
            allowed: (n,) ids; nothing else is found, nor takes a place on the way. Unknown ids count for nothing.

        Returns:
            D (nq, k) float32 squared distances (asymmetric; exact with rerank) and I (nq, k) int64 ids, nearest
            first; padded with +inf and -1 when fewer than k are found. For "ip", D holds inner products, largest
            first, padded with -inf.

        Raises:
            RuntimeError: not trained; rerank without the originals.
            ValueError, TypeError: as in `train`; k < 1, nprobe < 1, n_outer_probe < 1, rerank < 0; allowed that are no
                ids.

        Several threads may search at once; none may add, remove or train meanwhile.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "search")
        k, rerank = _check.integer(k, "k", 1), _check.integer(rerank, "rerank", 0)
        nprobe = min(_check.integer(nprobe, "nprobe", 1), self.clusters.n_inner)
        if rerank and not self.keep_originals:
            raise RuntimeError("rerank needs the original vectors: create the index with keep_originals=True")
        x = _check.matrix(xq, "xq", self.d, least=0, metric=self.metric)
        lists = self.lists
        if allowed is not None:
            lists = lists.some(np.flatnonzero(np.isin(lists.ids, _check.id_list(allowed, "allowed"))))
        ip = self.metric == "ip"
        x, factors = balanced(x, self.clusters.inner_centroids, ip)
        shortlist = max(1, rerank) * k
        D, I = np.empty((len(x), k), np.float32), np.empty((len(x), k), np.int64)
        for part in batches(len(x), pieces.entries(lists, nprobe, shortlist, self.clusters.d)):
            z = self._turned(x[part])
            originals = visits.Originals(x[part], lists.original, ip) if rerank else None
            scanner = Scanner(lists, self.clusters.inner_centroids, self._coder, z, ip, originals)
            D[part], I[part] = self._scanned(scanner, *self._probe(z, nprobe, n_outer_probe), k, shortlist)
        return D * factors, I

    def _settings(self) -> dict[str, Any]:
        return super()._settings() | {"keep_originals": self.keep_originals}

    def _arrays(self) -> dict[str, Array]:
        """Return everything the index holds, by component: what `memory` counts and `save` writes."""
        lists = self.lists
        arrays = {"codes": lists.rows, "ids": lists.ids, "list_offsets": lists.offsets, "originals": lists.originals}
        return arrays | self._learned()

    def memory(self) -> Memory:
        """Return the bytes of every component, with the sum as `.total`: a file adds some 10 kB, searches their tables."""
        return Memory.of(self._arrays())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to an HDF5 file, by a temporary file beside it and a rename; links, and a file's mode, stay.

        Killed meanwhile, it leaves the old file, and beside it a hidden one that ends in .part and may be deleted.

        Raises:
            RuntimeError: not trained.
            OSError: the file cannot be written; an older file under that name is as it was.
            TypeError: a codec that is not of this package.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "save")
        if self.codec is not None and type(self.codec) not in CODECS.values():
            raise TypeError(f"codec must be one of {', '.join(CODECS)} to be written to a file; got {self.codec!r}")
        storage.write(path, self._settings(), self._arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = False) -> Self:
        """Read an index written by `save`; it gives the same results.

        Args:
            mmap: leave the originals in the file, of which `rerank` then reads what it needs; `memory()` leaves them
                out. The file must stay as it is: `save` elsewhere, or over it, which puts a new file in its place.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not an index file, of another version, damaged or inconsistent.
        """
        settings, arrays = storage.read(path, mmap)
        with storage.explained(path):
            return cls._restored(settings, arrays)

    def to_faiss(self) -> faiss.Index:
        """Return a Faiss index that finds the same without this package, and has no outer clusters.

        Raises:
            RuntimeError: not trained.
            ValueError: Faiss lacks a counterpart: more than one codebook, or a codec.
        """
        _check.trained(self.is_trained, "MultiLevelPQ", "to_faiss")
        return convert.to_faiss(self._settings(), self._arrays())

    @classmethod
    def from_faiss(cls, index: faiss.Index) -> Self:
        """Return what finds the same as an `IndexIVFPQ` of Faiss's, behind a rotation or not; n_outer is sqrt(n_inner).

        Raises:
            TypeError, RuntimeError: not an index of Faiss's, or not trained.
            ValueError: this class lacks a counterpart, which the message names.
        """
        return cls._restored(*convert.from_faiss(index))

    @classmethod
    def _restored(cls, settings: dict[str, Any], arrays: dict[str, Array]) -> Self:
        """Return the index that has these settings and holds these arrays."""
        if "codec" in settings:
            settings = settings | {"codec": codec_of(settings["codec"])}
        index = cls(**settings)
        index._restore(arrays)
        index.lists = InvertedLists(*(arrays[name] for name in ("list_offsets", "ids", "codes", "originals")))
        return index
