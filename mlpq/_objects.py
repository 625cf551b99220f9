"""How objects are shown, copied, and weighed."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TypeVar

from mlpq._check import Array

T = TypeVar("T")


def shown(thing: object, **facts: object) -> str:
    """Return one line that reads like the call that made the thing, with what else is worth knowing; None is left out."""
    return f"{type(thing).__name__}({', '.join(f'{name}={value!r}' for name, value in facts.items() if value is not None)})"


def copied(thing: T, *parts: str) -> T:
    """Return a shallow copy whose `parts`, which change in place, are copies as well."""
    new: T = object.__new__(type(thing))
    vars(new).update(vars(thing) | {part: copy(getattr(thing, part)) for part in parts})
    return new


class Memory(dict[str, int]):
    """Bytes by component; `.total` is their sum."""

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Memory:
        """Count the components that hold anything in memory."""
        in_memory = {name: array for name, array in arrays.items() if not mapped(array)}
        return cls({name: array.nbytes for name, array in in_memory.items() if array.nbytes})

    @property
    def total(self) -> int:
        """Bytes of all components together."""
        return sum(self.values())


def mapped(array: Array) -> bool:
    """Return whether an array is in a file; a copy of one that is has its class, and is in memory."""
    return getattr(array, "_mmap", None) is not None
