"""Ours on ever more vectors: how build time, bytes, memory while adding, and speed grow from 10^4 to 10^6.

Synthetic vectors, made anew chunk by chunk wherever they are needed, so that the base is never held as a whole. One
process for each size.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq._check import FloatMatrix, IdMatrix
from mlpq.bench.child import Child, Report, forget_peak, peak, resident
from mlpq.bench.setting import K, machine
from mlpq.bench.store import Store, load, source
from mlpq.data.synthetic import SYNTHETIC_BLOCK, synthetic_chunks
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import markdown_table, recall_at_k
from mlpq.judge.timing import measure
from mlpq.judge.tuning import Row
from mlpq.search.exact import ExactIndex

D_SCALE, M, NBITS = 128, 64, 4  # 32 bytes of code: 2 dimensions share 4 bits
SIZES = tuple(round(10**power) for power in (4, 4.5, 5, 5.5, 6))
BLOCKS = 3  # of the generator, in a chunk of 49,152 vectors
POINTS_PER_CELL = 256  # training vectors; more would not be looked at
NQ = 1000
NPROBES = (1, 2, 4, 8, 16, 32, 64)
BILLION = 10**9
PLATEAU = 0.01  # of recall: less than this far from the best is as good


def scale(args: argparse.Namespace) -> None:
    """Measure the sizes that the file still lacks."""
    about = machine(args.threads) | {"d": D_SCALE, "m": M, "nbits": NBITS, "codebooks": "global", "nq": NQ, "k": K}
    about |= {"runs": args.runs, "source": source(), "command": " ".join(["python -m mlpq.bench", *args.command_line])}
    store = Store(args.output, about, ("sizes",))
    sizes = store.section("sizes")
    with tqdm(args.sizes, unit="size", file=sys.stderr, disable=args.quiet) as bar:
        for n in bar:
            bar.set_description_str(f"n={n:,}")
            if str(n) in sizes:
                continue
            child = Child(f"n={n}", partial(Scaled, n, args.threads, args.runs))
            try:
                sizes[str(n)] = child.ask("measure")
            finally:
                child.stop()
            store.save()


def chunks(n: int) -> Iterator[FloatMatrix]:
    """Return the base in chunks of 49,152 vectors."""
    parts: list[FloatMatrix] = []
    for part in synthetic_chunks(n, D_SCALE):
        parts.append(part)
        if len(parts) == BLOCKS:
            yield np.concatenate(parts)
            parts = []
    if parts:
        yield np.concatenate(parts)


class Scaled:
    """One size, in a process of its own: sqrt(n) cells, one codebook of 4 bits, codes only."""

    def __init__(self, n: int, threads: int, runs: int) -> None:
        self.n, self.threads, self.runs = n, threads, runs
        self.n_inner = max(1, round(n**0.5))
        n_outer = max(1, round(self.n_inner**0.5))
        self.index = MultiLevelPQ(D_SCALE, self.n_inner, n_outer, m=M, nbits=NBITS, codebooks="global")

    def measure(self) -> Report:
        """Build, weigh and search."""
        found: Report = {"n": self.n, "n_inner": self.n_inner}
        with threadpool_limits(self.threads):
            found |= self._train() | self._add()
        memory = self.index.memory()
        return found | {"memory": memory, "bytes": memory.total, "searches": self._search()}

    def _train(self) -> Report:
        # The vectors are drawn independently: the first are a fair sample.
        xt = np.concatenate(list(synthetic_chunks(min(self.n, POINTS_PER_CELL * self.n_inner), D_SCALE)))
        start = time.perf_counter()
        self.index.train(xt)
        return {"n_train": len(xt), "train_s": time.perf_counter() - start}

    def _add(self) -> Report:
        """Add all chunks; return the seconds that this took, and the most memory held beyond index and chunk."""
        seconds, extra = 0.0, 0
        held, empty = resident(), self.index.memory().total
        for chunk in chunks(self.n):
            forget_peak()  # what making the chunk took is not counted
            start = time.perf_counter()
            self.index.add(chunk)
            seconds += time.perf_counter() - start
            extra = max(extra, peak() - held - chunk.nbytes - (self.index.memory().total - empty))
        return {"add_s": seconds, "add_extra_bytes": extra}

    def _search(self) -> list[dict[str, Any]]:
        """Return recall and the seconds of every run, for each nprobe."""
        blocks = -(-self.n // SYNTHETIC_BLOCK)
        xq = np.concatenate(list(synthetic_chunks(NQ, D_SCALE, skip_blocks=blocks)))
        gt = exact(self.n, xq)
        found = []
        for nprobe in (p for p in NPROBES if p <= self.n_inner):
            search = partial(self.index.search, xq, K, nprobe=nprobe)
            (_, I), timing = measure(search, NQ, threads=self.threads, runs=self.runs)
            found.append({"nprobe": nprobe, "recall": recall_at_k(I, gt, K), "seconds": list(timing.seconds)})
        return found


def exact(n: int, xq: FloatMatrix) -> IdMatrix:
    """Return the ids (nq, K) of the exact nearest, found chunk by chunk."""
    D, I = np.empty((len(xq), 0), np.float32), np.empty((len(xq), 0), np.int64)
    start = 0
    for chunk in chunks(n):
        D_chunk, I_chunk = ExactIndex(D_SCALE).add(chunk).search(xq, K)
        D, I = np.hstack([D, D_chunk]), np.hstack([I, I_chunk + start])
        order = np.argsort(D, axis=1, kind="stable")[:, :K]
        D, I = np.take_along_axis(D, order, axis=1), np.take_along_axis(I, order, axis=1)
        start += len(chunk)
    return I


def growth(sizes: list[Row]) -> dict[str, float]:
    """Say how training and adding grow over the last decade of sizes, and what that means for 10^9 vectors.

    sqrt(n) cells with 256 training vectors each are trained in a time that grows as n in the end, while adding compares
    every vector with all cells: n sqrt(n) distances. At small sizes fixed work hides both, so that measured exponents
    are too low.

    Returns:
        "train_exponent" and "add_exponent", of n, by least squares of the logarithms over the sizes of at least a tenth
        of the largest; seconds for 10^9 vectors: "least_s" if both go on like that, "most_s" if from the largest size
        on training grows as n and adding as n sqrt(n), or as measured where that is more. Nothing where fewer than two
        sizes are left.
    """
    largest = max(sizes, key=lambda row: row["n"], default={"n": 0})
    last = [row for row in sizes if 10 * row["n"] >= largest["n"]]
    if len(last) < 2:
        return {}
    logs = np.log([[row["n"], row["train_s"], row["add_s"]] for row in last])
    train, add = (float(np.polyfit(logs[:, 0], y, 1)[0]) for y in logs[:, 1:].T)
    times = BILLION / largest["n"]
    return {
        "train_exponent": train,
        "add_exponent": add,
        "least_s": largest["train_s"] * times**train + largest["add_s"] * times**add,
        "most_s": largest["train_s"] * times ** max(train, 1) + largest["add_s"] * times ** max(add, 1.5),
    }


def rows(path: str) -> list[Row]:
    """Return a row for every size: n, n_inner, train_s, add_s, bytes, bytes_per_vector, add_extra_bytes, and a search.

    That is the search with the smallest nprobe whose recall is within 0.01 of the best: nprobe, recall, qps.

    Raises:
        ValueError, FileNotFoundError: no record of `scale`.
    """
    try:
        return [_row(size) for size in sorted(load(path)["sizes"].values(), key=lambda size: size["n"])]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a record of `scale`: {error!r}") from error


def _row(size: Report) -> Row:
    best = max(search["recall"] for search in size["searches"])
    search = next(search for search in size["searches"] if search["recall"] > best - PLATEAU)
    return {
        "n": size["n"], "n_inner": size["n_inner"], "train_s": size["train_s"], "add_s": size["add_s"],
        "bytes": size["bytes"], "bytes_per_vector": size["bytes"] / size["n"], "add_extra_bytes": size["add_extra_bytes"],
        "nprobe": search["nprobe"], "recall": search["recall"], "qps": NQ / median(search["seconds"]),
    }  # fmt: skip


def report(path: str) -> str:
    """Return the sizes and their growth as Markdown."""
    table = [
        {
            "vectors": f"{row['n']:,}", "cells": f"{row['n_inner']:,}", "training, s": f"{row['train_s']:.1f}",
            "adding, s": f"{row['add_s']:.1f}", "MB": f"{row['bytes'] / 1e6:.1f}", "bytes/vector": f"{row['bytes_per_vector']:.1f}",
            "adding, beyond index and chunk, MB": f"{row['add_extra_bytes'] / 1e6:.1f}", "nprobe": str(row["nprobe"]),
            "recall@10": f"{row['recall']:.3f}", "queries/s": f"{row['qps']:,.0f}",
        }
        for row in rows(path)
    ]  # fmt: skip
    if not table:
        return f"{path}: no size is measured yet"
    found = growth(rows(path))
    text = (
        f"over the last decade training grows as n^{found['train_exponent']:.2f}, adding as n^{found['add_exponent']:.2f}; "
        f"10^9 vectors: {found['least_s'] / 3600:,.1f} hours if both go on so, {found['most_s'] / 3600:,.1f} if training "
        "grows as n and adding as n^1.5"
        if found
        else "two sizes within a decade are needed to say how the build grows"
    )
    return f"{markdown_table(table)}\n\n{text}"
