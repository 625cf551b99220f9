"""Which codecs `codecs` and `arena` measure, of which sizes, and the index of Faiss's factory beside each. Data only.

A size is in bytes per vector, code and id. Whatever is coded has been reduced by principal components first: a codec
with a fixed number of bits per component gets as many components as fit, one made of codewords some for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from mlpq.bench.sketch import TurboQuantProduct
from mlpq.codecs import Codec
from mlpq.codecs.adapter import ScalarQuantizer
from mlpq.codecs.directions import EDEN, RaBitQ, TurboQuant
from mlpq.codecs.signs import LSH
from mlpq.codecs.sums import AdditiveQuantizer, ResidualQuantizer

ID = 4  # bytes of an id
SIZES = (32, 64, 128)
BUDGETS = (24, 32, 48, 64, 96, 128, 192)  # of the arena
FEW = (12, 20)  # for sums of codewords, which take too long where they are many, and what they are compared with
ONLY_SIGNS = "it decodes no more than the signs"
NO_CELLS = (
    "no cells: Faiss's factory has no IVF for LSH, so all codes are compared, of at most d bits; it decodes no vectors"
)
UNIT = "its levels are those of unit vectors, and its codes hold no length of a residual"


@dataclass(frozen=True)
class Case:
    """One codec of one size for vectors of one dimension.

    Attributes:
        codec: its name, as `--codecs` has it.
        size: bytes per vector that were aimed at.
        dim: components that are coded.
        words: codewords in a code, of the codecs that take long where they are many; of others 0.
        ours: what `MultiLevelPQ` is built with, less the codec.
        make: returns the codec; None for product quantization.
        factory: of Faiss, with {} for the cells.
        faiss_rows: on which Faiss's index is trained, where not on all that ours has.
        note: what should be known of Faiss's index.
        too_long: whether it is not measured because of the time that it takes.
        decodes: whether what Faiss decodes is an approximation of the vector.
    """

    codec: str
    size: int
    dim: int
    ours: dict[str, Any]
    make: Callable[[], Codec] | None
    factory: str
    words: int = 0
    faiss_rows: int | None = None
    note: str = ""
    too_long: bool = False
    decodes: bool = True


Kind = Callable[[int, int], Case | None]  # of a size and d: None where the codec has no such size


def cases(d: int) -> list[Case]:
    """Return all cases for d dimensions, size by size."""
    found = [kind(size, d) for size in (*FEW, *SIZES) for kind in KINDS.values()]
    return [case for case in found if case is not None]


def contest(d: int) -> list[Case]:
    """Return the cases of the arena for d dimensions, budget by budget; none whose code is that of a smaller budget."""
    found: dict[tuple[object, ...], Case] = {}
    for size in (*FEW[1:], *BUDGETS):
        for name, kind in ARENA.items():
            if (case := kind(size, d)) is not None and (size not in FEW or name in ("pca+pq", "rq", "aq")):
                found.setdefault((name, case.dim, case.words, str(case.make and case.make()), str(case.ours)), case)
    return list(found.values())


def _products(name: str, turned: bool, each: int = 0) -> Kind:
    """Return the cases of product quantization of what is turned, with so many components for each codeword."""

    def case(size: int, d: int) -> Case | None:
        m = size - ID
        if m > d or (turned and size in FEW):
            return None
        dim = m * min(each or _each(m), d // m)
        ours = {"m": m, "codebook_dtype": "uint8", "rotation": "opq" if turned else "pca"}
        factory = f"OPQ{m}_{dim},{{}},PQ{m}np" if turned else f"PCA{dim},{{}},PQ{m}np"
        note = "OPQ with 8 iterations in the place of 50" if turned else ""
        return Case(name, size, dim, ours, None, factory, note=note)

    return case


def _plain(size: int, d: int) -> Case | None:
    """Return the case of product quantization as it is: m divides d, so that some bytes of the size may be left."""
    m = max(m for m in range(1, size - ID + 1) if d % m == 0)
    return Case("pq", size, d, {"m": m, "codebook_dtype": "uint8"}, None, f"{{}},PQ{m}np")


def _each(m: int) -> int:
    """Return how many components there are for each of m codewords."""
    return 8 if m < 20 else 4


def _sums(
    name: str, kind: type[ResidualQuantizer | AdditiveQuantizer], factory: str, measured: Container[int], rows: int
) -> Kind:
    """Return the cases of sums of M codewords: measured where M is one of `measured`."""

    def case(size: int, d: int) -> Case | None:
        M = size - ID
        dim = min(d, M * _each(M))
        index = f"PCA{dim},{{}},{factory}{M}x8"
        note = f"trained on {rows:,} rows, as ours is"
        ours = {"rotation": "pca"}
        return Case(name, size, dim, ours, lambda: kind(dim, M), index, M, rows, note, too_long=M not in measured)

    return case


def _components(
    name: str, kind: Callable[[int, int], Codec], nbits: int, rotation: str, factory: str, factors: int = 0,
    note: str = "", decodes: bool = True,
) -> Kind:  # fmt: skip
    """Return the cases of a codec with nbits for each component, and some bytes of factors."""

    def case(size: int, d: int) -> Case | None:
        code = size - ID - factors
        dim = min(d, 8 * code // nbits)
        while dim and kind(dim, nbits).code_size + ID > size:  # of two parts, each in whole bytes
            dim -= 1
        if size in FEW or 2 * dim * nbits < 8 * code:  # not half as long as it should be
            return None
        pca = "PCA" if rotation == "pca" else "PCAR"
        index = f"{pca}{dim},{{}},{factory}"
        ours = {"rotation": rotation}
        return Case(name, size, dim, ours, lambda: kind(dim, nbits), index, note=note, decodes=decodes)

    return case


def _signs(learned: bool) -> Kind:
    def case(size: int, d: int) -> Case | None:
        nbits = 8 * (size - ID)
        dim = min(d, nbits)
        if size in FEW or (learned and 2 * dim <= nbits):
            return None
        bits = dim if learned else nbits
        factory = f"ITQ{dim},LSH" if learned else f"PCA{dim},LSHr"
        name = "itq" if learned else "lsh"
        ours = {"rotation": "pca"}
        return Case(name, size, dim, ours, lambda: LSH(dim, bits, learned), factory, note=NO_CELLS, decodes=False)

    return case


KINDS: dict[str, Kind] = {
    "pq": _products("pq", turned=False),
    "opq": _products("opq", turned=True),
    "rq": _sums("rq", ResidualQuantizer, "RQ", measured=range(29), rows=ResidualQuantizer.ROWS),
    "aq": _sums("aq", AdditiveQuantizer, "LSQ", measured=range(9), rows=AdditiveQuantizer.ROWS),
    **{f"sq{bits}": _components(f"sq{bits}", ScalarQuantizer, bits, "pca", f"SQ{bits}") for bits in (4, 6, 8)},
    **{
        f"turboquant{bits}": _components(
            f"turboquant{bits}", TurboQuant, bits, "random", f"SQtqmse{bits}", 4, note=UNIT
        )
        for bits in (2, 4)
    },
    **{f"eden{bits}": _components(f"eden{bits}", EDEN, bits, "random", f"EDEN{bits}", 8) for bits in (2, 4)},
    "rabitq1": _components("rabitq1", RaBitQ, 1, "random", "RaBitQ", 8),
    **{
        f"rabitq{bits}": _components(
            f"rabitq{bits}", RaBitQ, bits, "random", f"RaBitQ{bits}", 8, note=ONLY_SIGNS, decodes=False
        )
        for bits in (2, 4)
    },
    "lsh": _signs(learned=False),
    "itq": _signs(learned=True),
}

LEARNED = ("pq", "pca+pq", "opq", "itq", "rq", "aq")  # codecs that learn codebooks, or a turn of their own
ARENA: dict[str, Kind] = {
    "pq": _plain,
    "pca+pq": _products("pca+pq", turned=False, each=6),
    "opq": _products("opq", turned=True, each=6),
    "sq4": KINDS["sq4"],
    "sq8": KINDS["sq8"],
    "lsh": KINDS["lsh"],
    "itq": KINDS["itq"],
    **{f"rabitq{bits}": _components(f"rabitq{bits}", RaBitQ, bits, "random", "", 8) for bits in (1, 2, 3, 4)},
    **{f"turboquant{bits}": _components(f"turboquant{bits}", TurboQuant, bits, "random", "", 4) for bits in (2, 3, 4)},
    **{
        f"turboprod{bits}": _components(f"turboprod{bits}", TurboQuantProduct, bits, "random", "", 8)
        for bits in (2, 3, 4)
    },
    **{f"eden{bits}": _components(f"eden{bits}", EDEN, bits, "random", "", 8) for bits in (2, 3, 4)},
    "rq": _sums("rq", ResidualQuantizer, "RQ", measured=(16, 28, 60), rows=ResidualQuantizer.ROWS),
    "aq": _sums("aq", AdditiveQuantizer, "LSQ", measured=(16,), rows=AdditiveQuantizer.ROWS),
}
