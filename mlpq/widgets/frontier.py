"""Frontier: recall, speed and bytes of every recorded setting, beside what else one could use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from math import log
from operator import itemgetter
from typing import Any, ClassVar

import traitlets

from mlpq._check import valid_m
from mlpq.baselines import ExactIndex, KMeansIndex
from mlpq.bench import K, levels
from mlpq.datasets import Dataset
from mlpq.evaluate import measure, recall_at_k
from mlpq.index import MultiLevelPQ
from mlpq.plots import format_bytes
from mlpq.tuning import NPROBES, Row, pareto
from mlpq.variants import FaissIndex
from mlpq.widgets.base import Control, Explorer, Point, key

RUNS = 1  # counted runs of each search, after one that is not
FAISS_M = (8, 28, 56, 112)
WORDS = {"name": "index", "found": "recall@10", "speed": "queries per second", "size": "bytes"}
WORDS |= {"each": "bytes per vector"}


class Frontier(Explorer):
    """One codebook for all cells, with every m, nbits and nprobe: what it finds, how fast, in how many bytes.

    Controls: `m`, `nbits`, `nprobe`. A recorded point holds the words that are shown and, as a row of
    `mlpq.measure_grid` does, the numbers "m", "nbits", "nprobe", "recall", "qps" and "bytes". Aumüller, Bernhardsson,
    Faithfull, ANN-Benchmarks (2020).
    """

    dataset = "fashion-mnist"
    title = "Recall, speed and bytes: one setting among all"
    controls = (
        Control("m", "m", (2, 4, 7, 8, 14, 16, 28, 49, 56, 98, 112), tuple(valid_m(784))),
        Control("nbits", "nbits", (4, 6, 8), tuple(range(1, 9))),
        Control("nprobe", "nprobe", NPROBES, tuple(range(1, 33))),
    )
    say = "Recall@10 {found} at {speed} queries per second, in {size}: {each} bytes per vector. {verdict}"
    columns: ClassVar = {f"{word}s": heading for word, heading in WORDS.items()}
    caption = (
        "Measured on {dataset}: {n:,} vectors of {d} dimensions in {n_inner} cells, {nq:,} queries in one batch, k = {k}. "
        "Machine: {machine}; threads: {threads}; one run after a warm-up. Bytes count all that an index holds."
    )

    m = traitlets.Int(112).tag(sync=True)
    nbits = traitlets.Int(4).tag(sync=True)
    nprobe = traitlets.Int(3).tag(sync=True)

    @classmethod
    def compute(cls, ds: Dataset, *, m: int, nbits: int, nprobe: int) -> Point:
        """Build and search. A kernel may run on another machine than the recorded one, hence no verdict yet."""
        name = f"m={m}, nbits={nbits}, nprobe={nprobe}"
        row = {"m": m, "nbits": nbits} | measured(name, ds, built(ds, m, nbits), nprobe)
        verdict = "Measured just now, by this kernel; the speeds in the figure are those of the machine named below."
        return row | {"better": None, "verdict": verdict} | table([row])

    @classmethod
    def shared(cls, ds: Dataset) -> dict[str, Any]:
        """Return rows of other methods: for each family, for each of its indexes, for each nprobe."""
        n_inner, _ = levels(ds)

        def rows(name: str, index: KMeansIndex | FaissIndex, **setting: int) -> list[Row]:
            index.train(ds.xb).add(ds.xb)
            return [setting | measured(f"{name}, nprobe={nprobe}", ds, index, nprobe) for nprobe in NPROBES]

        coded = [rows(f"Faiss IVF-PQ, m={m}", FaissIndex(ds.d, f"IVF{n_inner},PQ{m}np"), m=m) for m in FAISS_M]
        peers = {
            "exact search": [[measured("exact search", ds, ExactIndex(ds.d).add(ds.xb))]],
            "k-means only": [rows("k-means only", KMeansIndex(ds.d, n_inner))],
            "Faiss IVF-Flat": [rows("Faiss IVF-Flat", FaissIndex(ds.d, f"IVF{n_inner},Flat"))],
            "Faiss IVF-PQ, 8 bits": coded,
        }
        return {"peers": peers}

    @classmethod
    def record(cls, ds: Dataset, every: int = 1) -> dict[str, Any]:
        """Measure all, then find which settings are on the fronts, and for each one that beats it."""
        record = super().record(ds, every)
        rows: list[Row] = list(record["points"].values())
        fronts = [pareto(rows, large=["recall", "qps"]), pareto(rows, small=["bytes"], large=["recall"])]
        record["shared"]["fronts"] = [
            [_key(row) for row in sorted(front, key=itemgetter("recall"))] for front in fronts
        ]
        for row in rows:
            row |= _judged(row, rows, record["shared"]["peers"])
        n_inner, n_outer = levels(ds)
        return record | {"k": K, "runs": RUNS, "codebooks": "global", "n_inner": n_inner, "n_outer": n_outer}


@lru_cache(maxsize=2)
def built(ds: Dataset, m: int, nbits: int) -> MultiLevelPQ:
    """Return an index with one codebook; the next to be asked for may differ in nprobe only."""
    return MultiLevelPQ(ds.d, *levels(ds), m=m, nbits=nbits, codebooks="global").train(ds.xb).add(ds.xb)


def measured(name: str, ds: Dataset, index: Any, nprobe: int = 0) -> Row:
    """Search for all queries in one batch; return numbers and words. nprobe 0: the index has no cells."""
    search = partial(index.search, ds.xq, K, **({"nprobe": nprobe} if nprobe else {}))
    (_, I), timing = measure(search, len(ds.xq), runs=RUNS)
    recall, size = recall_at_k(I, ds.gt, K), index.memory().total
    return {
        "nprobe": nprobe, "recall": round(recall, 5), "qps": round(timing.qps, 1), "bytes": size, "name": name,
        "found": f"{recall:.2f}", "speed": f"{float(f'{timing.qps:.3g}'):,.0f}", "size": format_bytes(size),
        "each": f"{size / len(ds.xb):,.1f}",
    }  # fmt: skip


def table(rows: Sequence[Row]) -> Point:
    """Return the columns of the table."""
    return {f"{word}s": [row[word] for row in rows] for word in WORDS}


def _judged(row: Row, rows: Sequence[Row], peers: Mapping[str, Sequence[Sequence[Row]]]) -> Point:
    """Return the row that beats this one in all three respects, if any, and a table with it and the peers."""
    beating = [r for r in rows if r["recall"] > row["recall"] and r["qps"] > row["qps"] and r["bytes"] < row["bytes"]]
    best = max(beating, key=itemgetter("recall"), default=None)
    verdict = f"Better in all three: {best['name']}." if best else "No recorded setting is better in all three."
    lines = [row, best] if best else [row]
    for indexes in peers.values():
        nearest = min(indexes, key=lambda index: abs(log(index[0].get("m", 1) / row["m"])))
        lines.append(next((peer for peer in nearest if peer["nprobe"] == row["nprobe"]), nearest[0]))
    return {"better": _key(best) if best else None, "verdict": verdict} | table(lines)


def _key(row: Row) -> str:
    return key(row[name] for name in ("m", "nbits", "nprobe"))
