"""What workers do, and how it is handed to them: each piece of work reads files and leaves one file, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from mlpq import _check
from mlpq._check import Array, FloatMatrix
from mlpq.distributed.plan import Piece, Source, opened
from mlpq.index import MultiLevelPQ
from mlpq.search.distance import balanced
from mlpq.search.lists import InvertedLists, id_dtype
from mlpq.search.scan import Scanner
from mlpq.search.visits import Originals

T = TypeVar("T")

AHEAD = 2  # pieces of work that each worker has before it: enough to keep it busy, and no more of an array is sent
PATIENCE = 60  # seconds for a worker to come
READ = 1 << 25  # bytes of a part, about, that are read and encoded at a time


def workers(client: Any) -> list[str]:
    """Return the addresses of a client's workers, in a fixed order.

    Where there are none, wait for a while: the only one may have died, and be on its way back.
    """
    found = sorted(client.scheduler_info(n_workers=-1)["workers"])
    if not found:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise RuntimeError("the client has no workers") from None
        found = sorted(client.scheduler_info(n_workers=-1)["workers"])
    return found


def done(client: Any, work: Callable[..., T], tasks: Iterable[tuple[Any, ...]]) -> Iterator[tuple[int, T]]:
    """Call `work(*task)` for every task, here or on the workers of a client; yield its number and result as it is done.

    Work of a worker that is lost is done again by another.
    """
    if client is None:
        yield from ((number, work(*task)) for number, task in enumerate(tasks))
        return
    from dask.distributed import as_completed

    numbers, queue = dict[str, tuple[int, Any]](), as_completed()
    try:
        for number, task in enumerate(tasks):
            ahead = AHEAD * len(workers(client))
            future = client.submit(work, *task, pure=False)
            numbers[future.key] = number, future
            queue.add(future)
            if len(numbers) >= ahead:
                yield _next(queue, numbers)
        while numbers:
            yield _next(queue, numbers)
    finally:
        client.cancel([future for _, future in numbers.values()])


def _next(queue: Any, numbers: dict[str, tuple[int, Any]]) -> tuple[int, Any]:
    future = next(queue)
    return numbers.pop(future.key)[0], future.result()


def taken(source: Source, rows: Array) -> Array:
    """Return some rows (n,), ascending, of a part."""
    return np.asarray(opened(source)[rows])


def encoded(source: Source, piece: Piece, model: str, path: str) -> int:
    """Write the shard of a piece, whose source is its part, or, of an array, the piece itself; return its rows."""
    index, length = MultiLevelPQ.load(model), piece.stop - piece.start
    array = not isinstance(source, str)
    step = max(1, READ // (4 * index.d))
    for start in range(0, length, step):
        stop = min(start + step, length)
        # A file is mapped anew each time: what was read of it no longer counts as memory of this process.
        rows = source[start:stop] if array else opened(source)[piece.start + start : piece.start + stop]
        try:
            index.add(rows, np.arange(piece.first + start, piece.first + stop))
        except (TypeError, ValueError) as error:
            where = f"rows {piece.start + start} to {piece.start + stop}"
            raise type(error)(f"parts[{piece.part}], {where}: {error}") from None
    index.save(path)
    return length


def sizes(path: str) -> Array:
    """Return how many rows each cell of a shard has."""
    with h5py.File(path, "r") as file:
        return np.diff(file["list_offsets"][...])


def routed(paths: list[str], start: int, stop: int, model: str, path: str) -> int:
    """Write the shard that has the cells from `start` to `stop` of other shards, which come in the order of their ids."""
    index, parts = MultiLevelPQ.load(model), []
    for one in paths:
        with h5py.File(one, "r") as file:
            offsets = file["list_offsets"][...]
            here = slice(int(offsets[start]), int(offsets[stop]))
            cells = np.repeat(np.arange(start, stop), np.diff(offsets[start : stop + 1]))
            parts.append((cells, *(file[name][here] for name in ("ids", "codes", "originals"))))
    cells, ids, codes, originals = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    order = np.argsort(cells, kind="stable")
    offsets = np.searchsorted(cells[order], np.arange(index.clusters.n_inner + 1))
    ids = ids[order].astype(id_dtype(ids), copy=False)
    index.lists = InvertedLists(offsets, ids, codes[order], originals[order])
    index.save(path)
    return len(order)


def offered(index: MultiLevelPQ, xq: FloatMatrix, k: int, nprobe: int, rerank: int) -> tuple[Array, ...]:
    """Return what one shard has to offer for each query.

    Returns:
        I (nq, s) ids of its best s = max(1, rerank) * k by code, and -1; D (nq, s), what search calls their distances; and
        by what they are compared, in float64: by code, and with rerank by the originals, (nq, s) each.
    """
    width, ip, centroids = max(1, rerank) * k, index.metric == "ip", index.clusters.inner_centroids
    D, I = index.search(xq, width, nprobe=nprobe)
    some = np.flatnonzero(I.ravel() >= 0)
    rows, queries = index.lists.rows_of(I.ravel()[some]), some // width
    x, factors = balanced(_check.matrix(xq, "xq", index.d, metric=index.metric), centroids, ip)
    scanner = Scanner(index.lists, centroids, index._coder, index._turned(x), ip, None)
    by_code = np.full(I.shape, np.inf)
    by_code.ravel()[some] = scanner.exact(queries, rows)
    exact = by_code
    if rerank:
        exact = np.full(I.shape, np.inf)
        exact.ravel()[some] = Originals(x, index.lists.original, ip).exact(queries, rows)
        D = (exact * factors).astype(np.float32)
    return I, D, by_code, exact


@cache
def _kept(path: str, mark: int) -> MultiLevelPQ:
    """Return the index in a file, which stays in memory; its originals stay in the file."""
    return MultiLevelPQ.load(path, mmap=True)


def asked(path: str, xq: FloatMatrix, k: int, nprobe: int, rerank: int) -> tuple[Array, ...] | str:
    """Return what a shard answers, which stays in memory from now on; or what is wrong with its file."""
    try:
        return offered(_kept(path, Path(path).stat().st_mtime_ns), xq, k, nprobe, rerank)
    except (OSError, ValueError) as error:
        return str(error)
