"""Finding the nearest of thousands of cells: all centroids, two levels, or a graph over them, at equal recall of cells.

Centroids are those of real vectors grown by a rule (`versions`), reduced to 96 principal components as an index with
`pca_dim=96` sees them. Recall of cells is the share of the true nearest cells that are found.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import faiss
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq._check import FloatMatrix, IdMatrix, Rows
from mlpq.bench.fronts import at_recall
from mlpq.bench.setting import machine
from mlpq.bench.store import Record, Store, load, source
from mlpq.bench.versions import mixed, shifted
from mlpq.clustering import KMeans
from mlpq.codecs.rotation import Rotation
from mlpq.data.datasets import Dataset, load_dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import markdown_table, recall_at_k
from mlpq.judge.timing import measure
from mlpq.judge.tuning import Row

DATASETS = ("fashion-mnist", "wordnet")
CELLS = (1000, 10_000, 100_000)
DIM = 96
POINTS = 15  # vectors for each cell: enough to place it
NITER = 5
NQ, NPROBE = 1000, 32
SINGLE = 200  # queries asked one by one
LINKS = 32  # of the graph, per node and level
WIDTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512)  # of its search
RECALLS = (0.95, 0.99)
WAYS = ("all centroids", "all centroids, Faiss", "two levels", "graph")


def cells(args: argparse.Namespace) -> None:
    """Measure what the file still lacks.

    Raises:
        ValueError: a file of other circumstances.
        FileNotFoundError: the file of a data set is nowhere.
    """
    about = machine(args.threads) | {"d": DIM, "nq": NQ, "nprobe": NPROBE, "single": SINGLE, "source": source()}
    about |= {"runs": args.runs, "command": " ".join(["python -m mlpq.bench", *args.command_line])}
    store = Store(args.output, about, ("builds", "points"))
    todo = [(name, k) for name in args.datasets for k in args.cells if f"{name} {k}" not in store.section("builds")]
    with tqdm(todo, unit="grid", file=sys.stderr, disable=args.quiet) as bar:
        for name, k in bar:
            bar.set_description_str(f"{name}, {k:,} cells")
            with threadpool_limits(args.threads):
                x, xq = grown(load_dataset(name), POINTS * k)
                index, graph, built = grids(centroids(x, k))
                del x
            for way, setting, search in ways(index, graph):
                point = {"set": name, "cells": k, "way": way, "setting": setting}
                point |= measured(search, xq, index, args.threads, args.runs)
                store.section("points")[f"{name} {k} {way} {setting}"] = point
            store.section("builds")[f"{name} {k}"] = {"set": name, "cells": k} | built
            store.save()


def grown(ds: Dataset, n: int) -> tuple[FloatMatrix, FloatMatrix]:
    """Return n vectors (n, 96) grown from a set, and queries (nq, 96).

    Raises:
        IndexError: images have 81 shifts.
    """
    rotation = Rotation(ds.d, min(DIM, ds.d), kind="pca", m=1).train(ds.xb)
    image = ds.image_shape is not None
    version = shifted(ds.xb) if image else mixed(rotation(ds.xb), "l2")
    x = np.empty((n, rotation.dim), np.float32)
    for number, start in enumerate(range(0, n, len(ds.xb))):
        part = version(number)[: n - start]
        x[start : start + len(part)] = rotation(part.astype(np.float32)) if image else part
    return x, rotation(ds.xq[:NQ])


def centroids(x: FloatMatrix, k: int) -> FloatMatrix:
    """Return k centroids of x (n, d), by k-means in two steps: sqrt(k) groups, and cells in each as its size deserves."""
    groups = KMeans(x.shape[1], max(1, round(k**0.5)), niter=NITER).train(x)
    near = groups.assign(Rows(x))
    order, sizes = np.argsort(near, kind="stable"), np.bincount(near, minlength=groups.k)
    ends = np.cumsum(sizes)
    shares = np.diff(np.rint(ends * k / len(x)).astype(int), prepend=0)  # cells of each group: k in all
    parts = [
        KMeans(x.shape[1], int(share), niter=NITER).train(x[order[end - size : end]]).centroids
        for end, size, share in zip(ends, sizes, shares, strict=True)
        if share
    ]
    return np.concatenate(parts)


def grids(found: FloatMatrix) -> tuple[MultiLevelPQ, Any, Record]:
    """Return an index with these centroids and their root of outer clusters, a graph over them, and seconds to build both."""
    k, d = found.shape
    index = MultiLevelPQ(d, k, max(1, round(k**0.5)), m=1)
    start = time.perf_counter()
    clusters = index.clusters
    clusters.inner.centroids = found
    clusters.outer.train(found)
    clusters.inner_to_outer = clusters.outer.assign(found)
    grouped = time.perf_counter()
    graph = faiss.IndexHNSWFlat(d, LINKS)
    graph.add(found)
    return index, graph, {"outer_s": grouped - start, "graph_s": time.perf_counter() - grouped}


Search = Callable[[FloatMatrix], IdMatrix]


def ways(index: MultiLevelPQ, graph: Any) -> Iterator[tuple[str, int, Search]]:
    """Yield each way to find cells, its setting, and a function from queries (n, d) to cells (n, nprobe)."""
    clusters = index.clusters
    flat = faiss.IndexFlatL2(clusters.d)
    flat.add(clusters.inner_centroids)
    nprobe = min(NPROBE, clusters.n_inner)
    yield WAYS[0], 0, lambda x: index._probe(x, nprobe, None)[1]
    yield WAYS[1], 0, lambda x: flat.search(x, nprobe)[1]
    opened = [o for o in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128) if o < clusters.n_outer]
    for o in opened:
        yield WAYS[2], o, partial(lambda x, o: index._probe(x, nprobe, o)[1], o=o)
    for width in WIDTHS:
        wide = faiss.SearchParametersHNSW(efSearch=width)
        yield WAYS[3], width, partial(lambda x, wide: graph.search(x, nprobe, params=wide)[1], wide=wide)


def measured(search: Search, xq: FloatMatrix, index: MultiLevelPQ, threads: int, runs: int) -> Record:
    """Return the recall of cells, and the seconds of every run: all queries in a batch, some one by one by one thread."""
    nprobe = min(NPROBE, index.clusters.n_inner)
    true = index.clusters.probe(xq, nprobe)
    I, batch = measure(partial(search, xq), len(xq), threads=threads, runs=runs)
    some = xq[:SINGLE, None]
    alone = measure(lambda: [search(q) for q in some], len(some), threads=1, runs=runs)[1]
    return {"recall": recall_at_k(I, true, nprobe), "seconds": list(batch.seconds), "single": list(alone.seconds)}


def rows(path: str) -> list[Row]:
    """Return a row for each set, number of cells, way and recall: "batch" and "single", queries per second; None if never.

    Read between the points of each way, as `fronts.at_recall` does.

    Raises:
        ValueError, FileNotFoundError: no record of `cells`.
    """
    record = load(path)
    try:
        nq, single = record["about"]["nq"], record["about"]["single"]
        points = [
            point | {"batch": nq / median(point["seconds"]), "single": single / median(point["single"])}
            for point in record["points"].values()
        ]
        found = []
        for name, k in dict.fromkeys((point["set"], point["cells"]) for point in points):
            for recall in RECALLS:
                for way in WAYS:
                    own = [p for p in points if (p["set"], p["cells"], p["way"]) == (name, k, way)]
                    speeds = {speed: _speed(own, speed, recall) for speed in ("batch", "single")}
                    found.append({"set": name, "cells": k, "recall": recall, "way": way} | speeds)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a record of `cells`: {error!r}") from error
    return found


def _speed(points: list[Row], speed: str, recall: float) -> float | None:
    reading = at_recall([{"recall": point["recall"], "qps": point[speed]} for point in points], recall)
    return reading.qps if reading else None


def report(path: str) -> str:
    """Return the speeds at equal recall of cells as Markdown."""
    table: dict[tuple[str, int, float], dict[str, str]] = {}
    for row in rows(path):
        key = row["set"], row["cells"], row["recall"]
        cell = table.setdefault(key, {"set": key[0], "cells": f"{key[1]:,}", "recall of cells": f"{key[2]:.2f}"})
        for speed in ("batch", "single"):
            cell[f"{row['way']}, {speed}"] = f"{row[speed]:,.0f}" if row[speed] else "not reached"
    return markdown_table(list(table.values())) if table else f"{path}: nothing is measured yet"
