"""Validation of arguments: every public function checks its input here, before it changes anything.

A wrong type raises `TypeError`, a wrong value `ValueError`, a wrong order of calls `RuntimeError`. Each message
names the argument, what came and what is allowed.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float32]
IdMatrix = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
Metric = Literal["l2", "cosine", "ip"]
Word = TypeVar("Word", bound=str)

METRICS = get_args(Metric)
MAX_NBITS = 16
MAX_ID = 2**63 - 1
LARGEST = 1e15  # of the numbers in a vector: float32 then holds any squared distance, up to d * 2e15**2
FLOAT32 = np.float64(np.finfo(np.float32).max)  # compared with float16, a plain float would become inf
UNIT = 2.0**-22  # a length that differs from 1 by less is 1: float32 brings a vector scaled to unit length no nearer
BLOCK = 1 << 20  # numbers that are in float64 at a time
CHUNK = 1 << 24  # numbers that are converted to float32 at a time, where not all are needed at once


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


class Rows:
    """Vectors (n, d) that are checked, and become float32 when they are read: of a file, only what is in use is held.

    Whatever takes vectors takes these too, and does not check them again.

    Args:
        array: (n, d) numbers.
        unit: scale each row to unit length as it is read.
    """

    def __init__(self, array: Array, unit: bool = False) -> None:
        self.array, self.unit = array, unit

    def __len__(self) -> int:
        return len(self.array)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> FloatMatrix:
        return self[:]

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> FloatMatrix:
        """Return some rows as a C-contiguous float32 matrix; a slice of one is not copied."""
        if self.unit:
            return scaled(Rows(self.array)[rows])
        if isinstance(rows, slice) or self.array.dtype == np.float32:
            return np.ascontiguousarray(self.array[rows], np.float32)
        taken = np.empty((len(rows), self.shape[1]), np.float32)
        for part in parts(taken):
            taken[part] = self.array[rows[part]]
        return taken

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def parts(self) -> list[slice]:
        """Cut the rows into parts that may be converted one by one; all are one where nothing is converted."""
        as_it_is = self.array.dtype == np.float32 and self.array.flags.c_contiguous and not self.unit
        return [slice(0, len(self))] if as_it_is else parts(self.array)


def parts(x: Array, numbers: int | None = None) -> list[slice]:
    """Cut the rows of x (n, d) into one slice or more, none of more than so many `numbers` unless it is a single row.

    Without it, `CHUNK` is meant.
    """
    n, step = len(x), max(1, (numbers or CHUNK) // max(1, x[:1].size))
    return [slice(start, min(start + step, n)) for start in range(0, max(1, n), step)]


def lengths(x: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return the lengths of the rows of x (n, d), (n,)."""
    found = np.empty(len(x))
    for part in parts(x, BLOCK):
        found[part] = np.sqrt(np.square(x[part], dtype=np.float64).sum(axis=1))
    return found


def scaled(x: FloatMatrix, out: FloatMatrix | None = None) -> FloatMatrix:
    """Return the rows of x (n, d) at unit length, in `out` if given, which may be x; one that has it already stays as it is."""
    out = np.empty_like(x) if out is None else out
    factors = lengths(x)
    factors[np.abs(factors - 1) < UNIT] = 1
    for part in parts(x, BLOCK):
        np.divide(x[part], factors[part, None], out=out[part], dtype=np.float64, casting="same_kind")
    return out


def nonzero(x: Rows, name: str) -> None:
    """Refuse zero vectors, which have no direction."""
    for part in x.parts():
        zero = np.flatnonzero(~x[part].any(axis=1))
        if len(zero):
            raise ValueError(
                f"{name} must not hold a zero vector where the metric is cosine; row {part.start + zero[0]} is one"
            )


def matrix(
    x: Any, name: str, d: int | None = None, *, least: int = 1, largest: float = LARGEST, metric: str = "l2"
) -> FloatMatrix:
    """Return `x` as a C-contiguous float32 matrix of shape (n, d), without a copy where it already is one; see `rows`."""
    return rows(x, name, d, least=least, largest=largest, metric=metric)[:]


def rows(
    x: Any, name: str, d: int | None = None, *, least: int = 1, largest: float = LARGEST, metric: str = "l2"
) -> Rows:
    """Return `x`, floats or integers of shape (n, d), as `Rows`: checked as a whole, and not copied.

    Refused: any other dtype, masked entries, other than two dimensions, fewer than `least` rows, NaN, and numbers beyond
    `largest`. For the metric "cosine" they are read at unit length, and zero vectors are refused.
    """
    if isinstance(x, Rows):
        return x
    found = array(x, name)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold floats or integers; got dtype {found.dtype}{_hint(found.dtype)}")
    wanted = f"(n, {d})" if d is not None else "(n, d)"
    if found.ndim != 2:
        hint = "; a single vector v goes in as v[None, :]" if found.ndim == 1 else ""
        raise ValueError(f"{name} must have shape {wanted}; got {found.ndim}-D with shape {found.shape}{hint}")
    if d is not None and found.shape[1] != d:
        raise ValueError(f"{name} must have shape {wanted}; got shape {found.shape}")
    if len(found) < least or found.shape[1] == 0:
        raise ValueError(f"{name} must not be empty; got shape {found.shape}")
    if found.size and not (found.dtype.kind in "iu" and np.iinfo(found.dtype).max <= largest):
        _check_range(found, name, largest)
    if metric == "cosine":
        nonzero(Rows(found), name)
    return Rows(found, unit=metric == "cosine")


