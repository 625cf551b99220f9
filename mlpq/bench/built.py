"""One size of `scale`, in two processes: the first builds, with a stopwatch for each part; the second loads and searches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mlpq._check import Array, nearest_m
from mlpq.bench.child import Report, forget_peak, peak, resident
from mlpq.bench.confined import forget
from mlpq.bench.setting import K
from mlpq.clustering import TwoLevelKMeans, sample
from mlpq.codecs.codebooks import Codebooks
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import recall_interval
from mlpq.judge.timing import measure
from mlpq.search.lists import InvertedLists

M = 48  # bytes of a code: 2 of 96 numbers share one
POINTS_PER_CELL = 128  # training vectors: with more, cells are 1 % better at most (`training`)
PARTS = 20  # in which a base is read and added, whatever its size: each moves all that is there
PIECE = 1 << 20  # rows that are read at a time to choose some
NPROBES, RERANKS = (8, 16, 32, 64), (0, 4)
COLD = {"nprobe": 16, "rerank": 4}
SINGLE = 50  # queries asked one by one
WATCHED: dict[str, tuple[type, str]] = {
    "coarse": (TwoLevelKMeans, "_fit"), "assign": (TwoLevelKMeans, "assign"), "codes": (Codebooks, "train"),
    "encode": (Codebooks, "encode"), "lists": (InvertedLists, "extend"),
}  # fmt: skip


def levels(n: int) -> tuple[int, int]:
    """Return sqrt(n) cells, and n_outer, the root of that."""
    cells = max(1, round(n**0.5))
    return cells, max(1, round(cells**0.5))


class Clock:
    """Seconds of each part, and what they took of the processors: "seconds" and "cpu", by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done meanwhile to a part, less what other parts count of it."""
        start, cpu, before = (
            time.perf_counter(),
            time.process_time(),
            (sum(self.seconds.values()), sum(self.cpu.values())),
        )
        try:
            yield
        finally:
            passed, used = time.perf_counter() - start, time.process_time() - cpu
            passed -= sum(self.seconds.values()) - before[0]
            used -= sum(self.cpu.values()) - before[1]
            self.seconds[name] = self.seconds.get(name, 0.0) + passed
            self.cpu[name] = self.cpu.get(name, 0.0) + used


@contextmanager
def stopwatch() -> Iterator[Clock]:
    """Yield a clock that the parts' methods are read into: they are replaced meanwhile by some that look at it."""
    clock = Clock()
    before = {name: vars(owner)[method] for name, (owner, method) in WATCHED.items()}
    try:
        for name, (owner, method) in WATCHED.items():
            setattr(owner, method, _timed(before[name], name, clock))
        yield clock
    finally:
        for name, (owner, method) in WATCHED.items():
            setattr(owner, method, before[name])


def _timed(method: Any, name: str, clock: Clock) -> Any:
    if isinstance(method, classmethod):
        return classmethod(_timed(method.__func__, name, clock))

    @wraps(method)
    def timed(*args: Any, **kwargs: Any) -> Any:
        with clock.part(name):
            return method(*args, **kwargs)

    return timed


class Building:
    """Builds an index with originals of the first n vectors of a file."""

    def __init__(self, folder: Path, n: int, threads: int) -> None:
        self.file, self.n, self.threads = folder / "base.npy", n, threads
        self.d = np.load(self.file, mmap_mode="r").shape[1]
        self.index = MultiLevelPQ(self.d, *levels(n), m=nearest_m(self.d, M), keep_originals=True)

    def read(self, start: int, stop: int) -> Array:
        """Return some vectors, read from the file into memory."""
        with self.file.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            file.seek(start * self.d, 1)
            return np.fromfile(file, np.uint8, (stop - start) * self.d).reshape(-1, self.d)

    def build(self, to: str) -> Report:
        """Train, add, save; return the seconds of each part, bytes, and the most memory that the process held, in all."""
        resident()
        forget_peak()
        with threadpool_limits(self.threads), stopwatch() as clock:
            self._train(clock)
            self._add(clock)
            with clock.part("save"):
                self.index.save(to)
        memory = self.index.memory()
        return {
            "n": self.n, "n_inner": self.index.clusters.n_inner, "seconds": clock.seconds, "cpu": clock.cpu,
            "memory": memory, "bytes": memory.total, "peak": peak(),
        }  # fmt: skip

    def _train(self, clock: Clock) -> None:
        with clock.part("sample"):
            rows = sample(self.n, POINTS_PER_CELL * self.index.clusters.n_inner, 0)
            pieces = range(0, self.n, PIECE)
            cuts = np.searchsorted(rows, [*pieces, self.n])
            read = [
                self.read(first, min(first + PIECE, self.n))[rows[low:high] - first]
                for first, low, high in zip(pieces, cuts[:-1], cuts[1:], strict=True)
            ]
            xt = np.concatenate(read)
        with clock.part("train_rest"):
            self.index.train(xt)
        for times in (clock.seconds, clock.cpu):
            times["train_assign"] = times.pop("assign")

    def _add(self, clock: Clock) -> None:
        size = -(-self.n // PARTS)
        for first in range(0, self.n, size):
            with clock.part("read"):
                part = self.read(first, min(first + size, self.n))
            with clock.part("add_rest"):
                self.index.add(part)


class Searching:
    """Loads an index, whose originals stay in its file, and searches."""

    def __init__(self, folder: Path, n: int, file: str, threads: int) -> None:
        self.xq = np.load(folder / "queries.npy").astype(np.float32)
        self.gt = np.load(folder / f"truth-{n}.npy")
        self.file, self.threads = file, threads

    def search(self, runs: int) -> Report:
        """Load, search once while the originals are on the disk alone, then with every setting, several times.

        Returns:
            "load_s"; "held", bytes of the process then; "cold", the first batch; "settings", recall and seconds of each.
        """
        resident()
        forget(self.file)
        start = time.perf_counter()
        index = MultiLevelPQ.load(self.file, mmap=True)
        found: Report = {"load_s": time.perf_counter() - start, "held": resident()}
        start = time.perf_counter()
        with threadpool_limits(self.threads):
            index.search(self.xq, K, **COLD)
        found |= {"cold": COLD | {"seconds": time.perf_counter() - start}, "settings": []}
        for nprobe in (p for p in NPROBES if p <= index.clusters.n_inner):
            for rerank in RERANKS:
                search = partial(index.search, k=K, nprobe=nprobe, rerank=rerank)
                found["settings"].append({"nprobe": nprobe, "rerank": rerank} | self._measured(search, runs))
        return found

    def _measured(self, search: Callable[..., Any], runs: int) -> Report:
        (_, I), timing = measure(partial(search, self.xq), len(self.xq), threads=self.threads, runs=runs)
        alone = measure(lambda: [search(q) for q in self.xq[:SINGLE, None]], SINGLE, threads=1, runs=1)[1]
        recall, interval = recall_interval(I, self.gt, K)
        return {
            "recall": recall, "interval": interval, "seconds": list(timing.seconds),
            "single_s": alone.seconds[0] / len(self.xq[:SINGLE]),
        }  # fmt: skip
