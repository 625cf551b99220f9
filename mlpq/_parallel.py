"""Threads over independent pieces of work, such as the cells of an index, and the settings of Faiss beneath them.

The number of threads is Faiss's: set `OMP_NUM_THREADS`, or call `faiss.omp_set_num_threads(n)`.
"""

from __future__ import annotations

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

FEW = 20  # numbers (n * d) from which on Faiss multiplies matrices; its own default was 20, and is 128,000 in 1.15

_in_use = threading.Lock()
_training = threading.Lock()
_trainings: list[int] = []  # Faiss's own threshold, once for every training that runs
_libraries = cache(ThreadpoolController)


def in_threads(work: Callable[[T], None], items: Sequence[T]) -> None:
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
