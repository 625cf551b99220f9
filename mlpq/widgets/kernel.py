"""Kernel: one query against millions of codes, in JavaScript and on the reader's own graphics card, in the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import traitlets

from mlpq._check import Codes
from mlpq.codecs.pq import ProductQuantizer
from mlpq.data.datasets import Dataset
from mlpq.plots import format_bytes
from mlpq.widgets.base import FOLDER, Control, Explorer, Point, key, packed

NS = (100_000, 1_000_000, 2_000_000, 4_000_000)
N_WORDS = {str(n): f"{n // 10**6} million" if n >= 10**6 else f"{n:,}" for n in NS}
MS, NBITS = (8, 16, 32), (4, 8)  # 4 million codes of 32 bytes fit into the 128 MiB that every WebGPU binds
NT = 10_000  # vectors that train the codebooks
QUERY = 0
SEED = 17  # of the codes
ROWS = {
    "js": "JavaScript, one thread",
    "memory": "copy by JavaScript",
    "scan": "card, many queries in a row",
    "once": "card, one query and its answer",
    "copy": "copy on the card",
}


class Kernel(Explorer):
    """How fast codes are scanned by JavaScript and by a WebGPU kernel, beside copies of as many bytes.

    Controls: `N` codes, `m`, `nbits`. The codes are drawn in the page, from a seed; the table is that of a query of the
    data set to codebooks trained on it, rounded to bytes as for fast scan (André et al., Quick ADC, 2017). A button
    measures, nothing runs before. What is recorded, by `python -m tests.kernel FILE`, names the card that ran it.
    """

    dataset = "wordnet-20k"
    title = "Scan codes on your own card"
    controls = (
        Control("N", "N", NS, words=N_WORDS),
        Control("m", "m", MS),
        Control("nbits", "nbits", NBITS),
    )
    say = "{N} codes of {m} times {nbits} bits are {codes}; a query adds up {sums} bytes of its table. {said}"
    columns: ClassVar = {"whats": "what", "speeds": "GB/s", "times": "ms", "adapters": "measured on"}
    caption = (
        "Codes are drawn at random from a seed, which tells nothing about recall; the table belongs to a query of {dataset} "
        "and codebooks trained on it, rounded to bytes. GB/s: bytes of codes read; for copies, bytes read and written."
    )

    N = traitlets.Int(1_000_000).tag(sync=True)
    m = traitlets.Int(16).tag(sync=True)
    nbits = traitlets.Int(8).tag(sync=True)

    @classmethod
    def about(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the front end needs beside a record: here also the programs that it runs."""
        files = {"worker": "kernel-worker.js", "shader": "kernel.wgsl"}
        programs = {name: (FOLDER / file).read_text("utf-8") for name, file in files.items()}
        return super().about(record) | programs | {"seed": SEED}

    @classmethod
    def shared(cls, ds: Dataset) -> dict[str, Any]:
        """Return the query's table for each m and nbits, one byte an entry."""
        return {"tables": {key((m, nbits)): packed(byte_table(ds, m, nbits)) for m in MS for nbits in NBITS}}

    @classmethod
    def compute(cls, ds: Dataset, *, N: int, m: int, nbits: int) -> Point:
        """Return the point of a setting that nobody has measured."""
        return describe(N, m, nbits, None, {})


def byte_table(ds: Dataset, m: int, nbits: int) -> Codes:
    """Return the table (m, 2**nbits) u1 of one query: each place from 0 on, one scale for all."""
    pq = ProductQuantizer(ds.d, m, nbits).train(ds.xb[:NT])
    table = pq.distance_table(ds.xq[[QUERY]])[0]
    table = table - table.min(axis=1, keepdims=True)
    entries: Codes = np.floor(table * (255 / table.max()) + 0.5).astype(np.uint8)
    return entries


def describe(N: int, m: int, nbits: int, result: Mapping[str, Any] | None, on: Mapping[str, str]) -> Point:
    """Return what is shown of a setting: `result` is what the page measured, in ms; `on` names processor and card."""
    size = N * m * nbits // 8
    point: Point = {"codes": format_bytes(size), "sums": f"{m * N:,}", "rates": {}}
    if result is None:
        words = ["not measured"] * len(ROWS)
        return point | {
            "said": "Not measured.", "whats": [*ROWS.values()], "speeds": words, "times": words, "adapters": words,
        }  # fmt: skip
    ms = {
        "js": result["js"],
        "memory": result["memory"],
        **{name: result["card"][name] for name in ("scan", "once", "copy")},
    }
    moved = {name: size * (2 if name in ("memory", "copy") else 1) for name in ROWS}
    rates = {name: float(f"{moved[name] / ms[name] / 1e6:.2g}") for name in ROWS}
    said = (
        f"Recorded on {on['card']}: {rates['scan']:g} GB/s; JavaScript beside it: {rates['js']:g}. "
        "Both found the same ten ids."
    )
    return point | {
        "rates": rates, "said": said, "whats": [*ROWS.values()],
        "speeds": [f"{rates[name]:g}" for name in ROWS],
        "times": [f"{ms[name]:.2g}" if ms[name] < 100 else f"{ms[name]:.0f}" for name in ROWS],
        "adapters": [on["processor"] if name in ("js", "memory") else on["card"] for name in ROWS],
    }  # fmt: skip
