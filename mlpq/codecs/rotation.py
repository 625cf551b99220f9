"""Other axes before anything is encoded: random, principal components dealt out, or optimized for product quantization.

A product quantizer gives every sub-vector as many bits. Principal components in their own order would put most of the
variance into the first; the allocation of Ge, He, Ke & Sun, Optimized product quantization (2013), section IV-B, deals
them out greedily so that the product of the variances is much the same in each. From there the axes can be improved
together with the codebooks: section IV-A.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self, get_args

import faiss
import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import FloatMatrix
from mlpq._objects import shown
from mlpq._parallel import blocks, in_threads, one_thread, quick_training
from mlpq.clustering import MAX_SEED, sample

POINTS = 10_000  # a sample of this size gives the components
FITTED = 16_384  # rows, of which optimized axes need more: on 10,000 they fit the sample, and lose on other rows
HELD_OUT = 8  # one in so many of these rows decides whether the optimized axes are better
ITERATIONS = 6  # of optimized product quantization, each with one step of k-means: more gain hardly anything
LLOYD = 8  # steps of k-means before the first
MOST_BITS = 8  # of the codebooks that axes are optimized for

Kind = Literal["random", "pca", "opq"]
KINDS = get_args(Kind)
Vector = npt.NDArray[np.float32]


class Rotation:
    """A turn of the axes from d dimensions to dim, which keeps distances where dim is d.

    With dim below d, principal components come first, and the turn is one among the dim largest.

    Args:
        d: dimension of the vectors.
        dim: dimension afterwards, at most d; None for d.
        kind: "random" draws an orthonormal matrix; "pca" takes principal components, dealt out to m sub-vectors so that
            their variances have similar products; "opq" goes on from there, or from the axes as they are if that is
            better, alternates between codebooks and axes (non-parametric optimized product quantization), and keeps what
            it finds if that is better still: rows held out decide.
        m: number of sub-vectors that the result will be cut into; divides dim. "random" does not use it.
        nbits: bits per sub-code, for "opq", which has no codebooks of more than 8 bits.
        seed: same seed, same machine: same axes.
        centred: False leaves the origin where it is, as inner products need: `mean` is zero, and second moments take the
            place of variances.

    Attributes:
        mean: (d,) float32, after `train`; what is subtracted first.
        axes: (d, dim) float32, after `train`; orthonormal columns.

    Example:
        >>> x = np.random.default_rng(0).random((1000, 16))
        >>> r = Rotation(16, 8, kind="pca", m=4).train(x)
        >>> r(x).shape, r.inverse(r(x)).shape
        ((1000, 8), (1000, 16))
    """

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
        self.d = _check.integer(d, "d", 1)
        self.dim = self.d if dim is None else _check.integer(dim, "dim", 1, self.d)
        self.kind = _check.one_of(kind, "kind", KINDS)
        cut = _check.integer(m, "m", 1) if kind == "random" else self.dim  # what is not cut need not be divisible
        self.m, self.nbits = _check.subvectors(cut, m, nbits)
        self.seed, self.centred = _check.integer(seed, "seed", 0, MAX_SEED), bool(centred)
        self.mean: Vector = np.empty(0, np.float32)
        self.axes: FloatMatrix = np.empty((0, self.dim), np.float32)

    def __repr__(self) -> str:
        cut = {"m": None if self.kind == "random" else self.m, "nbits": self.nbits if self.kind == "opq" else None}
        origin = None if self.centred else False
        return shown(self, d=self.d, dim=self.dim, kind=self.kind, **cut, centred=origin, trained=self.is_trained)

    @property
    def is_trained(self) -> bool:
        return len(self.axes) > 0

    @classmethod
    def from_arrays(cls, mean: npt.ArrayLike, axes: npt.ArrayLike) -> Self:
        """Return a trained rotation with a mean (d,) and axes (d, dim), for instance those of a file or of Faiss.

        Raises:
            ValueError: shapes that do not fit together, more axes than dimensions, columns not orthonormal, NaN or inf.
            TypeError: not numbers.
        """
        turned = _check.matrix(axes, "axes")
        d, dim = turned.shape
        if dim > d or not np.allclose(turned.T @ turned, np.eye(dim), atol=1e-3):
            raise ValueError(f"axes must have orthonormal columns; got shape {turned.shape}")
        rotation = cls(d, dim, kind="random")
        rotation.mean = _check.matrix(_check.array(mean, "mean")[None], "mean", d)[0]
        rotation.axes, rotation.centred = turned, bool(rotation.mean.any())
        return rotation

    def train(self, xt: npt.ArrayLike) -> Self:
        """Find the axes for xt (n, d). All of it is checked; a sample of 10,000 rows is used, for "opq" one of 16,384 too.

        Raises:
            ValueError: no points; with "opq", fewer than 2 * 2**min(nbits, 8); wrong shape, NaN or inf.
            TypeError: not numbers.
        """
        x = _check.rows(xt, "xt", self.d)
        least = 2 * 2 ** min(self.nbits, MOST_BITS)
        if self.kind == "opq" and len(x) < least:
            raise ValueError(f"xt must hold at least {least} points for nbits={self.nbits}; got {len(x)}")
        part, mean = x[sample(len(x), POINTS, self.seed)], np.zeros(self.d, np.float32)
        if self.centred:
            mean = part.mean(axis=0, dtype=np.float64).astype(np.float32)
        if self.kind == "random":
            axes = orthonormal(self.dim, self.seed)
            axes = axes if self.dim == self.d else product(self._components(part - mean), axes)
        else:
            axes = self._components(part - mean)
        if self.kind == "opq":
            more = x[np.random.default_rng(self.seed).permutation(len(x))[:FITTED]]
            starts = [np.eye(self.dim, dtype=np.float32), *([axes.T] if self.dim == self.d else [])]
            axes = product(axes, self._optimized(np.subtract(more, mean) @ axes, starts))
        self.mean, self.axes = mean, axes
        return self

    def _components(self, part: FloatMatrix) -> FloatMatrix:
        """Return the dim directions in which part (n, d) varies most, dealt out to m sub-vectors: (d, dim)."""
        wide = part if self.centred else part.astype(np.float64)  # or small directions are lost beside that of the mean
        products = wide.T @ wide
        with one_thread():
            variances, directions = np.linalg.eigh(products)
        largest = np.argsort(-variances, kind="stable")[: self.dim]
        order = largest if self.kind == "random" else largest[deal(variances[largest], self.m)]
        return np.ascontiguousarray(directions[:, order], np.float32)

    def _optimized(self, y: FloatMatrix, starts: list[FloatMatrix]) -> FloatMatrix:
        """Return the turn (dim, dim) after which y (n, dim) is best cut into sub-vectors: Ge et al., algorithm 1.

        It begins with the best of the turns in `starts`. Codebooks go on from those of the iteration before.
        """
        held_out, y = y[: len(y) // HELD_OUT], y[len(y) // HELD_OUT :]
        with quick_training():
            books = [self._codebooks(y @ turn) for turn in starts]
            errors = [distortion(pq, held_out @ turn) for pq, turn in zip(books, starts, strict=True)]
            best = int(np.argmin(errors))
            pq, turn = books[best], starts[best]
            pq.train_type, pq.cp.niter = faiss.ProductQuantizer.Train_hot_start, 1
            for _ in range(ITERATIONS):
                z = y @ turn
                pq.train(z)
                turn = nearest_turn(y, pq.decode(pq.compute_codes(z)))
            error = distortion(self._codebooks(y @ turn), held_out @ turn)  # new ones, trained for as long
        return turn if error < errors[best] else starts[best]

    def _codebooks(self, y: FloatMatrix) -> Any:
        """Return Faiss's product quantizer, trained for y (n, dim)."""
        pq = faiss.ProductQuantizer(self.dim, self.m, min(self.nbits, MOST_BITS))
        pq.cp.seed, pq.cp.niter, pq.cp.min_points_per_centroid = self.seed, LLOYD, 1
        pq.train(y)
        return pq

    def __call__(self, x: npt.ArrayLike) -> FloatMatrix:
        """Return x (n, d) on the new axes: (n, dim) float32.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.is_trained, "Rotation", "calling it")
        x = _check.rows(x, "x", self.d, least=0)
        y = np.empty((len(x), self.dim), np.float32)

        def turn(rows: slice) -> None:
            np.matmul(x[rows] - self.mean, self.axes, out=y[rows])

        in_threads(turn, blocks(len(x), 4 * self.d))
        return y

    def inverse(self, y: npt.ArrayLike) -> FloatMatrix:
        """Return y (n, dim) on the old axes, (n, d) float32: with dim below d, the nearest to what they came from.

        Raises:
            RuntimeError: not trained.
            ValueError, TypeError: as in `train`.
        """
        _check.trained(self.is_trained, "Rotation", "inverse")
        y = _check.rows(y, "y", self.dim, least=0, largest=math.sqrt(self.d) * 2 * _check.LARGEST)
        x = np.empty((len(y), self.d), np.float32)

        def turn(rows: slice) -> None:
            np.matmul(y[rows], self.axes.T, out=x[rows])
            x[rows] += self.mean

        in_threads(turn, blocks(len(y), 4 * self.d))
        return x


def distortion(pq: Any, y: FloatMatrix) -> float:
    """Return the mean squared distance of y (n, dim) to what Faiss's product quantizer makes of it."""
    return float(np.square(y - pq.decode(pq.compute_codes(y)), dtype=np.float64).sum(axis=1).mean())


def nearest_turn(y: FloatMatrix, goal: FloatMatrix) -> FloatMatrix:
    """Return the turn (dim, dim) that brings y (n, dim) nearest to a goal (n, dim): Procrustes' problem (Schönemann 1966)."""
    products = y.T @ goal
    with one_thread():
        left, _, right = np.linalg.svd(products)
    found: FloatMatrix = left @ right
    return found


def orthonormal(d: int, seed: int) -> FloatMatrix:
    """Return a random orthonormal matrix (d, d), all equally likely (Mezzadri 2007, section 5)."""
    normal = np.random.default_rng(seed).standard_normal((d, d))
    with one_thread():
        q, r = np.linalg.qr(normal)
    found: FloatMatrix = (q * np.sign(np.diag(r))).astype(np.float32)
    return found


def product(a: FloatMatrix, b: FloatMatrix) -> FloatMatrix:
    """Return a @ b, rounded once."""
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.float32)


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
