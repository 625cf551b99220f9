"""Threads over independent pieces of work, such as the cells of an index, how it is cut for them, and Faiss's settings.

The number of threads is Faiss's: set `OMP_NUM_THREADS`, or call `faiss.omp_set_num_threads(n)`. In a process that was
forked it is one, and must stay one.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import faiss
from threadpoolctl import ThreadpoolController

T = TypeVar("T")

BLOCK = 1 << 22  # entries of all blocks of distances in work at once (16 MB of float32): bounds the working set
BATCH = 1 << 22  # candidates that all queries of a search hold at once, at most: the rest of the queries wait
MANY = 256  # rows from which on it pays to have two threads

FEW = 20  # numbers (n * d) from which on Faiss multiplies matrices; its own default was 20, and is 128,000 in 1.15

_in_use = threading.Lock()  # whose owner may have threads
_training = threading.Lock()
_trainings: list[int] = []  # Faiss's own threshold, once for every training that runs
_libraries = cache(ThreadpoolController)


def _start_anew() -> None:
    """In a process just forked: no thread of the old one is here, and OpenMP would wait for its own for ever."""
    global _in_use, _training
    _in_use, _training = threading.Lock(), threading.Lock()
    faiss.omp_set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_start_anew)


def in_threads(work: Callable[[T], object], items: Sequence[T]) -> None:
    """Call `work(item)` for every item, in as many threads as Faiss would use; the first exception is raised.

    After an exception, or Ctrl-C, no further item is begun.

    Meanwhile BLAS is held at one thread, or ours would queue for its own. That limit belongs to the process, so only
    one call at a time has threads; a call that comes meanwhile, from another thread or from `work` itself, does its
    work alone.
    """
    n = min(faiss.omp_get_max_threads(), len(items))
    if n < 2 or not _in_use.acquire(blocking=False):
        for item in items:
            work(item)
        return
    try:
        # The initializer keeps Faiss, where `work` calls it, to one thread as well: OpenMP's setting is per thread.
        with (
            _libraries().limit(limits=1, user_api="blas"),
            ThreadPoolExecutor(n, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool,
        ):
            left = iter(items)  # each thread takes the next one that is left

            def work_on() -> None:
                try:
                    for item in left:
                        work(item)
                finally:
                    deque(left, maxlen=0)  # after an exception nobody begins another

            try:
                for done in [pool.submit(work_on) for _ in range(n)]:
                    done.result()
            finally:
                deque(left, maxlen=0)  # Ctrl-C reaches the thread that waits here
    finally:
        _in_use.release()


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS at one thread meanwhile, unless `in_threads` does: threads in a decomposition wait longer than they work."""
    if not _in_use.acquire(blocking=False):
        yield
        return
    try:
        with _libraries().limit(limits=1, user_api="blas"):
            yield
    finally:
        _in_use.release()


def undisturbed(work: Callable[[], None]) -> None:
    """Call `work()` in a thread of its own: Ctrl-C reaches only the main thread, which then waits for its end."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


@contextmanager
def quick_training() -> Iterator[None]:
    """Have Faiss compare vectors by matrix products meanwhile, and set it back after the last training.

    Its own threshold makes k-means on few short sub-vectors up to ten times slower. The setting belongs to the process,
    hence the list: a training that ends must not take it from one that runs.
    """
    with _training:
        _trainings.append(_trainings[0] if _trainings else faiss.cvar.distance_compute_blas_threshold)
        faiss.cvar.distance_compute_blas_threshold = FEW
    try:
        yield
    finally:
        with _training:
            before = _trainings.pop()
            if not _trainings:
                faiss.cvar.distance_compute_blas_threshold = before


def blocks(n: int, entries_per_row: int) -> list[slice]:
    """Cut n rows into slices for the threads; as many as there are threads hold at most `BLOCK` entries."""
    return cut(n, min(block() // max(1, entries_per_row), max(MANY, -(-n // int(faiss.omp_get_max_threads())))))


def block() -> int:
    """Return how many distances one thread may hold at a time."""
    return BLOCK // int(faiss.omp_get_max_threads())


def batches(n: int, entries_per_row: int) -> list[slice]:
    """Cut n queries into slices of at least one that hold at most `BATCH` candidates."""
    return cut(n, BATCH // max(1, entries_per_row))


def cut(n: int, step: int) -> list[slice]:
    step = max(1, step)
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
