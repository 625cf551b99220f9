"""TurboQuant's other kind, for unbiased inner products: for the arena, where it is compared; the package has no use for it."""

from __future__ import annotations

import math

import numpy as np

from mlpq._check import Codes, FloatMatrix
from mlpq.codecs.directions import TurboQuant, _Estimating
from mlpq.codecs.rotation import orthonormal


class TurboQuantProduct(_Estimating):
    """Codes the direction with nbits - 1 bits a component, as `TurboQuant`, and of what is left the signs of a turn.

    Zandieh, Daliri, Hadian & Mirrokni, TurboQuant (2025), algorithm 2, with an orthonormal turn S in the place of their
    normal numbers, which scatters less: the expected value of S.T @ sign(S @ r) is r / |r| * sqrt(2 * d / pi) for many
    dimensions. Faiss 1.15.1 has it as `QT_*_tq`, whose second part is 1 / sqrt(d) of that, so that it is not unbiased.

    Args:
        d: dimension of the vectors.
        nbits: bits per component, 2 to 5.

    Attributes:
        code_size: bytes per code, ceil(d * (nbits - 1) / 8) + ceil(d / 8) + 8.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1000, 16))
        >>> TurboQuantProduct(16, nbits=3).train(x).encode(x).shape
        (1000, 14)
    """

    def __init__(self, d: int, nbits: int = 4) -> None:
        super().__init__(d, nbits, (2, 3, 4, 5))
        self._first = TurboQuant(self.d, self.nbits - 1).train(np.zeros((1, self.d), np.float32))
        self._turn = orthonormal(self.d, seed=1)

    @property
    def _bits(self) -> int:
        return (self.d * (self.nbits - 1) + 7) // 8 + (self.d + 7) // 8

    def _encoded(self, x: FloatMatrix) -> Codes:
        x = x - self._held["centre"]
        lengths = np.sqrt(np.square(x, dtype=np.float64).sum(axis=1, keepdims=True))
        directions = (x / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        first, _ = self._first._of_directions(directions)
        left = directions - self._first._directions(first)
        signs = np.packbits(left @ self._turn.T >= 0, axis=1, bitorder="little")
        factors = np.hstack([lengths**2, lengths * np.linalg.norm(left, axis=1, keepdims=True)]).astype("<f4")
        return np.hstack([first, signs, factors.view(np.uint8)])

    def _decoded(self, codes: Codes) -> FloatMatrix:
        first = (self.d * (self.nbits - 1) + 7) // 8
        squares, left = self._factors(codes)[:, :1], self._factors(codes)[:, 1:]
        signs = np.unpackbits(codes[:, first : self._bits], axis=1, count=self.d, bitorder="little").astype(np.float32)
        decoded: FloatMatrix = self._first._directions(codes[:, :first]) * np.sqrt(squares)
        decoded += (2 * signs - 1) @ self._turn * (left * np.float32(math.sqrt(math.pi / 2 / self.d)))
        decoded += self._held["centre"]
        return decoded

    def _made(self) -> None:
        """Return nothing: the first part is a codec of its own."""
