"""Fewer dimensions before anything else: principal components, dealt out so that sub-vectors carry equal weight.

A product quantizer gives every sub-vector as many bits. Principal components in their own order would put most of the
variance into the first; the allocation of Ge, He, Ke & Sun, Optimized product quantization (2013), section IV-B, deals
them out greedily so that the product of the variances is much the same in each.
"""

from __future__ import annotations

import math
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from mlpq._check import FloatMatrix, Rows
from mlpq._parallel import blocks, in_threads
from mlpq.clustering import sample

POINTS = 10_000  # a sample of this size gives the components


Kind = Literal["random", "pca", "opq"]
KINDS = get_args(Kind)


class Rotation:
    def __init__(
        self,
        d: int,
        dim: int | None = None,
        *,
        kind: Kind = "opq",
        m: int = 8,
        nbits: int = 8,
        seed: int = 0,
        centred: bool = True,
    ) -> None:
        self.d, self.dim, self.kind, self.m, self.seed, self.centred = d, dim or d, kind, m, seed, centred

    def train(self, x: Rows) -> Self:
        """Find the dim directions of largest variance of x (n, d), and deal them out to m sub-vectors."""
        part = np.asarray(x)[sample(len(x), POINTS, self.seed)]
        mean = part.mean(axis=0, dtype=np.float64).astype(np.float32)
        if not self.centred:
            mean[:] = 0
        variances, directions = np.linalg.eigh((part - mean).T @ (part - mean))
        largest = np.argsort(-variances, kind="stable")[: self.dim]
        return self.restore(
            mean, np.ascontiguousarray(directions[:, largest[deal(variances[largest], self.m)]], np.float32)
        )

    def restore(self, mean: FloatMatrix, axes: FloatMatrix) -> Self:
        self.mean, self.axes = mean, axes
        return self

    def inverse(self, y: FloatMatrix) -> FloatMatrix:
        return y @ self.axes.T + self.mean

    def __call__(self, x: FloatMatrix | Rows) -> FloatMatrix:
        """Return x (n, d) in the new coordinates, (n, dim)."""
        y = np.empty((len(x), self.axes.shape[1]), np.float32)

        def reduce(rows: slice) -> None:
            np.matmul(x[rows] - self.mean, self.axes, out=y[rows])

        in_threads(reduce, blocks(len(x), 4 * x.shape[1]))
        return y


def deal(variances: npt.NDArray[np.floating], m: int) -> npt.NDArray[np.int64]:
    """Return an order of the components, descending in variance, whose m equal parts have similar products."""
    parts: list[list[int]] = [[] for _ in range(m)]
    logs = [0.0] * m  # of the products
    room = len(variances) // m
    floor = max(float(variances[-1]), 1e-9 * float(variances[0]), 1e-30)  # logarithms are then of at least 1
    for i, variance in enumerate(variances):
        j = min((j for j in range(m) if len(parts[j]) < room), key=logs.__getitem__)
        parts[j].append(i)
        logs[j] += math.log(max(float(variance) / floor, 1))
    return np.array(parts).ravel()
