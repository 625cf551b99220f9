"""Ours on ever more vectors: how the parts of a build, bytes, memory and speed grow from 10^4 to 10^7, and on to 10^9.

Real texts grown by a rule (`millions`), in a file that is read part by part. One process builds each size, another one
loads what it wrote and searches. Each part of a build has a law of its own, fitted where all laws hold: from 10^5 on.
What is fitted is the time of processors: it depends less on what else a machine does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq.bench.built import PARTS, POINTS_PER_CELL, Building, M, Searching
from mlpq.bench.child import Child
from mlpq.bench.millions import million
from mlpq.bench.setting import K, machine
from mlpq.bench.store import Record, Store, load, source
from mlpq.data.datasets import load_dataset
from mlpq.judge.evaluate import markdown_table
from mlpq.judge.tuning import Row, pareto

SIZES = tuple(round(10**power) for power in (4, 4.5, 5, 5.5, 6, 6.5, 7))
NQ = 1000
BILLION = 10**9  # is foretold
CHECK = 10**6  # from sizes up to this one the largest is foretold, too
FIRST = 10**5  # below it much is fixed work, and the training sample is the whole base
# What a part does to n vectors in sqrt(n) cells, as powers of n that are added up. Training: 128 vectors a cell, compared
# with all cells; a codebook learns from 65,536. Adding: every vector is compared with all cells, n^1.5, and handled, n.
LAWS: dict[str, tuple[float, ...]] = {
    "sample": (1,), "coarse": (0, 1), "train_assign": (0, 1), "codes": (0,), "train_rest": (0, 1),
    "read": (1,), "assign": (1, 1.5), "encode": (1, 1.5), "lists": (0.5, 1), "add_rest": (1,), "save": (1,),
}  # fmt: skip
NAMES = {
    "coarse": ("coarse",), "training's assignment": ("train_assign",), "codebook": ("codes",), "assigning": ("assign",),
    "encoding": ("encode",), "lists": ("lists",), "reading, checks": ("sample", "train_rest", "read", "add_rest"),
    "saving": ("save",),
}  # fmt: skip


def scale(args: argparse.Namespace) -> None:
    """Measure the sizes that the file still lacks.

    Raises:
        ValueError: a file of other circumstances.
        FileNotFoundError: the file of the real vectors is nowhere.
    """
    about = machine(args.threads) | {"m": M, "points_per_cell": POINTS_PER_CELL, "parts": PARTS, "k": K}
    about |= {"runs": args.runs, "source": source(), "command": " ".join(["python -m mlpq.bench", *args.command_line])}
    about |= {"note": args.note} if args.note else {}
    store = Store(args.output, about, ("set", "builds", "searches"))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(args.folder or made)
        with threadpool_limits(args.threads):
            store.section("set").update(million(load_dataset(args.dataset), args.sizes, NQ, K, folder))
        bar = tqdm(args.sizes, unit="size", file=sys.stderr, disable=args.quiet)
        for n in bar:
            bar.set_description_str(f"n={n:,}")
            index = folder / f"index-{n}.h5"
            builder = partial(Building, folder, n, args.threads)
            if str(n) not in store.section("builds") or (
                str(n) not in store.section("searches") and not index.exists()
            ):
                store.section("builds")[str(n)] = _asked(f"build {n}", builder, "build", str(index))
                store.save()
            if str(n) not in store.section("searches"):
                searcher = partial(Searching, folder, n, str(index), args.threads)
                store.section("searches")[str(n)] = _asked(f"search {n}", searcher, "search", args.runs)
                store.save()


def _asked(name: str, make: Callable[[], object], command: str, argument: object) -> Record:
    """Return what a process of its own answers to one command."""
    child = Child(name, make)
    try:
        return child.ask(command, argument)
    finally:
        child.stop()


# ---- how it grows ----------------------------------------------------------------------------------------------------


def fitted(n: Sequence[int], seconds: Sequence[float], powers: Sequence[float]) -> dict[float, float]:
    """Return what each power of n is multiplied by, none negative, for the least sum of squared relative errors.

    Example:
        >>> {power: round(factor, 6) for power, factor in fitted([1, 10, 100], [3.0, 12.0, 102.0], (0, 1)).items()}
        {0: 2.0, 1: 1.0}
    """
    best, least = dict.fromkeys(powers, 0.0), np.inf
    sizes, y = np.array(n, np.float64), np.maximum(seconds, 1e-9)
    for count in range(1, min(len(powers), len(n)) + 1):
        for some in combinations(powers, count):
            columns = np.stack([sizes**power / y for power in some], axis=1)
            widths = np.linalg.norm(columns, axis=0)
            factors = np.linalg.lstsq(columns / widths, np.ones(len(y)), rcond=None)[0] / widths
            error = float(np.square(columns @ factors - 1).sum())
            if (factors >= 0).all() and error < least:
                least, best = error, dict.fromkeys(powers, 0.0) | dict(zip(some, factors.tolist(), strict=True))
    return {power: round(factor, 15) for power, factor in best.items()}


def foretold(builds: Sequence[Record], largest: int, n: int) -> dict[str, float]:
    """Return the seconds of processors that each part takes for n vectors, from sizes up to the largest, by its own law.

    Raises:
        ValueError: fewer than two sizes from 10^5 to the largest.
    """
    some = [build for build in builds if FIRST <= build["n"] <= largest]
    if len(some) < 2:
        raise ValueError(f"two sizes from {FIRST:,} to {largest:,} are needed; there are {len(some)}")
    sizes = [build["n"] for build in some]
    laws = {name: fitted(sizes, [build["cpu"][name] for build in some], powers) for name, powers in LAWS.items()}
    return {name: sum(factor * n**power for power, factor in law.items()) for name, law in laws.items()}


def grouped(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of the parts that a table shows, and of all: "in all"."""
    found = {name: sum(seconds[part] for part in parts) for name, parts in NAMES.items()}
    return found | {"in all": sum(seconds.values())}


