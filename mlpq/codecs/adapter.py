"""Faiss's quantizers behind one interface, `mlpq.codecs.Codec`: what all have in common, and the plainest of them.

Faiss trains, encodes and decodes. What is learned is held in NumPy arrays of ours, from which Faiss's objects are made
anew where they are needed: in copies, in other processes, after a file was read. Sums of codewords are in
`mlpq.codecs.sums`; what knows no more of the data than their mean, in `mlpq.codecs.directions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import faiss
import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import Array, Codes, FloatMatrix, Rows
from mlpq._objects import shown
from mlpq._parallel import block, cut, quick_training
from mlpq.search.bounds import moved, offset


class Adapter(ABC):
    """A codec over one of Faiss's quantizers.

    Attributes:
        d: dimension of the vectors.
        code_size: bytes of a code.
    """

    NAMES: ClassVar[tuple[str, ...]] = ("d", "nbits")  # of the constructor's arguments

    code_size: int

    def __init__(self, d: int) -> None:
        self.d = _check.integer(d, "d", 1)
        self._held: dict[str, Array] = {}

    def __repr__(self) -> str:
        return shown(self, **self.settings(), trained=self.is_trained)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_faiss"}  # that cannot be copied

    @property
    def is_trained(self) -> bool:
        return bool(self._held)

    def settings(self) -> dict[str, int]:
        """Return the arguments of the constructor."""
        return {name: getattr(self, name) for name in self.NAMES}

    def train(self, xt: npt.ArrayLike) -> Self:
        """Learn from xt (n, d) what codes need. All of xt is checked; some codecs work on a sample.

        Raises:
            ValueError: too few points, wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        x = _check.rows(xt, "xt", self.d)
        if len(x) < self._least:
            raise ValueError(f"xt must hold at least {self._least} points for {self}; got {len(x)}")
        self._hold(self._learned(x))
        return self

    def encode(self, x: npt.ArrayLike) -> Codes:
        """Return the codes of x (n, d): (n, code_size) uint8.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.is_trained, type(self).__name__, "encode")
        x = _check.rows(x, "x", self.d, least=0)
        codes = np.empty((len(x), self.code_size), np.uint8)
        for rows in cut(len(x), block() // self._entries):
            codes[rows] = self._encoded(x[rows])
        return codes

    def decode(self, codes: npt.ArrayLike) -> FloatMatrix:
        """Return what codes (n, code_size) stand for: (n, d) float32.

        Raises:
            RuntimeError: not trained.
            TypeError, ValueError: codes are not uint8, or not (n, code_size).
        """
        _check.trained(self.is_trained, type(self).__name__, "decode")
        return self._decoded(_check.packed(codes, "codes", self.code_size))

    def arrays(self) -> dict[str, Array]:
        """Return everything that a trained codec holds, by name."""
        return dict(self._held)

    def restore(self, arrays: Mapping[str, Array]) -> Self:
        """Take over the arrays of a trained codec with the same `settings`.

        Raises:
            ValueError: an array is missing, one too many, or of another shape or dtype; NaN or inf.
        """
        restored(arrays, self._shapes())
        self._hold({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        return self

    def _hold(self, arrays: dict[str, Array]) -> None:
        self._held = arrays
        self.__dict__.pop("_faiss", None)

    @cached_property
    def _faiss(self) -> Any:
        """Faiss's quantizer, made of what is held; calls from several threads share it."""
        return self._made()

    @property
    def _least(self) -> int:
        """How many rows training needs."""
        return 1

    @property
    def _entries(self) -> int:
        """How many numbers Faiss holds for a vector that it encodes."""
        return 2 * self.d

    @abstractmethod
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays that a trained codec holds, all float32."""

    @abstractmethod
    def _learned(self, x: Rows) -> dict[str, Array]: ...

    @abstractmethod
    def _made(self) -> Any: ...

    @abstractmethod
    def _encoded(self, x: FloatMatrix) -> Codes: ...

    @abstractmethod
    def _decoded(self, codes: Codes) -> FloatMatrix: ...


def restored(arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse arrays that are not float32, finite, and of these names and shapes."""
    if arrays.keys() != shapes.keys():
        raise ValueError(f"arrays must be {', '.join(sorted(shapes))}; got {', '.join(sorted(arrays)) or 'none'}")
    for name, shape in shapes.items():
        array = _check.array(arrays[name], name)
        if array.shape != shape or array.dtype != np.float32:
            raise ValueError(f"{name} must have shape {shape} and dtype float32; got {array.shape} and {array.dtype}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite")


