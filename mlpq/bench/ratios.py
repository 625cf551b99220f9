"""The speeds that the design rests on, as ratios within one run; the two sides run in turn.

1. Searching grouped by cell, against the same search as plain loops over queries and codes.
2. Training with inner codebooks, against one `faiss.Kmeans` run with as many clusters on the same vectors.
3. Searching with one codebook, in a batch and one by one, against Faiss with the same cells, codebook and codes; and how
   near a batch comes to what the machine can do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from mlpq._check import FloatMatrix, IdMatrix, nearest_m
from mlpq._parallel import cut, in_threads
from mlpq.bench.setting import K, circumstances, levels
from mlpq.codecs.pq import unpack
from mlpq.data.datasets import Dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import markdown_table, recall_at_k

NPROBE = 3
BYTES, NPROBES = (8, 16, 56), (1, 3, 8)  # of the codes, where m of the data's dimension allows; cells visited
SIDE, NUMBERS = 3000, 1 << 26  # of matrices that are multiplied; that are copied, more than any cache holds
LOOP_QUERIES = 200  # the plain loop answers only these; both sides are compared by queries per second


def plain_search(index: MultiLevelPQ, xq: FloatMatrix, k: int, nprobe: int) -> tuple[FloatMatrix, IdMatrix]:
    """Search as the papers describe it: for each query, for each cell, for each code, add up m table entries.

    Written as one would at first. Same results as `MultiLevelPQ.search`; the tests hold it to that.
    """
    D, I = np.full((len(xq), k), np.inf, np.float32), np.full((len(xq), k), -1, np.int64)
    for q, query in enumerate(xq):
        found = []
        for cell in index.clusters.probe(query[None], nprobe)[0]:
            pq = index.quantizers[int(index.codebook_of_cell[cell])]
            residual = (query - index.clusters.inner_centroids[cell]).reshape(pq.m, 1, pq.dsub)
            table = ((pq.codebooks - residual) ** 2).sum(axis=2)
            rows = index.lists.cell(int(cell))
            codes = unpack(index.lists.rows[rows], pq.m, pq.nbits)
            for id_, code in zip(index.lists.ids[rows], codes, strict=True):
                found.append((sum(table[j, code[j]] for j in range(pq.m)), id_))
        for rank, (distance, id_) in enumerate(sorted(found)[:k]):
            D[q, rank], I[q, rank] = distance, id_
    return D, I


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work()` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare_search(index: MultiLevelPQ, xq: FloatMatrix, runs: int) -> list[dict[str, str]]:
    """Time both searches in turn, after one warm-up of each."""
    some = xq[:LOOP_QUERIES]
    rows = []
    for run in range(-1, runs):
        ours = len(xq) / seconds(lambda: index.search(xq, K, nprobe=NPROBE))
        loop = len(some) / seconds(lambda: plain_search(index, some, K, NPROBE))
        if run >= 0:
            rows.append(
                {"run": str(run), "by cell": f"{ours:,.0f}/s", "loop": f"{loop:,.0f}/s", "ratio": f"{ours / loop:.0f}"}
            )
    return rows


def compare_training(xb: FloatMatrix, make: Callable[[], MultiLevelPQ], runs: int) -> list[dict[str, str]]:
    """Time both trainings in turn, after one warm-up of each."""
    rows = []
    n_inner = make().clusters.n_inner
    for run in range(-1, runs):
        ours = seconds(partial(make().train, xb))
        kmeans = seconds(partial(faiss.Kmeans(xb.shape[1], n_inner).train, xb))
        if run >= 0:
            row = {"run": str(run), "inner codebooks": f"{ours:.1f} s", "faiss.Kmeans": f"{kmeans:.1f} s"}
            rows.append(row | {"ratio": f"{ours / kmeans:.1f}"})
    return rows


class Peak(NamedTuple):
    """What the machine does at most.

    Attributes:
        operations: a second, in products of float32 matrices.
        bytes: a second, read and written while numbers are copied.
    """

    operations: float
    bytes: float

    @classmethod
    def measured(cls, threads: int) -> Peak:
        """Return the best of five products of matrices, and of five copies."""
        x, y = np.ones((SIDE, SIDE), np.float32), np.ones(NUMBERS, np.float32)
        z = np.empty_like(y)
        parts = cut(NUMBERS, -(-NUMBERS // threads))
        with threadpool_limits(threads):
            product = min(seconds(lambda: x @ x) for _ in range(5))
            copy = min(seconds(lambda: in_threads(lambda part: np.copyto(z[part], y[part]), parts)) for _ in range(5))
        return cls(2 * SIDE**3 / product, (y.nbytes + z.nbytes) / copy)


def compare_with_faiss(
    index: MultiLevelPQ, xq: FloatMatrix, threads: int, runs: int, peak: Peak
) -> list[dict[str, str]]:
    """Time the index and what `to_faiss` makes of it: a batch by all threads, then single queries by one.

    The shares are of what the machine does at most: of its operations, were all vectors in the cells visited compared
    whole, which tables avoid; and of the bytes that it moves, if each query read its codes from memory for itself, which
    caches avoid, and searching by cell.
    """
    theirs = index.to_faiss()
    rows = []
    for nprobe in NPROBES:
        faiss.extract_index_ivf(theirs).nprobe = nprobe
        search = partial(index.search, k=K, nprobe=nprobe)
        row = {"m": str(index.m), "nprobe": str(nprobe)}
        with threadpool_limits(threads):
            timed = in_turn([xq], search, partial(theirs.search, k=K), runs)
        row |= shown("batch", len(xq), timed) | shares(index, xq, nprobe, median(one for one, _ in timed), peak)
        with threadpool_limits(1):
            some = list(xq[:LOOP_QUERIES, None])
            row |= shown("one by one", len(some), in_turn(some, search, partial(theirs.search, k=K), runs))
        rows.append(row)
    return rows


def shares(index: MultiLevelPQ, xq: FloatMatrix, nprobe: int, took: float, peak: Peak) -> dict[str, str]:
    """Return which shares of the peak a batch comes to that took so many seconds."""
    clusters = index.clusters
    codes = int(index.lists.sizes[clusters.probe(xq, nprobe)].sum())
    operations = 2 * clusters.d * (codes + len(xq) * clusters.n_inner)
    found = {"operations": operations / took / peak.operations, "bytes": codes * index.code_size / took / peak.bytes}
    return {f"{name}, of the peak": f"{share:.0%}" for name, share in found.items()}


def in_turn(
    parts: list[FloatMatrix], ours: Callable[..., object], theirs: Callable[..., object], runs: int
) -> list[list[float]]:
    """Return the seconds of ours and of theirs for every run, both sides in turn, after one warm-up of each."""
    timed = [
        [seconds(lambda side=side: [side(x) for x in parts]) for side in (ours, theirs)]  # type: ignore[misc]
        for _ in range(-1, runs)
    ]
    return timed[1:]


def shown(way: str, n: int, timed: list[list[float]]) -> dict[str, str]:
    """Return queries per second of both sides, for n queries, and the median ratio of ours."""
    one, other = (n / median(both[side] for both in timed) for side in (0, 1))
    ratio = median(both[1] / both[0] for both in timed)
    return {way: f"{one:,.0f}/s", f"{way}, Faiss": f"{other:,.0f}/s", f"{way}, ratio": f"{ratio:.2f}"}


def ratios(ds: Dataset, args: argparse.Namespace) -> None:
    """Print the ratios."""
    n_inner, n_outer = levels(ds)

    def make() -> MultiLevelPQ:
        return MultiLevelPQ(ds.d, n_inner, n_outer, m=8, nbits=8, codebooks="inner")

    print(", ".join(f"{key} {value}" for key, value in circumstances(ds, args.threads).items()) + "\n")
    with threadpool_limits(args.threads):
        index = make().train(ds.xb).add(ds.xb)
        report("Search", compare_search(index, ds.xq, args.runs))
        report("Training", compare_training(ds.xb, make, args.runs))
    _, I = index.search(ds.xq, K, nprobe=NPROBE)
    print(f"recall@{K} at nprobe {NPROBE}: {recall_at_k(I, ds.gt, K):.3f}\n")
    rows, peak = [], Peak.measured(args.threads)
    print(f"peak: {peak.operations / 1e9:,.0f} GFLOP/s in products, {peak.bytes / 1e9:,.1f} GB/s in copies\n")
    for m in sorted({nearest_m(ds.d, wanted) for wanted in BYTES}):
        one = MultiLevelPQ(ds.d, n_inner, n_outer, m=m, metric=ds.metric).train(ds.xb).add(ds.xb)
        rows += compare_with_faiss(one, ds.xq, args.threads, args.runs, peak)
    print(f"## The same index in Faiss\n\n{markdown_table(rows)}")


def report(title: str, rows: list[dict[str, str]]) -> None:
    """Print one table and the median of its ratios."""
    print(f"## {title}\n\n{markdown_table(rows)}\n\nmedian ratio {median(float(row['ratio']) for row in rows):.1f}\n")
