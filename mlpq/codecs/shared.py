"""One codec for the residuals of all cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt

from mlpq._check import Array, Codes, FloatMatrix
from mlpq.codecs import Codec, EstimatingCodec
from mlpq.search.lists import Ids


class Shared:
    """Any trained codec in the place of `Codebooks`: the cell makes no difference.

    Attributes:
        codec: the codec.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec

    @classmethod
    def restored(cls, codec: Codec, arrays: Mapping[str, Array]) -> Self:
        """Return what `arrays` returned, in a codec with the same settings."""
        prefix = "codec_"
        own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        codec.restore(own)
        return cls(codec)

    def encode(self, cells: Ids, x: FloatMatrix, centroids: FloatMatrix) -> Codes:
        """Return the codes (n, code_size) of what is left of x (n, d) in some cells (n,), less their centroids."""
        return self.codec.encode(x - centroids[cells])

    def decode(self, cells: Ids, codes: Codes) -> FloatMatrix:
        """Return what codes (n, code_size) stand for, (n, d)."""
        return self.codec.decode(codes)

    def norms(self, codes: Codes) -> npt.NDArray[np.float32] | None:
        """Return what is in the place of the squared norms of the decoded, (n,), if the codec has something else there."""
        return self.codec.norms(codes) if isinstance(self.codec, EstimatingCodec) else None

    def arrays(self) -> dict[str, Array]:
        """Return what it holds, by component."""
        return {f"codec_{name}": array for name, array in self.codec.arrays().items()}
