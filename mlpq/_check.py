"""Validation of arguments: every public function checks its input here, before it changes anything.

A wrong type raises `TypeError`, a wrong value `ValueError`, a wrong order of calls `RuntimeError`. Each message
names the argument, what came and what is allowed.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import isfinite
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float32]
IdMatrix = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
Word = TypeVar("Word", bound=str)

MAX_NBITS = 16
LARGEST = float(np.finfo(np.float32).max)


def integer(value: Any, name: str, low: int, high: int | None = None) -> int:
    """Return `value` as an int within [low, high]; bools and floats are refused."""
    allowed = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be {allowed}; got the bool {value}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {allowed}; got {value!r} of type {type(value).__name__}") from None
    if number < low or (high is not None and number > high):
        raise ValueError(f"{name} must be {allowed}; got {number}")
    return number


def one_of(value: Word, name: str, allowed: Sequence[Word]) -> Word:
    """Return `value`, which must be among those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
    return value


def matrix(x: Any, name: str, d: int | None = None) -> FloatMatrix:
    """Return `x` as a C-contiguous float32 matrix of shape (n, d), without a copy where it already is one.

    Floats and integers are converted. Refused: any other dtype, other than two dimensions, no rows, NaN, inf and
    values whose distances would exceed float32.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold floats or integers; got dtype {array.dtype}")
    wanted = f"(n, {d})" if d is not None else "(n, d)"
    if array.ndim != 2:
        hint = "; a single vector v goes in as v[None, :]" if array.ndim == 1 else ""
        raise ValueError(f"{name} must have shape {wanted}; got {array.ndim}-D with shape {array.shape}{hint}")
    if d is not None and array.shape[1] != d:
        raise ValueError(f"{name} must have shape {wanted}; got shape {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"{name} must not be empty; got shape {array.shape}")
    with np.errstate(over="ignore"):  # what does not fit float32 becomes inf and is refused below
        matrix = np.ascontiguousarray(array, dtype=np.float32)
    low, high = float(matrix.min()), float(matrix.max())
    if not (isfinite(low) and isfinite(high)):  # NaN and inf reach min or max
        rows = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        raise ValueError(
            f"{name} must be finite in float32; NaN or inf in {len(rows)} of {len(matrix)} rows, first in row {rows[0]}"
        )
    largest = max(high, -low)
    bound = (LARGEST / (4 * array.shape[1])) ** 0.5
    if largest > bound:  # a squared distance, up to d * (2 * bound)**2, would overflow
        raise ValueError(
            f"{name} must stay within ±{bound:.1e} for float32 distances; got {largest:.1e}; divide it by a constant"
        )
    return matrix


def ids(I: Any, name: str) -> IdMatrix:
    """Return ids as an int64 matrix of shape (nq, k)."""
    array = np.asarray(I)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integer ids; got dtype {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (nq, k); got {array.ndim}-D with shape {array.shape}")
    return array.astype(np.int64, copy=False)


def packed(codes: Any, name: str, code_size: int) -> Codes:
    """Return packed codes as a C-contiguous uint8 matrix of shape (n, code_size)."""
    array = np.asarray(codes)
    if array.dtype != np.uint8:
        raise TypeError(f"{name} must be packed codes of dtype uint8; got dtype {array.dtype}")
    if array.ndim != 2 or array.shape[1] != code_size:
        raise ValueError(f"{name} must have shape (n, {code_size}); got shape {array.shape}")
    return np.ascontiguousarray(array)


def valid_m(d: int) -> list[int]:
    """Return the divisors of `d`, ascending: the numbers of sub-vectors that a `d`-dimensional vector can be cut into.

    Example:
        >>> valid_m(28)
        [1, 2, 4, 7, 14, 28]

    Raises:
        TypeError, ValueError: `d` is not a whole number of at least 1.
    """
    d = integer(d, "d", 1)
    small = [m for m in range(1, int(d**0.5) + 1) if d % m == 0]
    return sorted({*small, *(d // m for m in small)})


def nearest_m(d: int, wanted: int) -> int:
    """Return the one of `valid_m(d)` that is nearest to the number wanted, by ratio: half as many is as far as twice.

    Of two that are equally near it is the smaller. For settings that suit vectors of any dimension.

    Example:
        >>> nearest_m(784, 8), nearest_m(100, 8), nearest_m(101, 8), nearest_m(101, 56)
        (8, 10, 1, 101)

    Raises:
        TypeError, ValueError: `d` or `wanted` is not a whole number of at least 1.
    """
    wanted = integer(wanted, "wanted", 1)
    return min(valid_m(d), key=lambda m: max(m, wanted) / min(m, wanted))


def subvectors(d: int, m: Any, nbits: Any) -> tuple[int, int]:
    """Return (m, nbits) as ints, or refuse them with the values that would do."""
    m = integer(m, "m", 1)
    if d % m:
        raise ValueError(f"m must divide d={d}; got m={m}; valid m: {', '.join(map(str, valid_m(d)))}")
    return m, integer(nbits, "nbits", 1, MAX_NBITS)


def trained(is_trained: bool, what: str, action: str) -> None:
    """Raise RuntimeError unless the object is trained."""
    if not is_trained:
        raise RuntimeError(f"{what} is not trained: call train(xt) before {action}")
