"""The same index in shards, on one worker and on several: build time, bytes sent, memory of a worker, queries, tails.

Synthetic vectors in files, a real cluster of processes on this machine, one thread each, never more than it has cores.
The rows are the constants of chapter 19's model of larger clusters, and the builds and searches that it is checked by.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq import distributed
from mlpq._check import Array, FloatMatrix
from mlpq.bench.child import forget_peak, peak, resident
from mlpq.bench.setting import K, installed, machine
from mlpq.bench.store import Store, load, source
from mlpq.data.synthetic import SYNTHETIC_BLOCK, synthetic_chunks
from mlpq.distributed import plan, work
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import markdown_table

D, M, NBITS = 128, 64, 4  # 32 bytes of code, as in `scale`
N = 1_000_000
CELLS = (100, 316, 1000)  # the root of N last
NQ, NPROBES = 1000, (1, 4, 16, 64)
RSS = (65_536, 262_144, 1_048_576)  # rows of one part
Row = dict[str, Any]


def machines(args: argparse.Namespace) -> None:
    """Measure the rows that the file still lacks."""
    about = machine(args.threads) | {"distributed": installed("distributed"), "d": D, "m": M, "nbits": NBITS}
    about |= {"n": args.vectors, "nq": NQ, "k": K, "runs": args.runs, "source": source()}
    about |= {"command": " ".join(["python -m mlpq.bench", *args.command_line])}
    store = Store(args.output, about, ("rows",))
    rows = store.section("rows")
    with tempfile.TemporaryDirectory() as folder, tqdm(file=sys.stderr, disable=args.quiet) as bar:
        for name, measure in _plan(args.vectors, Path(folder), args.runs):
            bar.set_description_str(name)
            if name not in rows:
                rows[name] = _row(measure)
                store.save()
            bar.update()


def _plan(n: int, folder: Path, runs: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Yield what is to be measured, by name."""
    for c in CELLS:
        yield f"learn {c}", partial(learn, c, runs)
    for parts in (4, 16):
        for workers in [0, *_workers()]:
            yield f"build {parts} {workers}", partial(build, n, parts, workers, folder)
    yield f"build 64 {_workers()[-1]}", partial(build, n, 64, _workers()[-1], folder)
    for rows in RSS:
        yield f"memory {rows}", partial(memory, rows, folder)
    yield "tail", partial(tail, n, 16, folder)


def _row(measure: Callable[[], Row]) -> Row:
    return measure()


def _workers() -> list[int]:
    """1, 2, 4, ... up to as many as there are cores."""
    cores = os.cpu_count() or 1
    return [w for w in (1, 2, 4, 8, 16, 32, 64) if w <= cores]


def untrained(n_inner: int) -> MultiLevelPQ:
    return MultiLevelPQ(D, n_inner, max(1, round(n_inner**0.5)), m=M, nbits=NBITS)


def learn(n_inner: int, runs: int) -> Row:
    """One thread and one shard: seconds to train, to encode a vector, to find a query's cells, and of searches."""
    index = untrained(n_inner)
    xt = np.concatenate(list(synthetic_chunks(256 * n_inner, D)))[distributed.training_rows(index, 256 * n_inner)]
    xb = np.concatenate(list(synthetic_chunks(8 * SYNTHETIC_BLOCK, D, skip_blocks=1000)))
    xq = queries()
    with threadpool_limits(1):
        train_s = _timed(lambda: index.train(xt), 1)
        encode_s = _timed(lambda: index._encode(xb), runs) / len(xb)
        index.add(xb)
        probe_s = _timed(lambda: index.clusters.probe(xq, NPROBES[-1]), runs) / NQ
        searches = [_search(index, xq, nprobe, runs) for nprobe in NPROBES if nprobe <= n_inner]
    row = {"n_inner": n_inner, "n_train": len(xt), "train_s": train_s, "encode_s": encode_s}
    return row | {"probe_s": probe_s, "searches": searches}


def _search(index: MultiLevelPQ, xq: FloatMatrix, nprobe: int, runs: int) -> Row:
    """Return how many codes a query compares, on average, and the seconds that it takes in a batch."""
    sizes = np.diff(index.lists.offsets)
    scanned = float(sizes[index.clusters.probe(xq, nprobe)].sum(axis=1).mean())
    return {"nprobe": nprobe, "codes": scanned, "s": _timed(lambda: work.offered(index, xq, K, nprobe, 0), runs) / NQ}


