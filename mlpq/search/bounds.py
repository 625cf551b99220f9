"""Products of matrices that hold squared distances, and how wrong they can be.

A product of float32 matrices is the quickest way to many distances, and it rounds: relative to the norms, not to the
distances. Each comes with the bound of its error (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section
3.1), so that what could be among the k nearest is known for certain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpq._check import FloatMatrix

SAMPLE = 64  # rows at least, if there are as many, whose medians are taken for the middle of all
UNIT: dict[type, float] = {np.float32: 2.0**-24, np.float64: 2.0**-53}  # the relative error of one rounding
TINY = float(np.finfo(np.float32).tiny)  # squares below it are rounded to anything from 0 to it
FAR = 8  # times as far from the origin as vectors are from their middle

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]


class Factor(NamedTuple):
    """One side of a product of matrices that holds lower bounds of squared distances.

    Attributes:
        rows: (n, d + 2).
        allowance: (n,); with those of both sides added, the product holds upper bounds.
    """

    rows: Floats
    allowance: Floats


def gamma(terms: int, dtype: type[Any] = np.float32) -> float:
    """Return the relative error of a sum of so many products, at most, in any order; 1/2 where it is not small."""
    error = terms * UNIT[dtype]
    return error / (1 - error) if error < 1 / 3 else 0.5


def margin(d: int, dtype: type[Any]) -> float:
    """Return the share of both norms that all rounding in a product of d components adds up to, with room to spare."""
    return min(4 * gamma(d + 4, dtype), 0.5)


def left_factor(
    x: FloatMatrix, origin: FloatMatrix | float = 0.0, dtype: type[Any] = np.float32, *, ip: bool = False
) -> Factor:
    """Return [-2x, ||x||^2, 1] for x (n, d) seen from `origin`, which may differ from row to row.

    The product with the transposed `right_factor` holds ||x - y||^2 = -2 x.y + ||x||^2 + ||y||^2, where both norms are
    lowered by the most that rounding can add to the result: of x - origin and y - origin, of norms, of the product.

    With `ip` it holds -2 x.y for the y before they were moved: x stays where it is, and -2 x.origin is in the place of
    ||x||^2. The right factor then has no norms.
    """
    left = np.empty((len(x), x.shape[1] + 2), dtype)
    moved = np.subtract(x, 0.0 if ip else origin, out=left[:, :-2], dtype=dtype)
    norms = np.einsum("ij,ij->i", moved, moved)
    error = margin(x.shape[1], dtype) * norms
    left[:, -2], left[:, -1] = norms - error, 1
    if ip:
        far = np.broadcast_to(np.asarray(origin, dtype), x.shape)
        error = 2 * error + margin(x.shape[1], dtype) * np.einsum("ij,ij->i", far, far)
        left[:, -2] = -2 * np.einsum("ij,ij->i", moved, far) - error
    moved *= -2
    return Factor(left, 2 * error)


def right_factor(
    y: FloatMatrix,
    origin: FloatMatrix | float = 0.0,
    dtype: type[Any] = np.float32,
    *,
    norms: npt.ArrayLike | None = None,
) -> Factor:
    """Return [y, 1, ||y||^2] for y (k, d) seen from `origin`, its norms lowered; see `left_factor`.

    `norms`, (k,) or one number, take the places of ||y||^2 where something else than the distance to y is estimated.
    """
    right = np.empty((len(y), y.shape[1] + 2), dtype)
    moved = np.subtract(y, origin, out=right[:, :-2], dtype=dtype)
    squares = np.einsum("ij,ij->i", moved, moved)
    own = squares if norms is None else np.asarray(norms, dtype)
    error = margin(y.shape[1], dtype) * np.maximum(squares, np.abs(own))
    right[:, -2], right[:, -1] = 1, own - error
    return Factor(right, 2 * error)


def reach(D: Any, d: int) -> Any:
    """Return the distance up to which rounding cannot tell from D, both summed in float32 over d components."""
    return D + 8 * gamma(d + 4) * np.abs(D) + 8 * (d + 4) * TINY


def rounding(D: FloatMatrix, d: int) -> FloatMatrix:
    """Return the error of distances (n,) summed in float32 over d components, at most."""
    errors: FloatMatrix = gamma(d + 4) * D + reach(0, d)
    return errors


def at_least_kth(D: Floats, k: int) -> Floats:
    """Return for each row of D (n, c) a number that at least k of its entries do not exceed, and few more."""
    n, c = D.shape
    if (size := c // (16 * k)) > 1:  # the k-th smallest of 16 k or more minima is hardly larger, and sooner found
        D = D[:, : c // size * size].reshape(n, size, c // size).min(axis=1)
    kth: Floats = np.partition(D, k - 1, axis=1)[:, k - 1]
    return kth


def within_reach(L: Floats, left: Floats, right: Floats, limit: Floats, k: int, d: int) -> tuple[Ids, Ids]:
    """Return rows and columns, both (n,), of the entries that could be among the k smallest of their row.

    Args:
        L: (n, c) lower bounds of distances in d dimensions.
        left, right: (n,) and (c,), what makes upper bounds of them.
        limit: (n,) entries above it are of no interest.
    """
    n, c = L.shape
    near = limit[:, None] >= L
    if k < c and np.count_nonzero(near) > 2 * k * n:
        rows, columns = np.divmod(np.flatnonzero(at_least_kth(L, k)[:, None] >= L), c)
        # Of k or more in each row: the largest is not below the k-th distance.
        upper = L[rows, columns] + right[columns]
        kth = np.maximum.reduceat(upper, np.searchsorted(rows, np.arange(n))) + left
        near = np.minimum(limit, reach(kth, d))[:, None] >= L
    rows, columns = np.divmod(np.flatnonzero(near), c)
    return rows, columns


def middle(y: FloatMatrix) -> FloatMatrix:
    """Return the median of each component over some rows of y (n, d): a row far from all others does not move it."""
    some = np.sort(sampled(y), axis=0)
    medians: FloatMatrix = some[len(some) // 2] if len(some) else np.zeros(y.shape[1], np.float32)
    return medians


def sampled(y: FloatMatrix) -> FloatMatrix:
    return y[:: max(1, len(y) // SAMPLE)]


def offset(x: FloatMatrix, m: int = 1) -> FloatMatrix:
    """Return where x (n, d) lies, (d,): for each of its m parts the middle, or 0 where the origin is near enough.

    Faiss multiplies matrices where it trains and encodes, and loses digits far from the origin.
    """
    origin = middle(x)
    spread = np.square(sampled(x) - origin, dtype=np.float64).mean(axis=0)
    far = np.square(origin, dtype=np.float64).reshape(m, -1).sum(axis=1) > FAR**2 * spread.reshape(m, -1).sum(axis=1)
    return np.where(np.repeat(far, x.shape[1] // m), origin, np.float32(0))


def moved(x: FloatMatrix, origin: FloatMatrix) -> FloatMatrix:
    """Return x (n, d) seen from the origin; x itself where that is 0."""
    return x - origin if origin.any() else x
