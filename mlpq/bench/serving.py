"""Processes that build and serve an index whose originals lie in a file of their own, and that watch their memory."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from mlpq import _check
from mlpq._check import FloatMatrix, IdMatrix
from mlpq.bench.child import Child, Report, _status, peak, resident
from mlpq.bench.setting import K
from mlpq.clustering import sample
from mlpq.index import MultiLevelPQ
from mlpq.judge.candidates import _ranks
from mlpq.judge.evaluate import recall_interval
from mlpq.search.lists import InvertedLists, id_dtype

TRAINED = 100_000  # rows, or 64 for each cell
CHUNK = 50_000  # rows added at a time
MOST = 50  # originals for each neighbour asked for, at most
SINGLE = 200  # queries asked one by one
PAUSE = 0.002  # seconds between two looks at the memory


def answer(index: MultiLevelPQ, originals: FloatMatrix, xq: FloatMatrix, k: int, nprobe: int, reads: int) -> IdMatrix:
    """Return the k nearest of the reads * k best by code, by originals that are read from their file in its order."""
    I = index.search(xq, reads * k, nprobe=nprobe)[1]
    out = np.full((len(xq), k), -1, np.int64)
    for q, found in enumerate(I):
        rows = np.sort(found[found >= 0])
        D = np.square(originals[rows] - xq[q]).sum(axis=1)
        best = rows[np.argsort(D, kind="stable")[:k]]
        out[q, : len(best)] = best
    return out


@contextmanager
def watched() -> Iterator[Report]:
    """Yield a report that at the end holds the most memory of this process's own: `held`, without pages of files."""
    report, done = {"held": 0}, threading.Event()

    def look() -> None:
        while not done.wait(PAUSE):
            report["held"] = max(report["held"], _status("RssAnon") or peak())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield report
    finally:
        done.set()
        watcher.join()


class Building:
    """Builds an index of the first n vectors in a folder, without their originals."""

    def __init__(self, folder: Path, n: int, settings: dict[str, object], threads: int) -> None:
        self.base = np.load(folder / "base.npy", mmap_mode="r")[:n]
        self.index = MultiLevelPQ(self.base.shape[1], **settings)  # type: ignore[arg-type]
        self.threads = threads

    def build(self, file: str) -> Report:
        """Train on a sample, add all in chunks, save; return seconds of all threads, bytes, and memory."""
        rows = sample(len(self.base), max(TRAINED, 64 * self.index.clusters.n_inner), 0)
        start = time.process_time()
        with threadpool_limits(self.threads), watched() as report:
            self.index.train(np.asarray(self.base[rows]))
            trained = time.process_time()
            for first in range(0, len(self.base), CHUNK):
                self.index.add(self.base[first : first + CHUNK])
            added = time.process_time()
            self.index.save(file)
        return {
            "trained": len(rows), "train_cpu_s": trained - start, "add_cpu_s": added - trained,
            "bytes": self.index.memory().total, "build_peak": report["held"],
        }  # fmt: skip


class Copied:
    """Makes an index that holds each code of another several times, each time under another id."""

    def __init__(self, file: Path, times: int) -> None:
        self.index, self.times = MultiLevelPQ.load(file), times

    def save(self, file: str) -> Report:
        lists, n = self.index.lists, self.index.ntotal
        ids = (lists.ids.astype(np.int64)[:, None] + n * np.arange(self.times)).ravel()
        rows, originals = np.repeat(lists.rows, self.times, axis=0), np.empty((len(ids), 0), np.uint8)
        ids = ids.astype(id_dtype(ids))
        self.index.lists = InvertedLists(lists.offsets * self.times, ids, rows, originals)
        self.index.save(file)
        return {}


