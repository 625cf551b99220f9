"""Sums of codewords, by Faiss: residual quantization, and additive quantization by local search.

A product quantizer's codewords lie in sub-spaces of their own. Here each has all d components, which costs d / M times as
much to store and to compare with, and is nearer to the vector for the same bits.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import faiss
import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import Array, Codes, FloatMatrix, Rows
from mlpq.clustering import MAX_SEED, faiss_sample
from mlpq.codecs.adapter import Shifted

Array3 = npt.NDArray[np.float32]

_searching = threading.Lock()  # Faiss's local search counts its time in one place for all threads


class _Sums(Shifted):
    """A codec that writes down one codeword of each of M codebooks, whose sum comes near the vector."""

    NAMES = ("d", "M", "nbits", "seed")
    ROWS: ClassVar[int]  # of the sample for training, at most, unless there are more codewords

    def __init__(self, d: int, M: int, nbits: int = 8, *, seed: int = 0) -> None:
        super().__init__(d)
        self.M, self.nbits = _check.integer(M, "M", 1), _check.integer(nbits, "nbits", 1, _check.MAX_NBITS)
        self.seed = _check.integer(seed, "seed", 0, MAX_SEED)
        self.code_size = (self.M * self.nbits + 7) // 8

    @property
    def codebooks(self) -> Array3:
        """(M, 2**nbits, d) float32, after `train`."""
        if not self.is_trained:
            return np.empty((0, 2**self.nbits, self.d), np.float32)
        books: Array3 = self._held["codebooks"].copy()
        books[0] += self._held["origin"]
        return books

    @property
    def _least(self) -> int:
        return int(2**self.nbits)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"origin": (self.d,), "codebooks": (self.M, 2**self.nbits, self.d)}

    def _sample(self, x: Rows) -> FloatMatrix:
        return x[faiss_sample(len(x), max(self.ROWS, self._least), self.seed)]

    def _trained(self, x: FloatMatrix) -> dict[str, Array]:
        quantizer = self._new()
        with self._alone():
            quantizer.train(x)
        return {"codebooks": faiss.vector_to_array(quantizer.codebooks).reshape(self.M, 2**self.nbits, self.d)}

    def _made(self) -> Any:
        quantizer = self._new()
        faiss.copy_array_to_vector(self._held["codebooks"].ravel(), quantizer.codebooks)
        quantizer.is_trained = True
        return quantizer

    def _alone(self) -> AbstractContextManager[Any]:
        """Return the lock under which Faiss trains and encodes."""
        return nullcontext()

    @abstractmethod
    def _new(self) -> Any: ...


class ResidualQuantizer(_Sums):
    """Codes by M codewords, each the nearest to what the sum of those before leaves: a beam of 5 candidates is kept.

    Chen, Guan & Wang, Approximate nearest neighbor search by residual vector quantization (2010); the training is Faiss's,
    on at most 16,384 rows.

    Args:
        d: dimension of the vectors.
        M: number of codebooks.
        nbits: bits per codeword, 1 to 16.
        seed: same seed, same machine: same codebooks.

    Attributes:
        codebooks: (M, 2**nbits, d) float32, after `train`; a decoded vector is the sum of its M codewords.
        code_size: bytes per code, ceil(M * nbits / 8).

    Example:
        >>> x = np.random.default_rng(0).random((1000, 16))
        >>> rq = ResidualQuantizer(16, M=3, nbits=4).train(x)
        >>> rq.encode(x).shape, rq.codebooks.shape
        ((1000, 2), (3, 16, 16))
    """

    ROWS = 16_384

    @property
    def _entries(self) -> int:
        return 5 * int(2**self.nbits + 2 * self.d)  # of the beam

    def _new(self) -> Any:
        quantizer = faiss.ResidualQuantizer(self.d, self.M, self.nbits)
        quantizer.cp.seed, quantizer.cp.min_points_per_centroid = self.seed, 1
        return quantizer


class AdditiveQuantizer(_Sums):
    """Codes by M codewords that are sought together, by local search: better than one after the other, and far slower.

    Martinez, Zakhmi, Hoos & Little, LSQ++ (2018). Faiss trains on at most 10,000 rows; with M beyond 16, that takes many
    minutes. A search begins at random, so that a code depends on the place of its vector among those encoded with it; the
    same call gives the same codes. Every call begins with a table of (M * 2**nbits)**2 numbers: encode many at a time.

    Args:
        d: dimension of the vectors.
        M: number of codebooks; M * nbits is a multiple of 8.
        nbits: bits per codeword, 1 to 16.
        seed: same seed, same machine: same codebooks.

    Attributes:
        codebooks: (M, 2**nbits, d) float32, after `train`; a decoded vector is the sum of its M codewords.
        code_size: bytes per code, M * nbits / 8.

    Example:
        >>> x = np.random.default_rng(0).random((1000, 16))
        >>> aq = AdditiveQuantizer(16, M=2, nbits=4).train(x)
        >>> number = np.array([[3 + 16 * 7]], np.uint8)
        >>> np.allclose(aq.decode(number), aq.codebooks[0, 3] + aq.codebooks[1, 7])
        True
    """

    ROWS = 10_000

    def __init__(self, d: int, M: int, nbits: int = 8, *, seed: int = 0) -> None:
        super().__init__(d, M, nbits, seed=seed)
        if self.M * self.nbits % 8:
            raise ValueError(f"M * nbits must be a multiple of 8; got M={self.M} and nbits={self.nbits}")

    @property
    def _entries(self) -> int:
        return int(self.M * 2**self.nbits)

    def _encoded(self, x: FloatMatrix) -> Codes:
        with self._alone():
            return super()._encoded(x)

    def _alone(self) -> AbstractContextManager[Any]:
        return _searching

    def _new(self) -> Any:
        quantizer = faiss.LocalSearchQuantizer(self.d, self.M, self.nbits)
        quantizer.random_seed, quantizer.nperts = self.seed, min(quantizer.nperts, self.M)
        return quantizer