def mean_of(x: Rows) -> npt.NDArray[np.float32]:
    """Return the mean of x (n, d), summed in float64: (d,)."""
    total = sum(x[part].sum(axis=0, dtype=np.float64) for part in x.parts())
    mean: npt.NDArray[np.float32] = (np.asarray(total) / len(x)).astype(np.float32)
    return mean


class Shifted(Adapter):
    """A codec of vectors seen from `origin`, which is 0 unless they lie far from there."""

    def _learned(self, x: Rows) -> dict[str, Array]:
        part = self._sample(x)
        origin = offset(part)
        with quick_training():
            return {"origin": origin} | self._trained(moved(part, origin))

    def _encoded(self, x: FloatMatrix) -> Codes:
        codes: Codes = self._faiss.compute_codes(moved(x, self._held["origin"]))
        return codes

    def _decoded(self, codes: Codes) -> FloatMatrix:
        decoded: FloatMatrix = self._faiss.decode(codes)
        return decoded + self._held["origin"] if self._held["origin"].any() else decoded

    @abstractmethod
    def _sample(self, x: Rows) -> FloatMatrix: ...

    @abstractmethod
    def _trained(self, x: FloatMatrix) -> dict[str, Array]: ...


class ScalarQuantizer(Shifted):
    """Codes each component by itself, in equal steps between the smallest and the largest of the training vectors.

    Args:
        d: dimension of the vectors.
        nbits: bits per component: 4, 6 or 8.

    Attributes:
        code_size: bytes per code, ceil(d * nbits / 8).

    Example:
        >>> x = np.random.default_rng(0).random((1000, 16))
        >>> sq = ScalarQuantizer(16, nbits=8).train(x)
        >>> bool(np.abs(sq.decode(sq.encode(x)) - x).max() < 1 / 255)
        True
    """

    def __init__(self, d: int, nbits: int = 8) -> None:
        super().__init__(d)
        self.nbits = bits_of(nbits, (4, 6, 8))
        self.code_size = (self.d * self.nbits + 7) // 8

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"origin": (self.d,), "ranges": (2, self.d)}

    def _sample(self, x: Rows) -> FloatMatrix:
        """Return what Faiss looks for among all rows, the smallest and the largest of each component: (2, d)."""
        extremes = np.stack([[part.min(axis=0), part.max(axis=0)] for part in map(x.__getitem__, x.parts())])
        found: FloatMatrix = np.stack([extremes[:, 0].min(axis=0), extremes[:, 1].max(axis=0)])
        return found

    def _trained(self, x: FloatMatrix) -> dict[str, Array]:
        quantizer = self._new()
        quantizer.train(x)
        return {"ranges": faiss.vector_to_array(quantizer.trained).reshape(2, self.d)}

    def _made(self) -> Any:
        quantizer = self._new()
        faiss.copy_array_to_vector(self._held["ranges"].ravel(), quantizer.trained)
        return quantizer

    def _new(self) -> Any:
        return faiss.ScalarQuantizer(self.d, getattr(faiss.ScalarQuantizer, f"QT_{self.nbits}bit"))


def bits_of(nbits: Any, allowed: tuple[int, ...]) -> int:
    """Return `nbits` as an int, which must be among those allowed."""
    if (bits := _check.integer(nbits, "nbits", 1)) not in allowed:
        raise ValueError(f"nbits must be one of {', '.join(map(str, allowed))}; got {bits}")
    return bits