def _timed(work: Callable[[], object], runs: int) -> float:
    """Return the least seconds of some runs."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def queries() -> FloatMatrix:
    return np.concatenate(list(synthetic_chunks(NQ, D, skip_blocks=100_000)))


def files(n: int, parts: int, folder: Path) -> list[str]:
    """Write n vectors to some files, once; return their names."""
    paths = [folder / f"{n}-{parts}-{number}.npy" for number in range(parts)]
    ends = np.linspace(0, n, parts + 1).astype(int)
    for path, start, stop in zip(paths, ends[:-1], ends[1:], strict=True):
        if not path.exists():
            first, last = start // SYNTHETIC_BLOCK, -(-stop // SYNTHETIC_BLOCK)
            blocks = list(synthetic_chunks((last - first) * SYNTHETIC_BLOCK, D, skip_blocks=first))
            np.save(path, np.concatenate(blocks)[start - first * SYNTHETIC_BLOCK :][: stop - start])
    return [str(path) for path in paths]


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """Hold a client of so many workers, each a process with one thread; for 0 workers, None."""
    if not workers:
        yield None
        return
    import dask.distributed as dask

    how = {"threads_per_worker": 1, "memory_limit": None, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    count_sent()
    logging.getLogger("distributed").setLevel(logging.ERROR)  # its news would stand between the rows
    with dask.LocalCluster(n_workers=workers, **how) as local, dask.Client(local) as client:
        client.run(count_sent)  # which imports all that work needs; that is not timed
        yield client


_written = [0]


def count_sent() -> None:
    """Count from now on what this process writes to the sockets of Dask; `written` returns it."""
    from distributed.comm.tcp import TCP

    write = TCP.write
    if write.__name__ == "counted":
        return

    async def counted(self: Any, *arguments: Any, **how: Any) -> Any:
        sent = await write(self, *arguments, **how)
        _written[0] += sent
        return sent

    TCP.write = counted


def written() -> int:
    return _written[0]


def sent(client: Any) -> int:
    """Return the bytes that this process and all workers have written since `count_sent` ran in each."""
    return written() + int(sum(client.run(written).values()))


def build(n: int, parts: int, workers: int, folder: Path) -> Row:
    """Build by part, then by cell, and search; seconds, bytes sent, the peak of a worker beyond what it held."""
    paths, index, found = files(n, parts, folder), untrained(round(n**0.5)), Row(n=n, parts=parts, workers=workers)
    with cluster(workers) as client, tempfile.TemporaryDirectory(dir=folder) as built, threadpool_limits(1):
        found["sample_bytes"] = 4 * D * len(distributed.training_rows(index, n))
        for by in ("part", "cell"):
            held = _resident(client)
            found[by] = _account(client, partial(distributed.build, paths, index, f"{built}/{by}", client, by=by))
            found[by]["peak"] = _peak(client) - held
            found[by] |= _answers(distributed.load(f"{built}/{by}", client), client)
    return found


def _account(client: Any, work: Callable[[], object]) -> Row:
    before = sent(client) if client else 0
    seconds = _timed(work, 1)
    return {"s": seconds, "sent": sent(client) - before if client else 0}


def _answers(sh: distributed.Shards, client: Any) -> Row:
    """Return what a batch of queries costs, once the shards are in memory."""
    xq, searches = queries(), []
    for nprobe in NPROBES[1:]:
        sh.search(xq, K, nprobe=nprobe)
        searches.append({"nprobe": nprobe} | _account(client, partial(sh.search, xq, K, nprobe=nprobe)))
    asked = [sum(len(rows) for rows in sh._wanted(xq, nprobe)) / NQ for nprobe in NPROBES[1:]]
    return {"searches": searches, "asked": asked}


def _resident(client: Any) -> int:
    """Return the most that a worker holds, or this process, and have their peaks begin there."""
    held = max(client.run(resident).values()) if client else resident()
    client.run(forget_peak) if client else forget_peak()
    return int(held)


def _peak(client: Any) -> int:
    return int(max(client.run(peak).values())) if client else peak()


def memory(rows: int, folder: Path) -> Row:
    """Return the peak of a worker that encodes one part of so many rows, and the bytes of the part."""
    path, index = files(rows, 1, folder), untrained(100)
    with cluster(1) as client, tempfile.TemporaryDirectory(dir=folder) as built:
        distributed.build(files(256 * 100, 1, folder), index, built, client)  # everything is imported, and trained
        held = _resident(client)
        piece = plan.Piece(0, 0, rows, 0)
        client.submit(work.encoded, path[0], piece, f"{built}/{plan.MODEL}", f"{built}/one.h5").result()
        return {"rows": rows, "part_bytes": 4 * D * rows, "shard_bytes": rows * 36, "peak": _peak(client) - held}


def tail(n: int, parts: int, folder: Path) -> Row:
    """Return seconds of single queries: quantiles over all shards, and of the slowest of the first w shards."""
    paths, index, xq = files(n, parts, folder), untrained(round(n**0.5)), queries()
    with tempfile.TemporaryDirectory(dir=folder) as built, threadpool_limits(1):
        sh = distributed.build(paths, index, built)
        shards = [MultiLevelPQ.load(path) for path in sh.paths]
        sh.search(xq, K, nprobe=16)
        seconds = np.array([[_timed(partial(work.offered, s, q[None], K, 16, 0), 1) for s in shards] for q in xq])
    levels = (0.5, 0.9, 0.99)
    slowest = {w: np.quantile(seconds[:, :w].max(axis=1), levels).tolist() for w in (1, 2, 4, 8, 16)}
    return {"shards": parts, "quantiles": quantiles(seconds.ravel()), "slowest": slowest}


def quantiles(x: Array) -> list[float]:
    """The quantiles at 0.000, 0.001, ..., 1.000."""
    found: list[float] = np.quantile(x, np.linspace(0, 1, 1001)).round(7).tolist()
    return found


def rows(path: str) -> dict[str, Row]:
    """Return the rows of a record by name.

    Raises:
        ValueError, FileNotFoundError: no record of `machines`.
    """
    record = load(path)
    if "rows" not in record or "n" not in record["about"]:
        raise ValueError(f"{path!r} is not a record of `machines`")
    found: dict[str, Row] = record["rows"]
    return found


def report(path: str) -> str:
    """Return the builds as Markdown."""
    table = [
        {
            "parts": f"{row['parts']}", "workers": f"{row['workers'] or 'none'}",
            "by part, s": f"{row['part']['s']:.1f}", "by cell, s": f"{row['cell']['s']:.1f}",
            "sent, MB": f"{row['part']['sent'] / 1e6:.1f}", "peak, MB": f"{row['part']['peak'] / 1e6:.0f}",
            "queries/s": f"{NQ / row['part']['searches'][1]['s']:,.0f}",
        }
        for name, row in rows(path).items() if name.startswith("build")
    ]  # fmt: skip
    return markdown_table(table) if table else f"{path}: no build is measured yet"
