"""Faiss's own indexes behind the interface of ours, for comparison."""

from __future__ import annotations

from copy import deepcopy
from typing import Self

import faiss
import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import FloatMatrix, IdMatrix
from mlpq._objects import Memory, shown


class FaissIndex:
    """Any index of Faiss's index factory, such as "Flat", "IVF100,Flat", "IVF100,PQ8" or "IVF100,PQ16x4fs".

    Args:
        d: dimension of the vectors.
        factory: Faiss's description of the index.

    Attributes:
        index: the Faiss index itself, to set what this class does not.
        factory: the description, or None for an index that came by `of`.

    Example:
        >>> x = np.random.default_rng(0).random((1000, 8))
        >>> D, I = FaissIndex(8, "IVF10,Flat").train(x).add(x).search(x[:3], k=1, nprobe=2)
        >>> I.ravel()
        array([0, 1, 2])
    """

    def __init__(self, d: int, factory: str) -> None:
        self.d = _check.integer(d, "d", 1)
        self.factory: str | None = factory
        try:
            self.index = faiss.index_factory(self.d, factory)
        except RuntimeError as error:
            raise ValueError(f"factory must describe a Faiss index for d={d}; got {factory!r}: {error}") from None

    @classmethod
    def of(cls, index: faiss.Index) -> Self:
        """Wrap an index that exists, as `faiss.read_index` gives it; the index itself, no copy.

        Raises:
            TypeError: not an index of Faiss's.
        """
        if not isinstance(index, faiss.Index):
            raise TypeError(f"index must be a Faiss index; got {type(index).__name__}")
        new = object.__new__(cls)
        new.d, new.factory, new.index = index.d, None, index
        return new

    def __repr__(self) -> str:
        counted = {"ntotal": self.ntotal} if self.index.is_trained else {"trained": False}
        kind = {"factory": self.factory} if self.factory else {"index": type(self.index).__name__}
        return shown(self, d=self.d, **kind, **counted)

    def __copy__(self) -> Self:
        return deepcopy(self)

    @property
    def ntotal(self) -> int:
        """Number of vectors added."""
        return int(self.index.ntotal)

    def train(self, xt: npt.ArrayLike) -> Self:
        """Train on xt (n, d), with Faiss's own settings.

        Raises:
            ValueError: wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        self.index.train(_check.matrix(xt, "xt", self.d))
        return self

    def add(self, xb: npt.ArrayLike) -> Self:
        """Append xb (n, d); ids count on from `ntotal`.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.index.is_trained, "FaissIndex", "add")
        self.index.add(_check.matrix(xb, "xb", self.d, least=0))
        return self

    def search(self, xq: npt.ArrayLike, k: int, *, nprobe: int = 1) -> tuple[FloatMatrix, IdMatrix]:
        """Return D (nq, k) float32 squared distances and I (nq, k) int64 ids, padded with +inf and -1.

        Of an index by inner product D holds these, padded with -inf. nprobe counts where the index has inverted lists;
        elsewhere it is ignored.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`; k < 1, nprobe < 1.
        """
        _check.trained(self.index.is_trained, "FaissIndex", "search")
        k, nprobe = _check.integer(k, "k", 1), _check.integer(nprobe, "nprobe", 1)
        lists = faiss.try_extract_index_ivf(self.index)
        if lists is not None:
            lists.nprobe = nprobe
        D, I = self.index.search(_check.matrix(xq, "xq", self.d, least=0), k)
        padding = -np.inf if faiss.is_similarity_metric(self.index.metric_type) else np.inf
        D[I < 0] = padding  # Faiss gives the largest float, or the smallest
        return D, I

    def memory(self) -> Memory:
        """Return the bytes of the serialized index, as the one component that Faiss reports."""
        return Memory({"serialized": len(faiss.serialize_index(self.index))})