# ---- what a record says ----------------------------------------------------------------------------------------------


def rows(path: str) -> list[Row]:
    """Return a row for every size, the smallest first: what was stored of its build, and "searches" where there are any.

    Also "bytes_per_vector", "extra" (bytes that the whole process held at most, beyond the finished index) and "built_s".
    A search has "nprobe", "rerank", "recall", "interval", "qps" and "single_us".

    Raises:
        ValueError, FileNotFoundError: no record of `scale`.
    """
    record = load(path)
    try:
        return [
            build
            | {
                "bytes_per_vector": build["bytes"] / build["n"], "extra": build["peak"] - build["bytes"],
                "built_s": sum(build["seconds"].values()),
                "searches": [_searched(one, record["set"]["nq"]) for one in _of(record, build["n"]).get("settings", ())],
                "opened": {name: value for name, value in _of(record, build["n"]).items() if name != "settings"},
            }
            for build in sorted(record["builds"].values(), key=lambda build: build["n"])
        ]  # fmt: skip
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a record of `scale`: {error!r}") from error


def made_of(path: str) -> Record:
    """Return what the vectors were grown from: "of", "real" (how many), "d", "nq", and "shares" of true neighbours that are real."""
    found: Record = load(path)["set"]
    return found


def _of(record: Record, n: int) -> Record:
    found: Record = record["searches"].get(str(n), {})
    return found


def _searched(one: Record, nq: int) -> Row:
    row = {name: one[name] for name in ("nprobe", "rerank", "recall", "interval")}
    return row | {"qps": nq / median(one["seconds"]), "single_us": 1e6 * one["single_s"]}


def foresight(path: str) -> list[Row]:
    """Return a row for each part of a build: "part", its seconds of processors for the largest, "foretold" and "measured".

    "billion" are those of 10^9 vectors. What is foretold for the largest comes from sizes up to 10^6; without such, or
    where the largest is no larger, there are no rows.
    """
    builds = rows(path)
    if not builds or (n := builds[-1]["n"]) <= CHECK or sum(FIRST <= build["n"] <= CHECK for build in builds) < 2:
        return []
    sides = (foretold(builds, CHECK, n), builds[-1]["cpu"], foretold(builds, n, BILLION))
    before, measured, billion = map(grouped, sides)
    return [
        {"part": name, "foretold": before[name], "measured": measured[name], "billion": billion[name]}
        for name in before
    ]


def report(path: str) -> str:
    """Return builds, searches, and what was foretold, as Markdown."""
    found = rows(path)
    if not found:
        return f"{path}: no size is measured yet"
    builds = [
        {"vectors": f"{row['n']:,}", "cells": f"{row['n_inner']:,}"}
        | {f"{name}, CPU s": f"{value:.2f}" for name, value in grouped(row["cpu"]).items()}
        | {
            "wall, s": f"{row['built_s']:.1f}",
            "MB": f"{row['bytes'] / 1e6:.0f}",
            "beyond, MB": f"{row['extra'] / 1e6:.0f}",
        }
        for row in found
    ]
    searches = [
        {
            "vectors": f"{row['n']:,}", "nprobe": str(one["nprobe"]), "rerank": str(one["rerank"]),
            "recall@10": f"{one['recall']:.3f} ± {one['interval']:.3f}", "queries/s": f"{one['qps']:,.0f}",
            "one query, µs": f"{one['single_us']:,.0f}",
        }
        for row in found
        for one in sorted(pareto(row["searches"], large=["recall", "qps"]), key=lambda one: one["recall"])
    ]  # fmt: skip
    ahead = [
        {"part": row["part"], f"{found[-1]['n']:,} foretold, CPU s": f"{row['foretold']:,.1f}"}
        | {"measured, CPU s": f"{row['measured']:,.1f}", "10^9, CPU hours": f"{row['billion'] / 3600:,.2f}"}
        for row in foresight(path)
    ]
    return "\n\n".join(markdown_table(table) for table in (builds, searches, ahead) if table)
