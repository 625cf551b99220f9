"""A plan worked through: 10 million vectors of 768 numbers, 1 GB of RAM, originals on a disk, recall 0.95.

Two small sizes are built, the lines through them foretell a tenth of the whole, that is built as well, and the lines go on to
the whole. Vectors are those of `grown`. Each build and each server is a process of its own, whose memory is watched.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq.bench.child import Child
from mlpq.bench.grown import grow
from mlpq.bench.serving import Building, Copied, Serving, side_by_side
from mlpq.bench.setting import K, machine
from mlpq.bench.store import Record, Store, load, source
from mlpq.data.datasets import dataset, load_dataset
from mlpq.judge.evaluate import markdown_table
from mlpq.judge.recommend import recommend
from mlpq.judge.tuning import predict_memory

WHOLE, RAM, RECALL = 10**7, 10**9, 0.95
PER_VECTOR = 68  # bytes of code and id that are planned for: 0.68 of the RAM
PER_CELL = 1000  # vectors of a cell, at every size
CHOICE = 50_000  # vectors among which `recommend` chooses the code
QUERIES = 300  # that judge it
DIMS = (128, 192, 256)  # principal components that it may keep
SIZES = (100_000, 316_000, 1_000_000)
LINES = ("nprobe", "reads", "train_cpu_s", "add_cpu_s", "cpu_ms", "single_cpu_ms")  # as lines in logarithms


def plan(args: argparse.Namespace) -> None:
    """Measure what the file still lacks.

    Raises:
        ValueError: a file of other circumstances; sizes that do not rise.
        FileNotFoundError: the file of the real vectors is nowhere.
    """
    if len(args.sizes) != 3 or sorted(args.sizes) != args.sizes:
        raise ValueError(f"sizes must be three that rise; got {' '.join(map(str, args.sizes))}")
    about = machine(args.threads) | {"k": K, "nq": args.queries, "whole": WHOLE, "ram": RAM, "wanted": RECALL}
    about |= {"per_cell": PER_CELL, "source": source()}
    about |= {"command": " ".join(["python -m mlpq.bench", *args.command_line])}
    store = Store(args.output, about, ("set", "choice", "sizes", "whole"))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(args.folder or made)
        ds, last = load_dataset(args.dataset), args.sizes[-1]
        with threadpool_limits(args.threads):
            store.section("set").update(grow(ds, last, args.queries, args.sizes, K, folder))
            del ds
            if not store.section("choice"):
                store.section("choice").update(_chosen(folder, min(CHOICE, args.sizes[0])))
            store.save()
        bar = tqdm(args.sizes, unit="size", file=sys.stderr, disable=args.quiet)
        for n in bar:
            bar.set_description_str(f"n={n:,}")
            if str(n) not in store.section("sizes"):
                store.section("sizes")[str(n)] = _size(store.section("choice"), n, folder, args.threads)
                store.save()
        if not store.section("whole"):
            found = _whole(store.section("choice"), store.section("sizes"), last, folder, args.threads)
            store.section("whole").update(found)
            store.save()


def _chosen(folder: Path, n: int) -> Record:
    """Return what `recommend` says of a sample: the settings of the code, and its recall without originals."""
    ds = dataset(np.load(folder / "base.npy", mmap_mode="r")[:n].copy(), np.load(folder / "queries.npy")[:QUERIES])
    cells, outer = levels(n)
    sized = predict_memory(n, ds.d, cells, outer, m=64, pca_dim=DIMS[-1], codebook_dtype="uint8")
    fixed = (sized.total - sized["codes"] - sized["ids"]) / n  # spread over few vectors here
    rows = recommend(ds, PER_VECTOR + fixed, RECALL, n_inner=cells, n_outer=outer, nbits=(8,), pca_dims=DIMS)
    best = next(row for row in rows if not row["keep_originals"])
    names = ("m", "nbits", "pca_dim", "codebooks", "codebook_dtype")
    return {"n": n, "nq": len(ds.xq), **{name: best[name] for name in names}} | {
        "recall": best["recall"], "nprobe": best["nprobe"], "meets": best["meets"], "bytes": best["bytes"] / n,
    }  # fmt: skip


def settings(choice: Mapping[str, object], n: int) -> Record:
    """Return the arguments of the index for n vectors."""
    names = ("m", "nbits", "pca_dim", "codebooks", "codebook_dtype")
    return dict(zip(("n_inner", "n_outer"), levels(n), strict=True)) | {name: choice[name] for name in names}


def levels(n: int) -> tuple[int, int]:
    """Return n_inner for cells of 1,000 vectors on average, and n_outer, its root."""
    cells = max(1, round(n / PER_CELL))
    return cells, max(1, round(cells**0.5))


def _size(choice: Record, n: int, folder: Path, threads: int) -> Record:
    """Build n vectors in one process, and serve them from another."""
    how, file = settings(choice, n), folder / f"index-{n}.h5"
    child = Child(f"build {n}", partial(Building, folder, n, how, threads))
    try:
        row = {"n": n, "n_inner": how["n_inner"]} | child.ask("build", str(file))
    finally:
        child.stop()
    child = Child(f"serve {n}", partial(Serving, folder, n, file, threads))
    try:
        row |= child.ask("open") | child.ask("judge", RECALL) | child.ask("serve")
    finally:
        child.stop()
    return row | {"predicted_bytes": predict_memory(n, _dimension(folder), **how).total}


def _dimension(folder: Path) -> int:
    return int(np.load(folder / "base.npy", mmap_mode="r").shape[1])


def _whole(choice: Record, sizes: Mapping[str, Record], n: int, folder: Path, threads: int) -> Record:
    """Serve ten copies of the largest size, for the memory that this takes, not for its recall."""
    file, row = folder / "copies.h5", sizes[str(n)]
    child = Child("copies", partial(Copied, folder / f"index-{n}.h5", 10))
    try:
        child.ask("save", str(file))
    finally:
        child.stop()
    child = Child("serve copies", partial(Serving, folder, n, file, threads))
    try:
        found = {"n": 10 * n} | child.ask("open") | child.ask("load", row["nprobe"], row["reads"])
    finally:
        child.stop()
    predicted = predict_memory(WHOLE, _dimension(folder), **settings(choice, WHOLE))
    ways = side_by_side(partial(Serving, folder, n, folder / f"index-{n}.h5", 1), row["nprobe"], row["reads"])
    file.unlink()
    return {"copies": found, "predicted": predicted, "predicted_bytes": predicted.total, "ways": ways}


def line(n0: int, y0: float, n1: int, y1: float, n: int) -> float:
    """Return where the line through two points goes on, in logarithms."""
    return float(y1 * (y1 / y0) ** (math.log(n / n1) / math.log(n1 / n0)))


def foretold(path: str) -> list[Record]:
    """Return a row for each figure: what the two smaller sizes foretold for the largest, what came, what is to come.

    Raises:
        ValueError, FileNotFoundError: no record of `plan`.
    """
    record = load(path)
    rows = sorted(record["sizes"].values(), key=lambda row: row["n"])
    if len(rows) != 3:
        return []
    (a, b, c), whole = rows, record["about"]["whole"]
    return [
        {
            "what": name, "predicted": line(a["n"], a[name], b["n"], b[name], c["n"]), "measured": c[name],
            "whole": line(b["n"], b[name], c["n"], c[name], whole),
        }
        for name in LINES
    ]  # fmt: skip


def report(path: str) -> str:
    """Return the sizes, and what was foretold beside what came, as Markdown."""
    record = load(path)
    rows = sorted(record["sizes"].values(), key=lambda row: row["n"])
    if not rows:
        return f"{path}: no size is measured yet"
    table = [
        {
            "vectors": f"{row['n']:,}", "cells": f"{row['n_inner']:,}", "nprobe": str(row["nprobe"]),
            "reads": str(row["reads"] * K), "recall@10": f"{row['recall']:.3f} ± {row['interval']:.3f}",
            "codes alone": f"{row['by_code']:.3f}", "index, MB": f"{row['bytes'] / 1e6:.1f}",
            "process, MB": f"{row['held'] / 1e6:.0f}", "build, MB": f"{row['build_peak'] / 1e6:.0f}",
            "train, CPU s": f"{row['train_cpu_s']:.0f}", "add, CPU s": f"{row['add_cpu_s']:.0f}",
            "query, CPU ms": f"{row['cpu_ms']:.2f}", "alone, CPU ms": f"{row['single_cpu_ms']:.2f}",
        }
        for row in rows
    ]  # fmt: skip
    lines = [
        {"figure": one["what"]} | {name: f"{one[name]:,.1f}" for name in ("predicted", "measured", "whole")}
        for one in foretold(path)
    ]
    return "\n\n".join(markdown_table(part) for part in (table, lines) if part)
