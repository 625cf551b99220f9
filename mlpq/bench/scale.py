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
from math import exp, log
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq._check import FloatMatrix, IdMatrix
from mlpq._synthetic import SYNTHETIC_BLOCK, synthetic_chunks
from mlpq.baselines import ExactIndex
from mlpq.bench.child import Child, Report, forget_peak, peak, resident
from mlpq.bench.setting import K, machine
from mlpq.bench.store import Store, load, source
from mlpq.evaluate import markdown_table, measure, recall_at_k
from mlpq.index import MultiLevelPQ
from mlpq.tuning import Row

D_SCALE, M, NBITS = 128, 64, 4  # 32 bytes of code: 2 dimensions share 4 bits
SIZES = tuple(round(10**power) for power in (4, 4.5, 5, 5.5, 6))
BLOCKS = 3  # of the generator, in a chunk of 49,152 vectors
POINTS_PER_CELL = 256  # training vectors; more would not be looked at
NQ = 1000
NPROBES = (1, 2, 4, 8, 16, 32, 64)
PLATEAU = 0.01  # of recall: less than this far from the best is as good


def scale(args: argparse.Namespace) -> None:
    """Measure the sizes that the file still lacks, and fit how the build grows."""
    about = machine(args.threads) | {"d": D_SCALE, "m": M, "nbits": NBITS, "codebooks": "global", "nq": NQ, "k": K}
    about |= {"runs": args.runs, "source": source(), "command": " ".join(["python -m mlpq.bench", *args.command_line])}
    store = Store(args.output, about, ("sizes", "fit"))
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
            store.section("fit").update(fit([_row(size) for size in sizes.values()]))
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


def fit(sizes: list[Row]) -> dict[str, float]:
    """Fit build seconds = factor * (n log n) ** exponent, by least squares of the logarithms.

    Returns:
        "exponent", "factor", "residual" (the largest relative deviation of a measured size from the fit), and what
        the fit says of 10^9 vectors; nothing for fewer than three sizes.
    """
    if len(sizes) < 3:
        return {}
    x = np.array([log(row["n"] * log(row["n"])) for row in sizes])
    y = np.array([log(row["build_s"]) for row in sizes])
    exponent, constant = np.polyfit(x, y, 1)
    residual = np.abs(np.expm1(y - (exponent * x + constant))).max()
    billion = 10**9
    seconds = exp(constant + exponent * log(billion * log(billion)))
    return {
        "exponent": float(exponent),
        "factor": exp(constant),
        "residual": float(residual),
        "build_s_at_1e9": seconds,
    }


def rows(path: str) -> list[Row]:
    """Return a row for every size: n, n_inner, build_s, bytes, bytes_per_vector, add_extra_bytes, and a search.

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
        "n": size["n"], "n_inner": size["n_inner"], "build_s": size["train_s"] + size["add_s"], "bytes": size["bytes"],
        "bytes_per_vector": size["bytes"] / size["n"], "add_extra_bytes": size["add_extra_bytes"],
        "nprobe": search["nprobe"], "recall": search["recall"], "qps": NQ / median(search["seconds"]),
    }  # fmt: skip


def report(path: str) -> str:
    """Return the sizes and the fit as Markdown."""
    table = [
        {
            "vectors": f"{row['n']:,}", "cells": f"{row['n_inner']:,}", "build, s": f"{row['build_s']:.1f}",
            "MB": f"{row['bytes'] / 1e6:.1f}", "bytes/vector": f"{row['bytes_per_vector']:.1f}",
            "adding, beyond index and chunk, MB": f"{row['add_extra_bytes'] / 1e6:.1f}", "nprobe": str(row["nprobe"]),
            "recall@10": f"{row['recall']:.3f}", "queries/s": f"{row['qps']:,.0f}",
        }
        for row in rows(path)
    ]  # fmt: skip
    if not table:
        return f"{path}: no size is measured yet"
    found = load(path)["fit"]
    text = (
        f"build seconds = {found['factor']:.3g} (n log n)^{found['exponent']:.3f}, off by at most "
        f"{found['residual']:.0%}; for 10^9 vectors {found['build_s_at_1e9'] / 3600:,.1f} hours"
        if found
        else "three sizes are needed for a fit"
    )
    return f"{markdown_table(table)}\n\n{text}"
