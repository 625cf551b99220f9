"""Codes of directions: a few bits for each component of a vector seen from the mean, and its length in a float.

What they are made of does not depend on the data, so nothing but the mean is learned. They take the components of a unit
vector for nearly normal and alike, as a random turn makes them: train a `Rotation` of kind "random" first.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import Array, Codes, FloatMatrix, Rows
from mlpq.codecs.adapter import Adapter, bits_of, mean_of
from mlpq.codecs.pq import unpack

Vector = npt.NDArray[np.float32]
SIGN_FACTORS = 12  # bytes of Faiss's RaBitQ codes of 2 bits and more, for a first look at the signs alone


def needs(quantizer: Any, name: str, version: str, what: str) -> None:
    """Refuse a Faiss whose quantizer lacks what a codec is made of."""
    if not hasattr(quantizer, name):
        raise RuntimeError(f"{what} needs faiss-cpu {version} or later; installed is {faiss.__version__}")


class _Direction(Adapter):
    """A codec that writes down the bits of a direction, and `FACTORS` float32 numbers.

    Faiss encodes vectors of unit length, so that no scale of the data is too small for it; factors are put right here.
    """

    FACTORS = 2  # the squared length, and what the decoded direction is multiplied by

    def __init__(self, d: int, nbits: int, allowed: tuple[int, ...]) -> None:
        super().__init__(d)
        self.nbits = bits_of(nbits, allowed)
        self.code_size = self._bits + 4 * self.FACTORS

    @property
    def _bits(self) -> int:
        """Bytes of a direction."""
        return (self.d * self.nbits + 7) // 8

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"centre": (self.d,)}

    def _learned(self, x: Rows) -> dict[str, Array]:
        return {"centre": mean_of(x)}

    def _encoded(self, x: FloatMatrix) -> Codes:
        x = x - self._held["centre"]
        lengths = np.sqrt(np.square(x, dtype=np.float64).sum(axis=1, keepdims=True))
        directions = (x / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        bits, factors = self._of_directions(directions)
        factors = np.hstack([lengths**2, factors * lengths])[:, -self.FACTORS :].astype("<f4")
        return np.hstack([bits, factors.view(np.uint8)])

    def _factors(self, codes: Codes) -> FloatMatrix:
        factors: FloatMatrix = np.ascontiguousarray(codes[:, self._bits :]).view("<f4")
        return factors

    def _decoded(self, codes: Codes) -> FloatMatrix:
        decoded = self._directions(codes)
        decoded *= self._factors(codes)[:, -1:]
        decoded += self._held["centre"]
        return decoded

    def _of_directions(self, x: FloatMatrix) -> tuple[Codes, FloatMatrix]:
        """Return the bits of unit vectors (n, d), and what their decoded directions are to be multiplied by: (n, 1)."""
        raise NotImplementedError

    def _directions(self, codes: Codes) -> FloatMatrix:
        """Return the decoded directions, (n, d), of no certain length."""
        raise NotImplementedError


class _Estimating(_Direction):
    """A codec whose decoded vectors are too long, so that inner products with them are not biased."""

    def norms(self, codes: npt.ArrayLike) -> Vector:
        """Return what stands in the place of ||decode(codes)||^2 in the estimate of squared distances: (n,) float32.

        With c the centre, r the vector less c and z the decoded one less c, it is ||c||^2 + 2 c.z + ||r||^2: the estimate
        is then ||q - c||^2 - 2 (q - c).z + ||r||^2.

        Raises:
            RuntimeError: not trained.
            TypeError, ValueError: codes are not uint8, or not (n, code_size).
        """
        _check.trained(self.is_trained, type(self).__name__, "norms")
        packed = _check.packed(codes, "codes", self.code_size)
        centre = self._held["centre"].astype(np.float64)
        norms = self._factors(packed)[:, 0].astype(np.float64) + centre @ centre
        if centre.any():
            norms += 2 * (self._decoded(packed) - self._held["centre"]) @ centre
        return norms.astype(np.float32)


class TurboQuant(_Direction):
    """Codes each component of the direction by the best levels for a normal distribution, and the length in a float.

    Zandieh, Daliri, Hadian & Mirrokni, TurboQuant (2025), the variant for the least squared error; needs faiss-cpu 1.15.

    Args:
        d: dimension of the vectors.
        nbits: bits per component: 1, 2, 3, 4 or 8.

    Attributes:
        code_size: bytes per code, ceil(d * nbits / 8) + 4.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1000, 16))
        >>> TurboQuant(16, nbits=4).train(x).encode(x).shape
        (1000, 12)
    """

    FACTORS = 1

    def __init__(self, d: int, nbits: int = 4) -> None:
        needs(faiss.ScalarQuantizer, "QT_1bit_tqmse", "1.15", "TurboQuant")
        super().__init__(d, nbits, (1, 2, 3, 4, 8))

    def _made(self) -> Any:
        quantizer = faiss.ScalarQuantizer(self.d, getattr(faiss.ScalarQuantizer, f"QT_{self.nbits}bit_tqmse"))
        quantizer.train(np.zeros((1, self.d), np.float32))  # its levels are those of any data
        return quantizer

    def _of_directions(self, x: FloatMatrix) -> tuple[Codes, FloatMatrix]:
        return self._faiss.compute_codes(x), np.ones((len(x), 1), np.float32)

    def _directions(self, codes: Codes) -> FloatMatrix:
        directions: FloatMatrix = self._faiss.decode(np.ascontiguousarray(codes[:, : self._bits]))
        return directions


class EDEN(_Estimating):
    """Codes the direction as `TurboQuant` does, with a factor that makes estimated distances unbiased.

    Vargaftik, Ben Basat, Portnoy, Mendelson, Ben-Itzhak & Mitzenmacher, EDEN (2022); needs faiss-cpu 1.15.

    Args:
        d: dimension of the vectors.
        nbits: bits per component, 1 to 8.

    Attributes:
        code_size: bytes per code, ceil(d * nbits / 8) + 8.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1000, 16))
        >>> EDEN(16, nbits=4).train(x).encode(x).shape
        (1000, 16)
    """

    def __init__(self, d: int, nbits: int = 4) -> None:
        needs(faiss, "IndexEDEN", "1.15", "EDEN")
        super().__init__(d, nbits, tuple(range(1, 9)))

    def _made(self) -> Any:
        index = faiss.IndexEDEN(self.d, faiss.METRIC_L2, self.nbits)
        index.train(np.zeros((1, self.d), np.float32))  # the centre, which is ours to subtract
        return index

    def _of_directions(self, x: FloatMatrix) -> tuple[Codes, FloatMatrix]:
        codes = self._faiss.sa_encode(x)
        return codes[:, : self._bits], self._factors(codes)[:, 1:]

    def _directions(self, codes: Codes) -> FloatMatrix:
        codes = codes.copy()
        codes[:, self._bits :] = np.array([1, 1], "<f4").view(np.uint8)
        directions: FloatMatrix = self._faiss.sa_decode(codes)
        return directions


class RaBitQ(_Estimating):
    """Codes the direction by the nearest of 2**(d * nbits) on a turned grid, with a factor for unbiased estimates.

    Gao & Long, RaBitQ (2024), and with more bits Gao et al., Practical and asymptotically optimal quantization (2025).
    Faiss's codes of 2 bits and more have 12 bytes in addition, for a first look at the signs, which are left out. Needs
    faiss-cpu 1.13.2.

    Args:
        d: dimension of the vectors.
        nbits: bits per component, 1 to 4.

    Attributes:
        code_size: bytes per code: ceil(d / 8) + ceil(d * (nbits - 1) / 8) + 8.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((1000, 16))
        >>> RaBitQ(16).train(x).encode(x).shape
        (1000, 10)
    """

    def __init__(self, d: int, nbits: int = 1) -> None:
        needs(getattr(faiss, "RaBitQuantizer", None), "nb_bits", "1.13.2", "RaBitQ")
        super().__init__(d, nbits, (1, 2, 3, 4))

    @property
    def _signs(self) -> int:
        """Bytes of the signs, which come first."""
        return (self.d + 7) // 8

    @property
    def _bits(self) -> int:
        return self._signs + (self.d * (self.nbits - 1) + 7) // 8

    def _made(self) -> Any:
        return faiss.RaBitQuantizer(self.d, faiss.METRIC_L2, self.nbits)

    def _of_directions(self, x: FloatMatrix) -> tuple[Codes, FloatMatrix]:
        codes = self._faiss.compute_codes(x)
        if self.nbits == 1:
            return codes[:, : self._bits], self._factors(codes)[:, 1:] * np.float32(2 / self.d**0.5)
        codes = np.delete(codes, slice(self._signs, self._signs + SIGN_FACTORS), axis=1)
        return codes[:, : self._bits], self._factors(codes)[:, 1:] * np.float32(-0.5)

    def _directions(self, codes: Codes) -> FloatMatrix:
        """Return the points of the grid, odd multiples of 1/2: Faiss decodes no more than the signs."""
        levels = unpack(np.ascontiguousarray(codes[:, : self._signs]), self.d, 1).astype(np.float32)
        levels *= 2 ** (self.nbits - 1)
        if self.nbits > 1:
            levels += unpack(np.ascontiguousarray(codes[:, self._signs : self._bits]), self.d, self.nbits - 1)
        levels -= 2 ** (self.nbits - 1) - 0.5
        return levels
