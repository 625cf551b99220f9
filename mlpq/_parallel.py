"""Threads over independent pieces of work, such as the cells of an index.

The number of threads is Faiss's: set `OMP_NUM_THREADS`, or call `faiss.omp_set_num_threads(n)`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import faiss
from threadpoolctl import ThreadpoolController

T = TypeVar("T")

_lock = threading.Lock()
_users = 0
_limiter: Any = None


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread: calls from several of our threads at once would otherwise queue for its own.

    The limit belongs to the process, so concurrent users share it and the last one restores it.
    """
    global _users, _limiter
    with _lock:
        if _users == 0:
            _limiter = ThreadpoolController().limit(limits=1, user_api="blas")
            _limiter.__enter__()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limiter.__exit__(None, None, None)


def in_threads(work: Callable[[T], None], items: Sequence[T]) -> None:
    """Call `work(item)` for every item, in as many threads as Faiss would use; the first exception is raised."""
    n = min(faiss.omp_get_max_threads(), len(items))
    if n < 2:
        for item in items:
            work(item)
        return
    # A thread of ours keeps Faiss, where it calls it, to that one thread: OpenMP's setting is per thread.
    with _one_blas_thread(), ThreadPoolExecutor(n, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        for _ in pool.map(work, items):
            pass
