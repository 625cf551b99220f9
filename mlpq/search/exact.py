"""The exact answer: every query is compared with every vector."""

from __future__ import annotations

from typing import Self

import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import FloatMatrix, IdMatrix, Metric
from mlpq._objects import Memory, shown
from mlpq._parallel import undisturbed
from mlpq.search.distance import balanced, nearest, pad
from mlpq.search.lists import grow


class ExactIndex:
    """Brute force: every query is compared with every vector, and the order is exact for any data.

    Args:
        d: dimension of the vectors.
        metric: "l2"; "cosine", by vectors scaled to unit length as they come; or "ip" for the largest inner products.

    Example:
        >>> D, I = ExactIndex(2).add([[0, 0], [1, 1]]).search([[0.9, 1]], k=1)
        >>> I
        array([[1]])
    """

    def __init__(self, d: int, *, metric: Metric = "l2") -> None:
        self.d = _check.integer(d, "d", 1)
        self.metric = _check.one_of(metric, "metric", _check.METRICS)
        self.vectors = np.empty((0, self.d), np.float32)

    def __repr__(self) -> str:
        return shown(self, d=self.d, metric=None if self.metric == "l2" else self.metric, ntotal=self.ntotal)

    @property
    def ntotal(self) -> int:
        """Number of vectors added."""
        return len(self.vectors)

    def add(self, xb: npt.ArrayLike) -> Self:
        """Append a copy of xb (n, d); ids count on from `ntotal`.

        Raises:
            ValueError: wrong shape, NaN or inf; for "cosine" a zero vector.
            TypeError: not numbers.
        """
        x, n = _check.rows(xb, "xb", self.d, least=0, metric=self.metric), self.ntotal

        def append() -> None:
            try:
                grow(self, "vectors", n + len(x))
                for part in x.parts():
                    self.vectors[n:][part] = x[part]
            except BaseException:
                self.vectors = self.vectors[:n]
                raise

        undisturbed(append)
        return self

    def search(self, xq: npt.ArrayLike, k: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k nearest vectors of each row of xq (nq, d).

        Returns:
            D (nq, k) float32 squared distances and I (nq, k) int64 ids, nearest first; padded with +inf and -1 when
            k > ntotal. The order is that of sums of squared differences in float64; ties go to the lower id. For "ip", D
            holds inner products, largest first, padded with -inf.

        Raises:
            ValueError, TypeError: as in `add`; k < 1.
        """
        k = _check.integer(k, "k", 1)
        x = _check.matrix(xq, "xq", self.d, least=0, metric=self.metric)
        ip = self.metric == "ip"
        x, factors = balanced(x, self.vectors, ip)
        D, I = pad(*nearest(x, self.vectors, k, ip=ip), k)
        return D * factors, I

    def memory(self) -> Memory:
        """Return the bytes of every component, with the sum as `.total`."""
        return Memory.of({"originals": self.vectors})
