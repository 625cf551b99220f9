"""Threads over pieces of work: everything is done once, and after a fault nothing further is begun."""

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
