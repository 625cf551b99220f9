"""The exact answer: every query is compared with every vector."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import FloatMatrix, IdMatrix
from mlpq._objects import Memory, shown
from mlpq._parallel import undisturbed
from mlpq.search.distance import nearest, pad
from mlpq.search.lists import appended, kept_on_failure


class ExactIndex:
    """Brute force: every query is compared with every vector, and the order is exact for any data.

    Args:
        d: dimension of the vectors.

    Example:
        >>> D, I = ExactIndex(2).add([[0, 0], [1, 1]]).search([[0.9, 1]], k=1)
        >>> I
        array([[1]])
    """

    def __init__(self, d: int) -> None:
        self.d = _check.integer(d, "d", 1)
        self.vectors = np.empty((0, self.d), np.float32)

    def __repr__(self) -> str:
        return shown(self, d=self.d, ntotal=self.ntotal)

    @property
    def ntotal(self) -> int:
        """Number of vectors added."""
        return len(self.vectors)

    def add(self, xb: npt.ArrayLike) -> Self:
        """Append a copy of xb (n, d); ids count on from `ntotal`.

        Raises:
            ValueError: wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        x = _check.rows(xb, "xb", self.d, least=0)

        def append() -> None:
            with kept_on_failure(self, "vectors"):
                self.vectors = appended(self.vectors, x)

        undisturbed(append)
        return self

    def search(self, xq: npt.ArrayLike, k: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k nearest vectors of each row of xq (nq, d).

        Returns:
            D (nq, k) float32 squared distances and I (nq, k) int64 ids, nearest first; padded with +inf and -1 when
            k > ntotal. The order is that of sums of squared differences in float64; ties go to the lower id.

        Raises:
            ValueError, TypeError: as in `add`; k < 1.
        """
        k = _check.integer(k, "k", 1)
        return pad(*nearest(_check.matrix(xq, "xq", self.d, least=0), self.vectors, k), k)

    def memory(self) -> Memory:
        """Return the bytes of every component, with the sum as `.total`."""
        return Memory.of({"originals": self.vectors})
