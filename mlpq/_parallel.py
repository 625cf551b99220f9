"""Threads over independent pieces of work, such as the cells of an index.

The number of threads is Faiss's: set `OMP_NUM_THREADS`, or call `faiss.omp_set_num_threads(n)`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import faiss
from threadpoolctl import ThreadpoolController

T = TypeVar("T")

_in_use = threading.Lock()
_libraries = cache(ThreadpoolController)


def in_threads(work: Callable[[T], None], items: Sequence[T]) -> None:
    """Call `work(item)` for every item, in as many threads as Faiss would use; the first exception is raised.

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
            for _ in pool.map(work, items):
                pass
    finally:
        _in_use.release()
