"""One engine of the comparison, and the few ways in which the catalogues write it down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

Setting = dict[str, int]


@dataclass(frozen=True)
class Entry:
    """One engine of the comparison, in a process of its own.

    Attributes:
        name, family: what tables and figures call it.
        kind: key of `engines.KINDS`.
        arguments: what it is built with.
        settings: what it is searched with, one point each.
        originals: whether it keeps the vectors, or 8-bit copies, to rank by distances to them.
        queries: it answers only the first so many; None: all.
    """

    name: str
    family: str
    kind: str
    arguments: dict[str, Any]
    settings: tuple[Setting, ...]
    originals: bool
    queries: int | None = field(default=None)

    @property
    def ours(self) -> bool:
        return self.kind == "ours"


def each(name: str, values: Iterable[int]) -> tuple[Setting, ...]:
    return tuple({name: value} for value in values)


def paired(first: str, second: str, values: Iterable[tuple[int, int]]) -> tuple[Setting, ...]:
    return tuple({first: a, second: b} for a, b in values)


def of_faiss(
    family: str, factory: str, settings: Sequence[Setting], *, originals: bool, queries: int | None = None
) -> Entry:
    return Entry(f"Faiss {factory}", family, "faiss", {"factory": factory}, tuple(settings), originals, queries)


def of_ours(family: str, settings: Sequence[Setting], n_inner: int, **arguments: Any) -> Entry:
    n_outer = max(1, round(n_inner**0.5))
    words = [f"{n_inner} cells", *([f"PCA {pca}"] if (pca := arguments.get("pca_dim")) else [])]
    words += [f"m={arguments['m']}", f"{arguments['nbits']}-bit", arguments["codebooks"]]
    kept = bool(arguments.get("keep_originals"))
    name = f"mlpq {', '.join(words)}{', originals' if kept else ''}"
    return Entry(name, family, "ours", {"n_inner": n_inner, "n_outer": n_outer, **arguments}, tuple(settings), kept)
