"""Threads over pieces of work: everything is done once, and after a fault nothing further is begun."""

import os
import subprocess
import sys
import threading
import time

import faiss
import pytest

from mlpq import _parallel


@pytest.fixture(autouse=True)
def two_threads() -> object:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(2)
    yield
    faiss.omp_set_num_threads(before)


def test_every_item_once() -> None:
    done: list[int] = []
    _parallel.in_threads(done.append, range(1000))
    assert sorted(done) == list(range(1000))


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_after_a_fault_nothing_further_is_begun(fault: type[BaseException]) -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise fault("the third")
        time.sleep(0.1)

    with pytest.raises(fault, match="the third"):
        _parallel.in_threads(work, range(100))
    assert len(begun) < 50  # the other thread begins one or two more, or some if this one has to wait for a processor
    test_every_item_once()  # and the next work is done as ever


def test_work_within_work_is_done_alone() -> None:
    threads: list[tuple[int, int]] = []

    def outer(item: int) -> None:
        me = threading.get_ident()
        _parallel.in_threads(lambda _: threads.append((me, threading.get_ident())), range(5))

    _parallel.in_threads(outer, range(4))
    assert len(threads) == 20
    assert all(one == other for one, other in threads)


WORK = """
import multiprocessing, sys, warnings
import numpy as np
import faiss
import mlpq

faiss.omp_set_num_threads(2)
x = mlpq.synthetic(3000, 32, nq=100).xb

def work():
    index = mlpq.MultiLevelPQ(32, 8, 3, m=8, nbits=4, keep_originals=True).train(x).add(x)
    clusters = mlpq.KMeansIndex(32, 8).train(x).add(x)
    exact = mlpq.ExactIndex(32).add(x)
    found = [index.search(x[:200], 5, nprobe=3, rerank=2), index.search(x[:1], 5), clusters.search(x, 5, nprobe=2)]
    return [array.tobytes() for pair in [*found, exact.search(x[:300], 5)] for array in pair]

expected = work()
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of forks beside threads, from 3.12 on
with multiprocessing.get_context("fork").Pool(2) as pool:
    results = [pool.apply_async(work) for _ in range(2)]
    found = [result.get(300) for result in results]
sys.exit(found != [expected] * 2)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_process_ends_with_the_right_result() -> None:
    subprocess.run([sys.executable, "-c", WORK], check=True, timeout=600)
