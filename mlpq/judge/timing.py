"""How fast: several runs of a search, timed one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import faiss
from threadpoolctl import threadpool_limits

from mlpq import _check

T = TypeVar("T")


@dataclass(frozen=True)
class Timing:
    """All counted runs of one timed call.

    Attributes:
        seconds: of every counted run, in the order in which they ran.
        nq: queries in a run.
        threads: threads allowed.
    """

    seconds: tuple[float, ...]
    nq: int
    threads: int

    @property
    def qps(self) -> float:
        """Queries per second in the median run."""
        return float(self.nq / median(self.seconds))


def measure(
    search: Callable[[], T], nq: int, *, threads: int | None = None, warmup: int = 1, runs: int = 5
) -> tuple[T, Timing]:
    """Time `search()`, which answers nq queries: warm-up runs first, then `runs` counted ones.

    Args:
        threads: threads for BLAS and OpenMP, and so for Faiss and for every search here; None leaves them as they
            are.

    Returns:
        What the last run returned and the `Timing`, so that what was timed is also what gets judged.

    Example:
        >>> answer, timing = measure(lambda: sum(range(10)), nq=1, runs=3)
        >>> answer, len(timing.seconds), timing.qps > 0
        (45, 3, True)

    Raises:
        TypeError, ValueError: nq, threads or runs < 1, warmup < 0.
    """
    nq = _check.integer(nq, "nq", 1)
    threads = _check.integer(faiss.omp_get_max_threads() if threads is None else threads, "threads", 1)
    warmup, runs = _check.integer(warmup, "warmup", 0), _check.integer(runs, "runs", 1)
    seconds = []
    with threadpool_limits(threads):
        for run in range(warmup + runs):
            start = time.perf_counter()
            result = search()
            if run >= warmup:
                seconds.append(time.perf_counter() - start)
    return result, Timing(tuple(seconds), nq, threads)
