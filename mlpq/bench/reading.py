"""What the processes of `disk` do: build, or read, under a limit of memory."""

from __future__ import annotations

import mmap
import os
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq import distributed
from mlpq._check import FloatMatrix, IdMatrix
from mlpq.bench.child import Report, peak
from mlpq.bench.confined import PAGE, Ahead, Counts, confine, forget
from mlpq.bench.setting import K
from mlpq.index import MultiLevelPQ

PROBES = 500  # single pages, that say what a read takes here


class Answer(NamedTuple):
    """What a query found, in how many seconds, the bytes that were fetched from the disk, and the waits for them."""

    ids: IdMatrix
    seconds: float
    read: int
    faults: int


class Builder:
    """Builds an index from files.

    Args:
        files, index, folder: as in `distributed.build`.
        limit, group: as in `confined.confine`.
    """

    def __init__(self, files: list[str], index: MultiLevelPQ, folder: str, limit: int, group: str) -> None:
        tqdm.set_lock(threading.RLock())  # its own are named, and a process that is killed would leave them behind
        self.limit = confine(limit, group)
        self.files, self.index, self.folder = files, index, folder

    def build(self, threads: int) -> Report:
        """Build, or go on; return the seconds, the most memory, and the bytes written.

        Of memory: "peak", with the pages of files that this process has mapped; "anonymous", without.
        """
        start, most, ended = time.perf_counter(), [0], threading.Event()

        def watch() -> None:
            while not ended.wait(0.02):
                most[0] = max(most[0], anonymous())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            with threadpool_limits(threads):
                distributed.build(self.files, self.index, self.folder)
        finally:
            ended.set()
            watcher.join()
        seconds = time.perf_counter() - start
        written = sum(path.stat().st_size for path in Path(self.folder).iterdir())
        return {"seconds": seconds, "peak": peak(), "anonymous": most[0], "written": written, "limit": self.limit}


class Reader:
    """Searches an index whose originals are in a file.

    Args:
        path: of the index.
        order: of the originals: "cells", or "ids".
        advice: None; "random", which has the system read no more than is asked for; or "ahead", see `Ahead`.
        limit, group: as in `confined.confine`.
    """

    def __init__(self, path: str, order: str, advice: str | None, limit: int, group: str) -> None:
        self.path, self.limit = path, confine(limit, group)
        self.index = MultiLevelPQ.load(path, mmap=True)
        self.vectors = self.index.lists.originals
        assert isinstance(self.vectors, np.memmap)
        self.map: mmap.mmap = self.vectors.base  # type: ignore[assignment]
        if order == "ids":
            self.index.lists.places = self.index.lists.ids.astype(np.int64)
        if advice:
            self.map.madvise(mmap.MADV_RANDOM)
        if advice == "ahead":
            self.index.lists.originals = Ahead(self.vectors)  # type: ignore[assignment]

    def measure(self, xq: FloatMatrix, nprobe: int, rerank: int, runs: int, threads: int) -> Report:
        """Ask queries one by one, in three states; return for each state the medians over runs.

        "cold": nothing of the originals is in memory before each query. "warm": the same query, right after. "row": all of
        them in a row, before which nothing was.
        """
        search = partial(self.index.search, k=K, nprobe=nprobe, rerank=rerank)
        found = []
        with threadpool_limits(threads):
            for _ in range(runs):
                answers: dict[str, list[Answer]] = {"cold": [], "warm": [], "row": []}
                for q in xq:
                    self._forget()
                    answers["cold"].append(self._ask(search, q))
                    answers["warm"].append(self._ask(search, q))
                self._forget()
                answers["row"] = [self._ask(search, q) for q in xq]
                found.append({state: summed(own) for state, own in answers.items()})
                I = np.concatenate([one.ids for one in answers["row"]])
        states = {
            state: {name: median(run[state][name] for run in found) for name in found[0][state]} for state in found[0]
        }
        assert isinstance(self.vectors, np.memmap)
        own = {"offset": self.vectors.offset, "width": self.vectors.strides[0], "I": I, "limit": self.limit}
        return states | own | {"page": self._page(), "anonymous": anonymous()}

    def _forget(self) -> None:
        forget(self.path, self.map)

    def _ask(self, search: Any, q: FloatMatrix) -> Answer:
        counts, start = Counts(), time.perf_counter()
        ids = search(q[None])[1]
        return Answer(ids, time.perf_counter() - start, counts.bytes, counts.faults)

    def _page(self) -> dict[str, float]:
        """Return p50 and p99 in ms of reading one page, somewhere in the file, that is not in memory."""
        self._forget()
        seconds, rng = [], np.random.default_rng(0)
        with open(self.path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            for page in rng.choice(os.path.getsize(self.path) // PAGE, PROBES, replace=False).tolist():
                start = time.perf_counter()
                os.pread(file.fileno(), PAGE, page * PAGE)
                seconds.append(time.perf_counter() - start)
        p50, p99 = (1000 * np.quantile(seconds, [0.5, 0.99])).tolist()
        return {"p50": p50, "p99": p99}


def summed(answers: list[Answer]) -> dict[str, float]:
    """Return p50 and p99 in ms, and, a query, kB fetched from the disk and waits for it."""
    p50, p99 = (1000 * np.quantile([one.seconds for one in answers], [0.5, 0.99])).tolist()
    kB, waits = sum(one.read for one in answers) / 1000, sum(one.faults for one in answers)
    return {"p50": p50, "p99": p99, "kB": kB / len(answers), "waits": waits / len(answers)}


def anonymous() -> int:
    """Return the bytes that this process holds now and no file does; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)
