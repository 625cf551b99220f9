"""One engine of the comparison: built, measured and weighed in a process of its own."""

from __future__ import annotations

import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from mlpq.bench.child import Report, Shared, forget_peak, peak, resident
from mlpq.bench.engines import KINDS
from mlpq.bench.entries import Entry
from mlpq.bench.setting import K
from mlpq.judge.evaluate import recall_at_k

SINGLE = 200  # queries answered one by one in each run


class Worker:
    """An engine with its data, and what the parent may ask of it.

    Args:
        entry: what to make.
        shared: "xb", "xq" and "gt".
        threads: for the build and for batches.

    Raises:
        ImportError, ValueError: the engine cannot be had, or not for these vectors.
    """

    def __init__(self, entry: Entry, shared: Shared, threads: int) -> None:
        data = shared.arrays()
        self.entry, self.threads, self.xb, self.every_query = entry, threads, data["xb"], data["xq"]
        self.xq, self.gt = data["xq"][: entry.queries], data["gt"][: entry.queries]
        self.engine = KINDS[entry.kind](self.xb.shape[1], threads, **entry.arguments)
        self.engine.check(self.xb)
        self.held = 0

    def build(self) -> Report:
        """Build the index; return seconds, bytes as serialized, and the most memory held beyond the data."""
        for x in (self.xb, self.every_query, self.gt):
            x.max()  # reads every page
        forget_peak()
        self.held = resident()
        start = time.perf_counter()
        self.engine.build(self.xb)
        built = {"build_s": time.perf_counter() - start, "build_peak_bytes": peak() - self.held}
        with tempfile.TemporaryDirectory() as folder:
            built |= {"bytes": self.engine.serialized(Path(folder))}
        forget_peak()
        return built | {"n": len(self.xb), "nq": len(self.xq)}

    def measure(self, setting: dict[str, int], run: int) -> Report:
        """Answer all queries in one batch, then the run's own slice of them one by one."""
        engine = self.engine
        engine.set(**setting)
        engine.threads = self.threads
        with threadpool_limits(self.threads):
            start = time.perf_counter()
            I = engine.search(self.xq, K)
            seconds = time.perf_counter() - start
        times = []
        engine.threads = 1
        with threadpool_limits(1):
            for q in np.arange(run * SINGLE, (run + 1) * SINGLE) % len(self.every_query):
                query = self.every_query[q : q + 1]
                start = time.perf_counter()
                engine.search(query, K)
                times.append(time.perf_counter() - start)
        median, slow = np.percentile(times, [50, 99]) * 1e6
        return {
            "seconds": seconds, "recall": recall_at_k(I, self.gt, K), "single_us": [float(median), float(slow)],
            "ids": hashlib.sha256(np.ascontiguousarray(I, np.int64).data).hexdigest()[:12],
            "search_peak_bytes": peak() - self.held,
        }  # fmt: skip
