"""What is written down for a vector: codecs, and the turns of the axes before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt

from mlpq._check import Array, Codes, FloatMatrix


@runtime_checkable
class Codec(Protocol):
    """What the cells of an index ask of a codec, whatever it writes down.

    The distance of a query to a coded vector is that to the decoded one, unless the codec has `norms`.

    Attributes:
        d: dimension of the vectors.
        code_size: bytes of a code, with its factors.
    """

    d: int
    code_size: int

    @property
    def is_trained(self) -> bool:
        """Whether `encode` and `decode` may be called."""
        ...

    def train(self, xt: npt.ArrayLike) -> Self:
        """Learn from xt (n, d) what codes need, and return the codec itself."""
        ...

    def encode(self, x: npt.ArrayLike) -> Codes:
        """Return the codes of x (n, d): (n, code_size) uint8."""
        ...

    def decode(self, codes: npt.ArrayLike) -> FloatMatrix:
        """Return what codes (n, code_size) stand for: (n, d) float32."""
        ...

    def arrays(self) -> dict[str, Array]:
        """Return everything that a trained codec holds, by name: what is counted, and what a file keeps."""
        ...

    def restore(self, arrays: Mapping[str, Array]) -> Self:
        """Take over the arrays of a codec with the same `settings`: the same codes, decoded vectors and norms follow."""
        ...

    def settings(self) -> dict[str, int]:
        """Return the arguments of the constructor, whole numbers and bools."""
        ...


@runtime_checkable
class EstimatingCodec(Codec, Protocol):
    """A codec whose estimate of a squared distance is not the distance to the decoded vector.

    It is ||q||^2 - 2 q.decode(code) + norms(code): what stands in the place of ||decode(code)||^2 is nearer to ||x||^2.
    """

    def norms(self, codes: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return what stands in the place of the squared norms of decoded vectors: (n,) float32."""
        ...