def array(x: Any, name: str) -> Array:
    """Return `x` as an array; what it hides behind a mask would come to light, and is refused."""
    if any(np.ma.is_masked(part) for part in (x if isinstance(x, list | tuple) else [x])):
        raise ValueError(f"{name} must not have masked entries: fill them, as in x.filled(0), or leave their rows out")
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name} must be an array: {error}") from None


def _hint(dtype: np.dtype[Any]) -> str:
    """Say how numbers of a dtype that is refused become one that is not."""
    if dtype.kind == "O":
        return "; convert it first, as in np.asarray(x, np.float32), or df.to_numpy(np.float32, na_value=np.nan)"
    if dtype.kind == "V" and dtype.names is None and dtype.type is not np.void:  # of the package ml_dtypes
        return "; convert it first: x.astype(np.float32)"
    if dtype == "V2":
        return "; if that is bfloat16, convert it first: x.view(ml_dtypes.bfloat16).astype(np.float32)"
    return ""


def _check_range(x: Array, name: str, largest: float) -> None:
    """Refuse NaN, which reaches min and max, and numbers beyond `largest`."""
    low, high = float(x.min()), float(x.max())
    if not (low >= -FLOAT32 and high <= FLOAT32):
        bad = np.flatnonzero(~np.concatenate([(np.abs(x[part]) <= FLOAT32).all(axis=1) for part in parts(x)]))
        raise ValueError(
            f"{name} must be finite in float32; NaN or inf in {len(bad)} of {len(x)} rows, first in row {bad[0]}"
        )
    if max(high, -low) > largest:
        raise ValueError(
            f"{name} must stay within ±{largest:.0e} for float32 distances; got {max(high, -low):.1e}; "
            "divide it by a constant"
        )


def ids(I: Any, name: str) -> IdMatrix:
    """Return ids as an int64 matrix of shape (nq, k)."""
    found = array(I, name)
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integer ids; got dtype {found.dtype}")
    if found.ndim != 2:
        raise ValueError(f"{name} must have shape (nq, k); got {found.ndim}-D with shape {found.shape}")
    return found.astype(np.int64, copy=False)


def id_list(ids: Any, name: str) -> IdMatrix:
    """Return ids as int64 of shape (n,), from 0 to 2**63 - 1."""
    found = array(ids, name)
    if found.size == 0:
        found = found.astype(np.int64)
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integer ids; got dtype {found.dtype}")
    if found.ndim != 1:
        raise ValueError(f"{name} must have shape (n,); got {found.ndim}-D with shape {found.shape}")
    if found.size and (found.min() < 0 or found.max() > MAX_ID):
        raise ValueError(f"{name} must be from 0 to 2**63 - 1; got {found.min()} to {found.max()}")
    return found.astype(np.int64, copy=False)


def new_ids(ids: Any, n: int, present: Array) -> IdMatrix:
    """Return n ids as int64 of shape (n,), none twice, none present; without ids, those after the largest present."""
    if ids is None:
        first = int(present.max()) + 1 if len(present) else 0
        return id_list(np.arange(first, first + n, dtype=np.uint64), "ids")
    found = id_list(ids, "ids")
    if len(found) != n:
        raise ValueError(f"ids must be as many as the vectors, {n}; got {len(found)}")
    values, counts = np.unique(found, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"ids must differ; {values[counts > 1][0]} occurs {counts[counts > 1][0]} times")
    if (there := found[np.isin(found, present)]).size:
        raise ValueError(f"ids must be new; {there[0]} is in the index")
    return found


def enough(n: int, nbits: int) -> None:
    """Refuse fewer training points than codewords."""
    if n < 2**nbits:
        raise ValueError(f"xt must hold at least 2**nbits = {2**nbits} points for nbits={nbits}; got {n}")


def packed(codes: Any, name: str, code_size: int) -> Codes:
    """Return packed codes as a C-contiguous uint8 matrix of shape (n, code_size)."""
    found = array(codes, name)
    if found.dtype != np.uint8:
        raise TypeError(f"{name} must be packed codes of dtype uint8; got dtype {found.dtype}")
    if found.ndim != 2 or found.shape[1] != code_size:
        raise ValueError(f"{name} must have shape (n, {code_size}); got shape {found.shape}")
    return np.ascontiguousarray(found)


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
