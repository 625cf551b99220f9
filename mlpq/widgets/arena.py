"""Arena: all codecs at the same counted bytes, as found and after reranking; which finds most, and what a query reads."""

from __future__ import annotations

from functools import cache
from math import hypot
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

import traitlets

from mlpq.bench import arena
from mlpq.bench.cases import BUDGETS, LEARNED
from mlpq.bench.setting import K
from mlpq.data.datasets import Dataset
from mlpq.judge.tuning import Row
from mlpq.widgets.base import Control, Explorer, Point

RECORDED = Path(__file__).parents[2] / "book" / "recorded" / "contest.json"
READS = (0, *arena.READS)


class Arena(Explorer):
    """Every codec at one budget of bytes per vector, after reranking r * k candidates, as `arena` measured them.

    Controls: `budget` in bytes of code and id, `reads`: r. Points come from the record of `python -m mlpq.bench arena`.
    """

    dataset = "fashion-mnist"
    title = "Every codec, at the same bytes"
    controls = (
        Control("budget", "bytes per vector", BUDGETS),
        Control("reads", "rerank r", READS, words={"0": "none"} | {str(r): f"{r} · k" for r in arena.READS}),
    )
    say = "{said}"
    columns: ClassVar = {
        "codecs": "codec", "learns": "learns", "bytes": "bytes per vector", "many": "total at 10⁷",
        "found": "recall@10", "read": "kB read per query", "train": "train, CPU s", "encode": "encode, CPU s",
    }  # fmt: skip
    caption = (
        "Measured by python -m mlpq.bench arena on {dataset}: {n:,} vectors of {d} dimensions, the same cells and queries for "
        "all, k = 10. Bytes per vector are code, factors and an id of 4 bytes. A query reads the codes of the cells that it "
        "probes, and r · k originals. Machine: {machine}; threads: {threads}; seconds are of processor time, cells included."
    )

    budget = traitlets.Int(64).tag(sync=True)
    reads = traitlets.Int(0).tag(sync=True)

    @classmethod
    def compute(cls, ds: Dataset, *, budget: int, reads: int) -> Point:
        """Return all codecs that were measured at one budget, the best first."""
        rows = [row for row in measured() if (row["dataset"], row["size"]) == (ds.name, budget)]
        if not rows:
            return {"error": f"{ds.name} at {budget} bytes per vector: not measured"}
        found = sorted(((*recall(row, reads), row) for row in rows), key=itemgetter(0), reverse=True)
        table = [row for *_, row in found]
        return {
            "said": _said(found, reads),
            "recalls": [round(value, 4) for value, *_ in found],
            "kb": [round(row["read"][reads] / 1e3, 1) for row in table],
            "codecs": [row["codec"] for row in table],
            "learns": ["codebooks or turn" if row["codec"] in LEARNED else "mean or range" for row in table],
            "bytes": [str(row["per_vector"]) for row in table],
            "many": [f"{row['at_many']:.1f}" for row in table],
            "found": [f"{value:.3f} ± {interval:.3f}" for value, interval, _ in found],
            "read": [f"{row['read'][reads] / 1e3:,.0f}" for row in table],
            "train": [f"{row['train_cpu_s']:.0f}" for row in table],
            "encode": [f"{row['encode_cpu_s']:.1f}" for row in table],
        }  # fmt: skip


class ArenaTexts(Arena):
    """The same among texts."""

    dataset = "wordnet"


@cache
def measured() -> list[Row]:
    """Return every row of the record that is measured."""
    return [row for row in arena.rows(str(RECORDED)) if "recall" in row]


def recall(row: Row, reads: int) -> tuple[float, float]:
    """Return the recall of a row, with its interval, after reranking `reads` * k candidates."""
    value, interval = row["reranked"][str(reads)] if reads else (row["recall"], row["interval"])
    return value, interval


def _said(found: list[tuple[float, float, Row]], reads: int) -> str:
    """Say which codec finds most, which of those that learn next to nothing, and whether the queries tell them apart."""
    how = f"after reranking {reads * K} candidates" if reads else "by codes alone"
    trained = next((one for one in found if one[2]["codec"] in LEARNED), None)
    plain = next((one for one in found if one[2]["codec"] not in LEARNED), None)
    said = f"Of the trained codes {_named(trained)}, of the others {_named(plain)}, {how}."
    if trained is None or plain is None:
        return said
    gap, both = trained[0] - plain[0], hypot(trained[1], plain[1])
    if abs(gap) <= both:
        return f"{said} Too close to tell apart."
    return f"{said} {'Training' if gap > 0 else 'No training'} wins by {abs(gap):.3f}."


def _named(one: tuple[float, float, Row] | None) -> str:
    return f"{one[2]['codec']} {one[0]:.3f} ± {one[1]:.3f}" if one else "none was measured"
