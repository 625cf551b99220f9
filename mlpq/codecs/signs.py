"""Locality-sensitive hashing: the sides of planes, drawn at random or learned, and what they say of where a vector lies."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from mlpq import _check
from mlpq._check import Array, Codes, FloatMatrix, Rows
from mlpq._parallel import one_thread
from mlpq.clustering import MAX_SEED, sample
from mlpq.codecs.adapter import Adapter, mean_of
from mlpq.codecs.rotation import orthonormal

ROWS = 32_768  # at most, from which planes and decoder are learned; as many as Faiss's ITQ takes


class LSH(Adapter):
    """Codes on which side of each of nbits planes through the mean a vector lies.

    What a code stands for is linear in its signs: the mean, and for each sign a vector that is added or subtracted. These
    are found by least squares on the training rows, so that on those no other linear decoder is nearer.

    Args:
        d: dimension of the vectors.
        nbits: bits per code; at most d if learned.
        learned: False draws the planes at random (Charikar 2002), orthonormal for each d of them; True turns principal
            components until signs are nearest to them (Gong & Lazebnik, Iterative quantization, 2011), on at most 32,768
            rows.
        seed: same seed, same machine: same planes.

    Attributes:
        code_size: bytes per code, ceil(nbits / 8).

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1000, 16))
        >>> LSH(16, nbits=12, learned=True).train(x).encode(x).shape
        (1000, 2)
    """

    NAMES = ("d", "nbits", "learned", "seed")

    def __init__(self, d: int, nbits: int = 128, learned: bool = False, *, seed: int = 0) -> None:
        super().__init__(d)
        self.learned = bool(learned)
        self.nbits = _check.integer(nbits, "nbits", 1, self.d if self.learned else None)
        self.seed = _check.integer(seed, "seed", 0, MAX_SEED)
        self.code_size = (self.nbits + 7) // 8

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"centre": (self.d,), "planes": (self.d, self.nbits), "decoder": (self.nbits, self.d)}

    @property
    def _least(self) -> int:
        return self.d if self.learned else 1

    @property
    def _entries(self) -> int:
        return self.d + 2 * self.nbits

    def _learned(self, x: Rows) -> dict[str, Array]:
        part = x[sample(len(x), ROWS, self.seed)]
        centre = mean_of(Rows(part))
        part -= centre
        planes = self._turned(part) if self.learned else self._drawn()
        signs = np.where(part @ planes >= 0, np.float32(1), np.float32(-1))
        products = (signs.T @ signs).astype(np.float64), (signs.T @ part).astype(np.float64)
        with one_thread():
            decoder = np.linalg.lstsq(*products, rcond=1e-6)[0].astype(np.float32)
        return {"centre": centre, "planes": planes, "decoder": rounded(decoder)}

    def _drawn(self) -> FloatMatrix:
        turns = [orthonormal(self.d, self.seed + i) for i in range(-(-self.nbits // self.d))]
        return np.ascontiguousarray(np.hstack(turns)[:, : self.nbits])

    def _turned(self, x: FloatMatrix) -> FloatMatrix:
        """Return the directions (d, nbits) that iterative quantization finds in x (n, d), which is centred."""
        transform = faiss.ITQTransform(self.d, self.nbits, True)
        transform.itq.seed = self.seed
        transform.train(x)
        axes: FloatMatrix = faiss.vector_to_array(transform.pca_then_itq.A).reshape(self.nbits, self.d)
        return np.ascontiguousarray(axes.T)

    def _made(self) -> Any:
        """Return nothing: both ways are matrix products."""

    def _encoded(self, x: FloatMatrix) -> Codes:
        sides = (x - self._held["centre"]) @ self._held["planes"].astype(np.float64)  # in float32 they vary by batch
        return np.packbits(sides >= 0, axis=1, bitorder="little")

    def _decoded(self, codes: Codes) -> FloatMatrix:
        bits = np.unpackbits(codes, axis=1, count=self.nbits, bitorder="little").astype(np.float32)
        decoded: FloatMatrix = (2 * bits - 1) @ self._held["decoder"]
        decoded += self._held["centre"]
        return decoded


def rounded(decoder: FloatMatrix) -> FloatMatrix:
    """Return it in steps, for each column, of which float32 holds any sum: what a code stands for is then the same in any batch.

    A matrix product adds in an order of its own for each number of rows.
    """
    _, exponents = np.frexp(np.abs(decoder).sum(axis=0))
    steps = np.ldexp(np.float32(1), exponents - 23)
    found: FloatMatrix = np.rint(decoder / steps) * steps
    return found
