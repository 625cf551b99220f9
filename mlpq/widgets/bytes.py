"""Bytes: where they go, from a thousand vectors to a million million, whether they fit, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, ClassVar, get_args

import traitlets

from mlpq._objects import Memory
from mlpq.codecs.codebooks import Owner
from mlpq.data.datasets import Dataset, load_dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.tuning import predict_memory
from mlpq.plots import format_bytes
from mlpq.widgets.base import Control, Explorer, Point, key

PARTS = {
    "codes": ("codes",),
    "ids": ("ids",),
    "codebooks": ("codebooks",),
    "centroids": ("inner_centroids", "outer_centroids"),
    "bookkeeping": ("list_offsets", "codebook_of_cell", "inner_to_outer"),
}
CELLS = 100  # of the indexes that are built and measured
WANTED = 39  # training points per codeword; Faiss warns below
MEASURED = {"fashion-mnist": ((8, 8), (56, 4)), "wordnet": ((8, 8), (64, 4))}  # (m, nbits) of each, for each owner


def _decades(low: int, high: int) -> tuple[int, ...]:
    """Return 1, 2, 5, 10, ... times 10**low, up to 10**high."""
    return (*(step * 10**power for power in range(low, high) for step in (1, 2, 5)), 10**high)


def _words(values: tuple[int, ...]) -> dict[str, str]:
    """Return how numbers are shown: 50,000 and 5·10⁶."""

    def word(value: int) -> str:
        digits, power = str(value)[0], len(str(value)) - 1
        raised = "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(power))
        return f"{value:,}" if power < 6 else raised if digits == "1" else f"{digits}·{raised}"

    return {str(value): word(value) for value in values}


def _prices(hundredths: tuple[int, ...]) -> dict[str, str]:
    """Return how prices are shown: 3.00."""
    return {str(price): f"{price / 100:.2f}" for price in hundredths}


NS = tuple(sorted((*_decades(3, 12), 60_000, 107_659)))
CELLS_OFFERED = _decades(1, 7)
RAM = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000)  # GB
RAM_PRICES = (50, 100, 200, 300, 500, 1000, 2000)  # hundredths for a GB kept for a month, in anybody's money
SSD_PRICES = (1, 2, 5, 10, 20, 50)
RAM_WORDS = {str(gb): f"{gb} GB" if gb < 1000 else f"{gb // 1000} TB" for gb in RAM}


class Bytes(Explorer):
    """Bytes of an index by component, and whether it fits, by the formulas of `mlpq.predict_memory`.

    Controls: `N` vectors, `d`, `m`, `nbits`, `cells` (and their root, outer clusters), `owner`, `ram` in GB; `ram_price` and
    `ssd_price` in hundredths for a GB kept for a month: the reader's own, of no provider. The module computes the same as `compute` does, in doubles: every number of bytes here is below 2**53, so they are exact.
    What is recorded is the memory of real indexes. Jégou, Douze, Schmid, Product quantization for nearest neighbor
    search (2011).
    """

    dataset = "fashion-mnist"
    title = "Where the bytes go, and do they fit?"
    controls = (
        Control("N", "N", NS, words=_words(NS)),
        Control("d", "d", (96, 128, 256, 384, 512, 768, 784, 1024, 1536)),
        Control("m", "m", (4, 8, 16, 32, 56, 64, 112, 128)),
        Control("nbits", "nbits", (4, 6, 8, 12, 16)),
        Control("cells", "cells", CELLS_OFFERED, words=_words(CELLS_OFFERED)),
        Control("owner", "codebooks", get_args(Owner)),
        Control("ram", "RAM", RAM, words=RAM_WORDS),
        Control("ram_price", "price of RAM", RAM_PRICES, words=_prices(RAM_PRICES)),
        Control("ssd_price", "price of SSD", SSD_PRICES, words=_prices(SSD_PRICES)),
    )  # fmt: skip
    say = "{total}, {each} bytes per vector: {split}. {verdict} {ratio} {cost} {training}{real}"
    columns: ClassVar = {"parts": "part", "sizes": "bytes", "pers": "bytes per vector", "shares": "share"}
    caption = (
        "By the formulas of mlpq.predict_memory: ids of 4 bytes, and of 8 beyond 2³² vectors, numbers of 4, and as many outer clusters as the root of "
        "the cells. 1 GB is 10⁹ bytes. Searching needs room of its own. Prices are what a GB costs in a month, in any "
        "money: set yours. Real indexes, in 100 cells: fashion-mnist, 60,000 "
        "images of d = 784, and wordnet, 107,659 texts of d = 384."
    )

    N = traitlets.Int(60_000).tag(sync=True)
    d = traitlets.Int(784).tag(sync=True)
    m = traitlets.Int(8).tag(sync=True)
    nbits = traitlets.Int(8).tag(sync=True)
    cells = traitlets.Int(CELLS).tag(sync=True)
    owner = traitlets.Unicode("inner").tag(sync=True)
    ram = traitlets.Int(1).tag(sync=True)
    ram_price = traitlets.Int(300).tag(sync=True)
    ssd_price = traitlets.Int(10).tag(sync=True)

    @classmethod
    def grid(cls) -> list[tuple[int | str, ...]]:
        """Return nothing: the front end computes all points itself."""
        return []

    @classmethod
    def shared(cls, ds: Dataset) -> dict[str, Any]:
        """Return the memory of real indexes, by the values of the controls that they were built with."""
        measured = {}
        for (dataset, codes), owner in product(MEASURED.items(), get_args(Owner)):
            x = load_dataset(dataset).xb
            for m, nbits in codes:
                index = MultiLevelPQ(x.shape[1], CELLS, round(CELLS**0.5), m=m, nbits=nbits, codebooks=owner)
                measured[key((*x.shape, m, nbits, CELLS, owner))] = index.train(x).add(x).memory()
        return {"measured": measured, "groups": PARTS}

    def computed(self) -> Point:
        """Compute what is shown now, for which no data set is loaded."""
        values: dict[str, Any] = self.values
        return self.compute(None, **values, measured=self.data["shared"]["measured"])

    @classmethod
    def compute(
        cls, ds: Dataset | None, *, N: int, d: int, m: int, nbits: int, cells: int, owner: Owner, ram: int,
        ram_price: int, ssd_price: int, measured: Mapping[str, Mapping[str, int]] | None = None,
    ) -> Point:  # fmt: skip
        """Predict the memory of an index; `bytes.js` does the same, in the same words."""
        n_outer = round(cells**0.5)
        try:
            memory = predict_memory(N, d, cells, n_outer, m=m, nbits=nbits, codebooks=owner)
        except ValueError as error:
            return {"error": str(error)}
        total, raw = memory.total, N * d * 4
        by_part = {part: sum(memory.get(name, 0) for name in names) for part, names in PARTS.items()}
        shares = {part: f"{size / total * 100:.1f} %" for part, size in by_part.items()}
        largest = sorted(by_part, key=lambda part: -by_part[part])
        owners = {"inner": cells, "outer": n_outer, "global": 1}[owner]
        real = (measured or {}).get(key((N, d, m, nbits, cells, owner)))
        return {
            "bytes": list(by_part.values()), "raw": raw,
            "total": format_bytes(total), "each": f"{total / N:,.1f}",
            "split": ", ".join(f"{part} {shares[part]}" for part in largest if by_part[part] >= 0.01 * total),
            "verdict": _verdict(total, ram), "ratio": _ratio(total, raw, ram * 10**9),
            "cost": f"A month costs {_money(total, ram_price)} for the index in RAM; for the raw vectors "
            f"{_money(raw, ram_price)} in RAM, {_money(raw, ssd_price)} on an SSD.",
            "training": _training(N, cells, owners, 2**nbits),
            "real": _real(memory, Memory(real), owners) if real else "",
            "parts": [*by_part, "all"], "sizes": [f"{size:,}" for size in (*by_part.values(), total)],
            "pers": [f"{size / N:,.1f}" for size in (*by_part.values(), total)], "shares": [*shares.values(), "100 %"],
        }  # fmt: skip


def _verdict(total: int, ram: int) -> str:
    left = ram * 10**9 - total
    if left >= 0:
        return f"It fits in {RAM_WORDS[str(ram)]} and leaves {format_bytes(left)}."
    return f"It does not fit in {RAM_WORDS[str(ram)]}: {format_bytes(-left)} too much."


def _ratio(total: int, raw: int, ram: int) -> str:
    compared = f"{raw / total:.1f} times as much" if raw >= total else "less than the index"
    return f"The raw vectors take {format_bytes(raw)}, {compared}, and {'' if raw <= ram else 'do not '}fit."


def _money(size: int, price: int) -> str:
    """Return what bytes cost in a month at hundredths for a GB, computed in doubles as `bytes.js` does."""
    cost = float(size) * price / 1e11
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:,.2f}"


def _training(n: int, cells: int, owners: int, ksub: int) -> str:
    """Say whether the codebooks can be learned: the account alone does not show it."""
    least = max(cells, ksub)
    if n < least:
        return f"But it cannot be trained: that takes at least {least:,} vectors."
    have = f"On average {n / owners:,.0f} vectors share a codebook of {ksub:,} codewords"
    if n < owners * ksub:
        return f"{have}: owners with too few borrow, and it takes less."
    if n < owners * ksub * WANTED:
        return f"{have}; Faiss warns if it trains from fewer than {ksub * WANTED:,}."
    return f"{have}."


def _real(predicted: Memory, real: Memory, owners: int) -> str:
    """Compare with an index that was built: it differs only where owners have too few vectors."""
    if real.total == predicted.total:
        return " A real index with these settings takes the same, to the byte."
    own = real["codebooks"] * owners // predicted["codebooks"]
    return f" A real index with these settings takes {format_bytes(real.total)}: {own} of {owners} owners have a codebook of their own."
