"""Originals on a disk: how many reads, bytes and milliseconds a query takes, from a file larger than the memory allowed.

A set grown to some gigabytes is built by `mlpq.distributed.build`, file by file, in a process under a limit of memory, which
is killed once and goes on. Codes of three lengths then find the same neighbours by as many originals as each needs: few bytes
in memory and many reads, or the other way round. The originals stand in the file in the order of the cells; for comparison
also in that of ids, without advice to the system, and with all pages of a query asked for at once.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq import _check, distributed, storage
from mlpq._check import Array
from mlpq.bench.child import Child, Report
from mlpq.bench.confined import pages, release
from mlpq.bench.reading import Builder, Reader
from mlpq.bench.setting import K, machine
from mlpq.bench.store import Record, Store, load, source
from mlpq.bench.versions import Grown, grown
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import in_sight, markdown_table, recall_interval

DATASETS = ("fashion-mnist", "wordnet")
CODES = (16, 32, 64)  # bytes, m of 8 bits each
DIM = {784: 128, 384: 192}  # to which PCA reduces first
CELLS = 1024
SEEN = 0.93  # of true neighbours in the cells probed, at least: what codes and reads can then find
NPROBES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
LONGEST = 100  # r, at most
STEPS = (1, 2, 3, 5, 10, 20, 50, 100)  # values of r of which the recall is written down
WAYS = {  # what is measured: the order of the originals, and how the system is told of reads to come
    "plain-ids": ("ids", None), "ids": ("ids", "random"), "plain": ("cells", None), "advised": ("cells", "random"),
    "ahead": ("cells", "ahead"),
}  # fmt: skip
FEW = 50  # queries that are asked where the system reads megabytes for each original


def disk(args: argparse.Namespace) -> None:
    """Measure what the file still lacks, row by row; the files measured on are made anew by each run, and removed.

    Raises:
        ValueError: no such data set; a file of other circumstances.
        FileNotFoundError: the file of a data set, or the folder, is nowhere.
    """
    about = machine(args.threads) | {"kernel": platform.release(), "read_ahead_kb": read_ahead(args.folder)}
    about |= {name: getattr(args, name) for name in ("runs", "size", "memory", "target")}
    command = " ".join(["python -m mlpq.bench", *args.command_line])
    about |= {"k": K, "nq": args.queries, "source": source(), "command": command}
    store = Store(args.output, about, ("sets", "builds", "rows"))
    rows = store.section("rows")
    wanted = [(name, m, way) for name in args.datasets for m in CODES for way in ways(m)]
    lacking = [case for case in wanted if key(*case) not in rows]
    with tqdm(total=len(lacking), unit="row", file=sys.stderr, disable=args.quiet) as bar:
        for name in args.datasets:
            cases = [case for case in lacking if case[0] == name]
            if cases:
                with tempfile.TemporaryDirectory(prefix="mlpq-disk-", dir=args.folder) as folder:
                    _measure(Path(folder), name, cases, args, store, bar)


def ways(m: int) -> list[str]:
    """Return what is measured of a code; the middle one is measured in every way."""
    return ["advised", "ahead"] if m != CODES[1] else list(WAYS)


def key(name: str, m: int, way: str) -> str:
    return f"{name} {m} {way}"


def read_ahead(folder: str | None) -> int | None:
    """Return how many kB the system reads ahead on the disk of a folder, where it tells."""
    device = os.stat(folder or tempfile.gettempdir()).st_dev
    try:
        return int(Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").read_text())
    except OSError:
        return None


def _measure(folder: Path, name: str, cases: list[Any], args: argparse.Namespace, store: Store, bar: tqdm[Any]) -> None:
    """Measure the rows of one data set."""
    base = grown(name, args.size, args.queries, K, folder)
    size = sum(path.stat().st_size for path in base.files)
    facts = {"n": base.n, "d": base.ds.d, "files": len(base.files), "bytes": size, "nq": len(base.xq)}
    store.section("sets")[name] = facts
    for m in CODES:
        own = [case for case in cases if case[1] == m]
        if not own:
            continue
        index, built = _built(base, folder / f"built-{m}", m, args)
        store.section("builds")[f"{name} {m}"] = built
        with threadpool_limits(os.cpu_count()):
            chosen = choose(index, base, args.target)
        written = ""
        for case in own:
            bar.set_description_str(key(*case))
            order = WAYS[case[2]][0]
            if order != written:
                places = written_index(folder / "index.h5", index, base, order)
                written = order
            store.section("rows")[key(*case)] = _row(case, folder / "index.h5", index, base, chosen, places, args)
            store.save()
            bar.update()


def _untrained(base: Grown, m: int) -> MultiLevelPQ:
    d = base.ds.d
    cells = max(1, min(CELLS, base.n // 600))
    dim = DIM.get(d, d)
    return MultiLevelPQ(d, cells, max(1, round(cells**0.5)), m=m, pca_dim=dim, niter=8, metric=base.ds.metric)


def _built(base: Grown, folder: Path, m: int, args: argparse.Namespace) -> tuple[MultiLevelPQ, Report]:
    """Build an index without originals under the limit, in a process that is killed when half is done, and in a second."""
    name, threads = group(), os.cpu_count() or 1
    make = partial(Builder, [str(path) for path in base.files], _untrained(base, m), str(folder), args.memory, name)
    start = time.perf_counter()
    half = len(base.files) // 2
    with (
        process("build", make) as first,
        contextlib.suppress(RuntimeError),  # that it died
        killed(first, lambda: len(shards(folder)) >= half),
    ):
        first.ask("build", threads)
    seconds, left = time.perf_counter() - start, shards(folder)
    with process("build", make) as second:
        found = second.ask("build", threads)
    kept = len(left.items() & shards(folder).items())
    counted = {"killed_s": seconds, "shards": len(base.files), "before_kill": len(left), "kept": kept}
    return merged(folder), found | counted


def group() -> str:
    """Return the name of the control group of this run's processes."""
    return f"mlpq-disk-{os.getpid()}"