class Serving:
    """Answers queries from an index file, and originals that stay in theirs.

    Args:
        folder: with base.npy, queries.npy and the truth.
        n: vectors that were built.
        file: of the index.
        threads: for batches.
    """

    def __init__(self, folder: Path, n: int, file: Path, threads: int) -> None:
        self.folder, self.n, self.file, self.threads = folder, n, file, threads
        self.xq = np.load(folder / "queries.npy")
        self.originals = np.load(folder / "base.npy", mmap_mode="r")
        self.nprobe = self.reads = 0

    def open(self) -> Report:
        """Load the index; return what the process held before, its peak meanwhile, and what it holds then."""
        resident()  # gives back what is free
        before = _status("RssAnon") or 0
        with watched() as report:
            self.index = MultiLevelPQ.load(self.file)
        resident()
        return {"empty": before, "loading": report["held"], "loaded": _status("RssAnon") or 0}

    def judge(self, wanted: float) -> Report:
        """Find the fewest cells that leave half of what may be missed to the codes, and the fewest reads that then do."""
        gt = np.load(self.folder / f"truth-{self.n}.npy")[:, :K]
        index = self.index
        x = _check.matrix(self.xq, "xq", index.d)
        _, probes = index._probe(index._turned(x), index.clusters.n_inner, None)
        cells = index.lists.cells_of(index.lists.rows_of(gt.ravel())).reshape(gt.shape)
        ranks = np.sort(_ranks(probes, cells).ravel())
        self.nprobe = int(ranks[math.ceil((1 + wanted) / 2 * len(ranks)) - 1]) + 1
        I = index.search(x, MOST * K, nprobe=self.nprobe)[1]
        found = [recall_interval(best(I[:, : r * K], gt), gt, K) for r in range(1, MOST + 1)]
        self.reads = next((r for r, (value, _) in enumerate(found, 1) if value >= wanted), MOST)
        recall, interval = found[self.reads - 1]
        scanned = float(index.lists.sizes[probes[:, : self.nprobe]].sum(axis=1).mean())
        return {
            "nprobe": self.nprobe, "reads": self.reads, "recall": recall, "interval": interval,
            "by_code": recall_interval(I[:, :K], gt, K)[0], "coarse": float((ranks >= self.nprobe).mean()),
            "scanned": scanned, "curve": [round(value, 4) for value, _ in found],
        }  # fmt: skip

    def load(self, nprobe: int, reads: int) -> Report:
        """Answer all queries in batches, then some one by one; the memory, and milliseconds of processor time a query."""
        self.nprobe, self.reads = nprobe, reads
        with threadpool_limits(self.threads), watched() as report:
            self.batch()
        with threadpool_limits(1):
            start = time.process_time()
            self.batch()
            middle = time.process_time()
            for q in range(min(SINGLE, len(self.xq))):
                answer(self.index, self.places(), self.xq[q : q + 1], K, nprobe, reads)
            end = time.process_time()
        batch, alone = (middle - start) / len(self.xq), (end - middle) / min(SINGLE, len(self.xq))
        spent = {"cpu_ms": 1e3 * batch, "single_cpu_ms": 1e3 * alone}
        return {"held": report["held"], "bytes": self.index.memory().total} | spent

    def serve(self) -> Report:
        """As `load`, with the settings that were found, and what the batch finds."""
        found = self.load(self.nprobe, self.reads)
        gt = np.load(self.folder / f"truth-{self.n}.npy")
        return found | {"answered": recall_interval(self.batch(), gt, K)[0]}

    def batch(self) -> IdMatrix:
        return answer(self.index, self.places(), self.xq, K, self.nprobe, self.reads)

    def places(self) -> FloatMatrix:
        """Return the originals by id: where codes are copies, those of the first."""
        return self.originals if self.index.ntotal <= len(self.originals) else Wrapped(self.originals)  # type: ignore[return-value]

    def several(self, threads: int, nprobe: int, reads: int) -> Report:
        """Answer queries one by one in several threads of this process; return seconds by the clock and memory."""
        self.nprobe, self.reads = nprobe, reads
        one = range(len(self.xq))
        with threadpool_limits(1), watched() as report, ThreadPoolExecutor(threads) as pool:
            start = time.perf_counter()
            list(pool.map(lambda q: answer(self.index, self.places(), self.xq[q : q + 1], K, nprobe, reads), one))
            seconds = time.perf_counter() - start
        return {"seconds": seconds, "queries": len(one), "held": report["held"]}


class Wrapped:
    """Originals (n, d), asked for by ids that count on."""

    def __init__(self, originals: FloatMatrix) -> None:
        self.originals = originals

    def __getitem__(self, rows: IdMatrix) -> FloatMatrix:
        some: FloatMatrix = self.originals[rows % len(self.originals)]
        return some


def side_by_side(make: Callable[[], Serving], nprobe: int, reads: int) -> Report:
    """Return what one thread, two threads of a process, and two processes do: queries a second and memory of its own."""
    children = [Child(f"serve {number}", make) for number in range(2)]
    try:
        for child in children:
            child.ask("open")
        alone = children[0].ask("several", 1, nprobe, reads)
        threads = children[0].ask("several", 2, nprobe, reads)
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda child: child.ask("several", 1, nprobe, reads), children))
    finally:
        for child in children:
            child.stop()
    rows = {"one thread": [alone], "two threads": [threads], "two processes": both}
    return {
        name: {"qps": sum(row["queries"] / row["seconds"] for row in found), "held": sum(row["held"] for row in found)}
        for name, found in rows.items()
    }


def best(I: IdMatrix, gt: IdMatrix) -> IdMatrix:
    """Return what reranking makes of a shortlist (nq, r * k): the true k nearest in it first, then -1."""
    true = np.array([np.isin(t, row) for row, t in zip(I, gt, strict=True)])
    return np.where(true, gt, -1)
