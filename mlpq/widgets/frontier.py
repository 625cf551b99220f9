"""Frontier: recall, speed and bytes of every recorded setting, beside what else one could use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from math import log
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from mlpq._check import valid_m
from mlpq.bench import K, levels
from mlpq.bench import read as compared
from mlpq.bench.report import words
from mlpq.bench.store import load
from mlpq.data.datasets import Dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.baselines import KMeansIndex
from mlpq.judge.evaluate import recall_at_k
from mlpq.judge.timing import measure
from mlpq.judge.tuning import NPROBES, Row, pareto
from mlpq.plots import format_bytes
from mlpq.widgets.base import Control, Explorer, Point, key

RUNS = 1  # counted runs of each search, after one that is not
COMPARED = Path("book/recorded/compare.json")
# Families of `python -m mlpq.bench compare`, as this figure calls them: first every index with all its nprobes, then
# of those that rank by the originals in the end only what none of the family beats.
EVERY: dict[str, tuple[str, ...]] = {
    "exact search": ("Faiss exact",),
    "Faiss IVF-Flat": ("Faiss IVF-Flat",),
    "Faiss IVF-PQ, 8 bits": ("Faiss IVF-PQ",),
}
BEST: dict[str, tuple[str, ...]] = {
    "mlpq, 4 bits, reranked": ("mlpq, with originals",),
    "Faiss fast-scan, refined": ("Faiss fast-scan, refined",),
}
BEST |= {"graphs": ("Faiss HNSW", "hnswlib", "usearch", "SVS Vamana"), "ScaNN": ("ScaNN",)}
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
        "Machine: {machine}; threads: {threads}; one run after a warm-up. Other methods, k-means only excepted: the "
        "median of the runs of “{compare}”. Bytes count all that an index holds."
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
        """Return rows of other methods: for each family, for each of its indexes, for each setting."""
        n_inner, _ = levels(ds)
        index = KMeansIndex(ds.d, n_inner, metric=ds.metric).train(ds.xb).add(ds.xb)
        nprobes = cls.controls[-1].recorded
        kmeans = [measured(f"k-means only, nprobe={nprobe}", ds, index, int(nprobe)) for nprobe in nprobes]
        return {"peers": {"k-means only": [kmeans]} | peers(ds)}

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
        about = {"k": K, "runs": RUNS, "codebooks": "global", "n_inner": n_inner, "n_outer": n_outer}
        return record | about | {"compare": "python -m mlpq.bench compare"}


class FrontierTexts(Frontier):
    """The same among texts; of what else one could use, only k-means."""

    dataset = "wordnet"
    controls = (
        Control("m", "m", (4, 8, 16, 24, 32, 48, 64, 96), tuple(valid_m(384))),
        Frontier.controls[1],
        Control("nprobe", "nprobe", (*NPROBES, 32, 64), tuple(range(1, 129))),
    )
    caption = Frontier.caption.partition(" Other methods")[0] + " Bytes count all that an index holds."


@lru_cache(maxsize=2)
def built(ds: Dataset, m: int, nbits: int) -> MultiLevelPQ:
    """Return an index with one codebook; the next to be asked for may differ in nprobe only."""
    return MultiLevelPQ(ds.d, *levels(ds), m=m, nbits=nbits, metric=ds.metric).train(ds.xb).add(ds.xb)


def measured(name: str, ds: Dataset, index: Any, nprobe: int) -> Row:
    """Search for all queries in one batch; return numbers and words."""
    search = partial(index.search, ds.xq, K, nprobe=nprobe)
    (_, I), timing = measure(search, len(ds.xq), runs=RUNS)
    return worded(name, nprobe, recall_at_k(I, ds.gt, K), timing.qps, index.memory().total, len(ds.xb))


def worded(name: str, nprobe: int, recall: float, qps: float, size: int, n: int) -> Row:
    """Return the numbers of a row, and the same in words."""
    return {
        "nprobe": nprobe, "recall": round(recall, 5), "qps": round(qps, 1), "bytes": size, "name": name,
        "found": f"{recall:.2f}", "speed": f"{float(f'{qps:.3g}'):,.0f}", "size": format_bytes(size),
        "each": f"{size / n:,.1f}",
    }  # fmt: skip


def peers(ds: Dataset) -> dict[str, list[list[Row]]]:
    """Return what `python -m mlpq.bench compare` measured on this data set, or nothing where it did not."""
    if not COMPARED.is_file() or load(COMPARED)["about"]["dataset"] != ds.name:
        return {}
    rows = compared(COMPARED)
    found = {}
    for family, names in EVERY.items():
        own = [row for row in rows if row["family"] in names]
        indexes = dict.fromkeys(row["name"] for row in own)
        found[family] = [[_peer(row, ds) for row in own if row["name"] == index] for index in indexes]
    for family, names in BEST.items():
        front = pareto([row for row in rows if row["family"] in names], large=["recall", "qps"])
        found[family] = [[_peer(row, ds) for row in sorted(front, key=itemgetter("recall"))]]
    return found


def _peer(row: Row, ds: Dataset) -> Row:
    """Return a row of the comparison as a row of this explorer; "m" and "nprobe" where they mean the same."""
    factory, plain = row["params"].get("factory", ""), not row["originals"] or row["kind"] == "faiss"
    nprobe = row["params"].get("nprobe", 0) if plain and "k_factor_rf" not in row["params"] else 0
    size = round(row["bytes_per_vector"] * len(ds.xb))
    coded = {"m": int(factory.partition("PQ")[2][:-2])} if factory.endswith("np") else {}
    return coded | worded(words(row), nprobe, row["recall"], row["qps"], size, len(ds.xb))


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
        lines.append(min(nearest, key=lambda peer: _unlike(peer, row)))
    return {"better": _key(best) if best else None, "verdict": verdict} | table(lines)


def _unlike(peer: Row, row: Row) -> float:
    """Return how far a peer is from being comparable: by nprobe if it has one, else by recall."""
    return abs(log(peer["nprobe"] / row["nprobe"])) if peer["nprobe"] else abs(peer["recall"] - row["recall"])


def _key(row: Row) -> str:
    return key(row[name] for name in ("m", "nbits", "nprobe"))