def shards(folder: Path) -> dict[str, int]:
    """Return the shards that are there, with their times."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.h5")}


@contextlib.contextmanager
def process(name: str, make: Callable[[], Any]) -> Iterator[Child]:
    """Yield a process of its own, and end it; its group goes with it."""
    child = Child(name, make)
    try:
        yield child
    finally:
        child.stop()
        release(group())


@contextlib.contextmanager
def killed(child: Child, when: Callable[[], bool]) -> Iterator[None]:
    """Kill a process, by signal 9, as soon as something is the case."""
    ended = threading.Event()

    def watch() -> None:
        while not when() and not ended.wait(0.01):
            pass
        child.process.kill()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def merged(folder: Path) -> MultiLevelPQ:
    """Return one index with what all shards hold."""
    index = MultiLevelPQ.load(folder / "model.h5")
    for path in distributed.load(folder).paths:
        lists = MultiLevelPQ.load(path).lists
        index.lists.extend(lists.cells_of(np.arange(len(lists.ids))), lists.rows, lists.ids.astype(np.int64))
    return index


def choose(index: MultiLevelPQ, base: Grown, target: float) -> Record:
    """Return the least nprobe that sees `SEEN` of the true neighbours, and the least r that finds `target` of them.

    One search with the longest shortlist says what each r finds: true neighbours in the best r * k by code are those that
    reranking finds. Where no r up to `LONGEST` does, that one is taken.
    """
    x = _check.matrix(base.xq, "xq", index.d, metric=index.metric)
    for nprobe in (n for n in (*NPROBES, CELLS) if n <= index.clusters.n_inner):
        visited, probes = in_sight(index, x, base.gt, nprobe)
        if visited.mean() >= SEEN:
            break
    I = index.search(base.xq, LONGEST * K, nprobe=nprobe)[1]
    ladder = {r: _found(I[:, : r * K], base.gt) for r in range(1, LONGEST + 1)}
    r = next((r for r, recall in ladder.items() if recall >= target), LONGEST)
    scanned = float(index.lists.sizes[probes].sum(axis=1).mean())
    steps = {str(r): round(ladder[r], 4) for r in STEPS}
    found = {"nprobe": nprobe, "seen": float(visited.mean()), "r": r, "scanned": scanned, "ladder": steps}
    return found | {"I": I[:, : r * K]}


def _found(I: Array, gt: Array) -> float:
    return float(np.mean([np.isin(true, row).mean() for true, row in zip(gt, I, strict=True)]))


def written_index(path: Path, index: MultiLevelPQ, base: Grown, order: str) -> Array:
    """Write the file that `MultiLevelPQ.load` reads, with originals, block by block; return where that of each row stands.

    In the order of "cells", as `save` writes it; or of "ids", which is no file for searching: rows and originals differ.
    """
    rows = index.lists.ids.astype(np.int64) if order == "cells" else np.arange(base.n)
    settings, arrays = index._settings() | {"keep_originals": True}, index._arrays()
    digest, block = hashlib.sha256(), 50_000
    with storage.replacing(path) as part, h5py.File(part, "w", libver=storage.CHECKSUMMED) as file:
        file.attrs[storage.FORMAT] = np.bytes_(json.dumps({"version": storage.VERSION, **settings}))
        for name, array in (arrays | {"originals": None}).items():
            if array is not None:
                file.create_dataset(name, data=array).attrs["sha256"] = np.bytes_(storage._sha256(array))
        dtype = base.take(rows[:1]).dtype
        originals = file.create_dataset("originals", (base.n, index.d), dtype)
        for start in range(0, base.n, block):
            taken = base.take(rows[start : start + block])
            originals[start : start + len(taken)] = taken
            digest.update(taken.data)
        originals.attrs["sha256"] = np.bytes_(digest.hexdigest())
    return np.arange(base.n) if order == "cells" else index.lists.ids.astype(np.int64)


def _row(
    case: tuple[str, int, str], path: Path, index: MultiLevelPQ, base: Grown, chosen: Record, places: Array,
    args: argparse.Namespace,
) -> Record:  # fmt: skip
    """Return one row: pages foretold, then reads, bytes and times measured in a process under the limit."""
    name, m, way = case
    order, advice = WAYS[way]
    xq = base.xq if advice else base.xq[:FEW]
    before = os.getloadavg()[0]
    with process(key(*case), partial(Reader, str(path), order, advice, args.memory, group())) as child:
        measured = child.ask("measure", xq, chosen["nprobe"], chosen["r"], args.runs, args.threads)
    offset, width, I = measured.pop("offset"), measured.pop("width"), measured.pop("I")
    wanted = [pages(places[index.lists.rows_of(ids[ids >= 0])], width, offset) for ids in chosen["I"][: len(xq)]]
    recall, interval = recall_interval(I, base.gt[: len(xq)], K)
    row: Record = {"dataset": name, "m": m, "way": way, "order": order, "advice": advice, "queries": len(xq)}
    row |= {name: value for name, value in chosen.items() if name != "I"}
    row |= {"reads": chosen["r"] * K, "pages": float(np.mean(wanted)), "recall": recall, "interval": interval}
    row |= {"ram": index.memory().total, "file": path.stat().st_size, "load": [before, os.getloadavg()[0]]}
    return row | measured


def rows(path: str) -> list[Record]:
    """Return every row of a record.

    Raises:
        ValueError, FileNotFoundError: no record of `disk`.
    """
    record = load(path)
    if "builds" not in record:
        raise ValueError(f"{path!r} is not a record of `disk`")
    return list(record["rows"].values())


def report(path: str) -> str:
    """Return the rows as a Markdown table."""
    table = [
        {
            "set, code, way": key(row["dataset"], row["m"], row["way"]), "recall@10": f"{row['recall']:.3f}",
            "RAM, MB": f"{row['ram'] / 1e6:.0f}", "originals": str(row["reads"]), "pages": f"{row['pages']:.0f}",
        }
        | {
            f"{state}: {name}": form.format(row[state][one])
            for state in ("cold", "warm", "row")
            for name, one, form in (("kB", "kB", "{:,.0f}"), ("p50 ms", "p50", "{:.1f}"), ("p99 ms", "p99", "{:.1f}"))
        }
        for row in rows(path)
    ]  # fmt: skip
    return markdown_table(table) if table else f"{path}: no row is measured yet"
