"""How objects are shown, and copied."""

from __future__ import annotations

from copy import copy
from typing import TypeVar

T = TypeVar("T")


def shown(thing: object, **facts: object) -> str:
    """Return one line that reads like the call that made the thing, with what else is worth knowing; None is left out."""
    return f"{type(thing).__name__}({', '.join(f'{name}={value!r}' for name, value in facts.items() if value is not None)})"


def copied(thing: T, *parts: str) -> T:
    """Return a shallow copy whose `parts`, which change in place, are copies as well."""
    new: T = object.__new__(type(thing))
    vars(new).update(vars(thing) | {part: copy(getattr(thing, part)) for part in parts})
    return new
