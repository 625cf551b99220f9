"""Product quantization (Jégou, Douze & Schmid 2011): train, encode, decode, distance tables, asymmetric search.

Faiss trains the codebooks and finds the nearest codewords; tables, search and decoding are NumPy, and agree with Faiss
for the same codebooks. Not here: rotations (OPQ), polysemous codes, symmetric distances.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Self

import faiss
import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import Array, Codes, FloatMatrix, IdMatrix
from mlpq._objects import shown
from mlpq._parallel import blocks, in_threads, quick_training
from mlpq.clustering import MAX_SEED, POINTS_PER_CENTROID, faiss_sample
from mlpq.codecs.adapter import restored
from mlpq.search.bounds import gamma, moved, offset, within_reach
from mlpq.search.distance import at, compacted, k_nearest, pad

Array3 = npt.NDArray[np.float32]
RESIDUAL = 100 * _check.LARGEST  # of the numbers in codebooks: those of vectors less a centroid, on other axes


class ProductQuantizer:
    """Cuts a vector into m sub-vectors and replaces each by the nearest of 2**nbits codewords.

    Args:
        d: dimension of the vectors.
        m: number of sub-vectors; divides d.
        nbits: bits per sub-code, 1 to 16.
        seed: same seed, same machine: same codebooks.

    Attributes:
        codebooks: (m, 2**nbits, d // m) float32, after `train`.
        code_size: bytes per packed code, ceil(m * nbits / 8).

    Example:
        >>> x = np.random.default_rng(0).random((1000, 16))
        >>> pq = ProductQuantizer(16, m=4, nbits=6).train(x)
        >>> pq.encode(x).shape
        (1000, 3)
    """

    def __init__(self, d: int, m: int = 8, nbits: int = 8, *, seed: int = 0) -> None:
        self.d = _check.integer(d, "d", 1)
        self.m, self.nbits = _check.subvectors(self.d, m, nbits)
        self.seed = _check.integer(seed, "seed", 0, MAX_SEED)
        self.dsub, self.ksub = self.d // self.m, 2**self.nbits
        self.code_size = (self.m * self.nbits + 7) // 8
        self.codebooks: Array3 = np.empty((0, self.ksub, self.dsub), np.float32)
        self._starts = self.ksub * np.arange(self.m)  # of each codebook, when all codewords stand in one row

    def __repr__(self) -> str:
        return shown(self, d=self.d, m=self.m, nbits=self.nbits, trained=self.is_trained)

    @property
    def is_trained(self) -> bool:
        return len(self.codebooks) > 0

    @classmethod
    def from_codebooks(cls, codebooks: npt.ArrayLike) -> Self:
        """Return a trained quantizer with given codebooks, for instance Faiss's: (m, 2**nbits, d // m).

        Raises:
            ValueError: other than three dimensions, or a number of codewords that is no power of two up to 2**16.
            TypeError: not numbers.
        """
        books = _check.array(codebooks, "codebooks")
        nbits = books.shape[1].bit_length() - 1 if books.ndim == 3 else 0
        if books.ndim != 3 or books.shape[1] != 2**nbits:
            raise ValueError(f"codebooks must have shape (m, 2**nbits, d // m); got shape {books.shape}")
        m, _, dsub = books.shape
        pq = cls(m * dsub, m, nbits)
        pq.codebooks = _check.matrix(books.reshape(-1, dsub), "codebooks", largest=RESIDUAL).reshape(books.shape)
        return pq

    def settings(self) -> dict[str, int]:
        """Return the arguments of the constructor."""
        return {"d": self.d, "m": self.m, "nbits": self.nbits, "seed": self.seed}

    def arrays(self) -> dict[str, Array]:
        """Return everything that a trained quantizer holds, by name."""
        return {"codebooks": self.codebooks} if self.is_trained else {}

    def restore(self, arrays: Mapping[str, Array]) -> Self:
        """Take over the arrays of a trained quantizer with the same `settings`.

        Raises:
            ValueError: an array is missing, one too many, or of another shape or dtype; NaN or inf.
        """
        restored(arrays, {"codebooks": (self.m, self.ksub, self.dsub)})
        self.codebooks = np.ascontiguousarray(arrays["codebooks"])
        self.__dict__.pop("_norms", None)
        return self

    def train(self, xt: npt.ArrayLike) -> Self:
        """Learn the codebooks from xt (n, d) by k-means in each sub-space.

        All of xt is checked; beyond 256 rows for each codeword, Faiss's sample is used, and no more converted to float32.

        Raises:
            ValueError: fewer than 2**nbits points, wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        x = _check.rows(xt, "xt", self.d)
        _check.enough(len(x), self.nbits)
        pq = faiss.ProductQuantizer(self.d, self.m, self.nbits)
        pq.cp.seed = self.seed
        pq.cp.min_points_per_centroid = 1  # Faiss would print a warning below 39 points per codeword
        xt = x[faiss_sample(len(x), self.ksub * POINTS_PER_CENTROID, self.seed)]
        origin = offset(xt, self.m)
        with quick_training():
            pq.train(moved(xt, origin))
        self.codebooks = faiss.vector_to_array(pq.centroids).reshape(self.m, self.ksub, self.dsub)
        self.codebooks += origin.reshape(self.m, 1, self.dsub)
        self.__dict__.pop("_norms", None)
        return self

    def encode(self, x: npt.ArrayLike) -> Codes:
        """Return the packed codes of x (n, d): (n, code_size) uint8, bit-packed as Faiss packs (little-endian).

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.is_trained, "ProductQuantizer", "encode")
        x = _check.rows(x, "x", self.d, least=0)
        # q_j(x_j) is the nearest codeword of each sub-space: eq. (8). Faiss looks for it, since a plain argmin gives
        # other codes where codewords coincide, as they do for sub-vectors that are mostly zero.
        origin = offset(self.codebooks.transpose(1, 0, 2).reshape(self.ksub, self.d), self.m)
        pq = faiss.ProductQuantizer(self.d, self.m, self.nbits)
        codewords = self.codebooks - origin.reshape(self.m, 1, self.dsub)
        faiss.copy_array_to_vector(codewords.ravel(), pq.centroids)
        codes = np.empty((len(x), self.code_size), np.uint8)
        for rows in blocks(len(x), self.m * self.ksub):  # Faiss holds all distances to all codewords at once
            codes[rows] = pq.compute_codes(moved(x[rows], origin))
        return codes

    def decode(self, codes: npt.ArrayLike) -> FloatMatrix:
        """Return the reconstructions of packed codes (n, code_size): (n, d) float32, the codewords side by side.

        Raises:
            RuntimeError: not trained.
            TypeError, ValueError: codes are not uint8, or not (n, code_size).
        """
        _check.trained(self.is_trained, "ProductQuantizer", "decode")
        return self._decoded(unpack(_check.packed(codes, "codes", self.code_size), self.m, self.nbits))

    def _decoded(self, indices: Array) -> FloatMatrix:
        codewords = self.codebooks.reshape(-1, self.dsub)
        decoded: FloatMatrix = codewords.take(indices + self._starts, axis=0).reshape(len(indices), self.d)
        return decoded

    def distance_table(self, xq: npt.ArrayLike) -> Array3:
        """Return the squared distance of every sub-query to every codeword: (nq, m, 2**nbits) float32.

        The asymmetric distance of a query to a code is the sum of the m entries that the code selects: eq. (13).

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.is_trained, "ProductQuantizer", "distance_table")
        x = _check.matrix(xq, "xq", self.d, least=0)
        tables, norms, _ = self._tables(x)
        distances: Array3 = np.maximum((tables + norms[:, None]).transpose(2, 0, 1), 0, order="C")
        return distances

    def search(self, xq: npt.ArrayLike, codes: npt.ArrayLike, k: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k nearest codes of each query by asymmetric distance (Jégou et al. 2011, section III-A).

        Args:
            xq: (nq, d) queries.
            codes: (n, code_size) uint8, packed.

        Returns:
            D (nq, k) float32 squared distances and I (nq, k) int64 row numbers, nearest first; padded with +inf and
            -1 when k > n.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train` and `decode`; k < 1.
        """
        _check.trained(self.is_trained, "ProductQuantizer", "search")
        k = _check.integer(k, "k", 1)
        x = _check.matrix(xq, "xq", self.d, least=0)
        indices = unpack(_check.packed(codes, "codes", self.code_size), self.m, self.nbits)
        D = np.empty((len(x), min(k, len(indices))), np.float32)
        I = np.empty(D.shape, np.int64)

        def scan(rows: slice) -> None:
            D[rows], I[rows] = self._scan(x[rows], indices, k)

        in_threads(scan, blocks(len(x), max(len(indices), self.m * self.ksub)))
        return pad(D, I, k)

    def _tables(self, x: FloatMatrix) -> tuple[Array3, FloatMatrix, FloatMatrix]:
        """Return distance tables (m, ksub, n) less the queries' norms, those norms (m, n), and those of codewords (m, ksub).

        All are shifted to the mean of the codewords, against rounding.
        """
        centre = self.codebooks.mean(axis=1)
        x = x - centre.ravel()
        codebooks = self.codebooks - centre[:, None]
        norms: FloatMatrix = np.einsum("njd,njd->jn", *[x.reshape(len(x), self.m, self.dsub)] * 2)
        squares = squared_norms(codebooks)
        return tables(codebooks, squares, x), norms, squares

    @cached_property
    def _norms(self) -> FloatMatrix:
        return squared_norms(self.codebooks)

    def _look_up(self, residuals: FloatMatrix, codes: list[Codes]) -> list[npt.NDArray[np.float32]]:
        """Return the distances of each row of `residuals` to packed codes of its own. They are taken to be small."""
        sums = np.ones(self.m, np.float32)
        all_tables = tables(self.codebooks, self._norms, residuals)
        found = []
        for i, (x, codes_i) in enumerate(zip(residuals, codes, strict=True)):
            table, D = all_tables[:, :, i].ravel(), np.empty(len(codes_i), np.float32)
            for part in blocks(len(codes_i), self.m):
                indices = unpack(codes_i[part], self.m, self.nbits) + self._starts
                np.matmul(table.take(indices), sums, out=D[part])
            found.append(D + x @ x)
        return found

    def _scan(self, x: FloatMatrix, indices: Array, k: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return the min(k, n) nearest of n codes: the loops over codes and queries are NumPy's."""
        tables, norms, codewords = self._tables(x)
        D = tables[0][indices[:, 0]]  # (n, nq)
        for j in range(1, self.m):
            D += tables[j][indices[:, j]]
        squares = norms.sum(axis=0)
        error = 4 * gamma(2 * self.d + 16) * (squares + codewords.max(axis=1).sum())  # of entries and of their sums
        L = np.ascontiguousarray(D.T) + (squares - error)[:, None]
        limit = np.full(len(x), np.inf, np.float32)
        queries, rows = within_reach(L, 2 * error, np.zeros(len(indices), np.float32), limit, k, self.d)
        some, numbers = compacted(rows, len(indices))
        D, I = k_nearest(x, self._decoded(indices[some]), queries, numbers, min(k, len(indices)))
        return D, at(some, I)


def tables(codebooks: Array3, norms: FloatMatrix, x: FloatMatrix) -> Array3:
    """Return ||c||^2 - 2 x.c for all codewords c and rows of x (n, d), by one batched matrix product.

    That is the squared distance less ||x||^2. Rows come last, (m, ksub, n): a sub-code selects the entries of all.
    """
    sub = x.reshape(len(x), len(codebooks), codebooks.shape[2]).transpose(1, 2, 0)
    found: Array3 = codebooks @ (-2 * sub)
    found += norms[:, :, None]
    return found


def squared_norms(codebooks: Array3) -> FloatMatrix:
    norms: FloatMatrix = np.einsum("jcd,jcd->jc", codebooks, codebooks)
    return norms


def unpack(codes: Codes, m: int, nbits: int) -> Array:
    """Return the sub-codes of packed codes (n, code_size), nbits each, lowest bit first: (n, m) uint8 or uint16."""
    dtype = np.dtype("u1" if nbits <= 8 else "<u2")
    if nbits == 8 * dtype.itemsize:
        return codes.view(dtype)
    indices = np.zeros((len(codes), m), dtype)
    if nbits == 4:
        indices[:, ::2], indices[:, 1::2] = codes & 15, codes[:, : m // 2] >> 4
        return indices
    for rows in blocks(len(codes), m * nbits):
        bits = np.unpackbits(codes[rows], axis=1, count=m * nbits, bitorder="little").reshape(-1, m, nbits)
        for bit in range(nbits):
            indices[rows] |= bits[:, :, bit].astype(dtype) << bit
    return indices
