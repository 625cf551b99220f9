"""Ours alone, with every m, nbits, owner of codebooks, nprobe and rerank on one data set."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from statistics import median
from typing import Any, get_args

from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq.bench.compare import about
from mlpq.bench.setting import K, levels
from mlpq.bench.store import Store, load
from mlpq.codecs.codebooks import Owner
from mlpq.data.datasets import Dataset, load_dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import markdown_table, recall_at_k
from mlpq.judge.timing import measure
from mlpq.judge.tuning import NPROBES, Row, pareto

GRID: Mapping[str, Sequence[Any]] = {
    "m": (4, 8, 16, 28, 56, 112), "nbits": (4, 6, 8), "codebooks": get_args(Owner), "nprobe": NPROBES, "rerank": (0, 4),
}  # fmt: skip
BUILT = ("m", "nbits", "codebooks")  # the rest belongs to a search


def sweep(args: argparse.Namespace) -> None:
    """Measure what the file still lacks.

    Raises:
        ValueError: an m that does not divide d, or another value that `MultiLevelPQ` refuses; a file of other
            circumstances.
    """
    ds = load_dataset(args.dataset)
    for m, nbits, owner in product(args.m, args.nbits, args.codebooks):
        MultiLevelPQ(ds.d, *levels(ds), m=m, nbits=nbits, codebooks=owner)  # refuses now rather than after an hour
    store = Store(args.output, about(ds, args), ("builds", "points"))
    searches = list(product(args.nprobe, args.rerank))
    with tqdm(
        total=len(searches) * len(list(_indexes(args))), unit="point", file=sys.stderr, disable=args.quiet
    ) as bar:
        for setting in _indexes(args):
            lacking = [pair for pair in searches if len(_point(store, setting, *pair).get("seconds", ())) < args.runs]
            bar.update(len(searches) - len(lacking))
            if lacking:
                bar.set_description_str(_name(setting))
                index = _built(ds, setting, store, args.threads)
            for nprobe, rerank in lacking:
                _measure(ds, index, setting | {"nprobe": nprobe, "rerank": rerank}, store, args)
                bar.update()


def _indexes(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    return (dict(zip(BUILT, chosen, strict=True)) for chosen in product(args.m, args.nbits, args.codebooks))


def _name(setting: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in setting.items())


def _point(store: Store, setting: Mapping[str, Any], nprobe: int, rerank: int) -> dict[str, Any]:
    found: dict[str, Any] = store.section("points").get(_name({**setting, "nprobe": nprobe, "rerank": rerank}), {})
    return found


def _built(ds: Dataset, setting: dict[str, Any], store: Store, threads: int) -> MultiLevelPQ:
    with threadpool_limits(threads):
        start = time.perf_counter()
        index = MultiLevelPQ(ds.d, *levels(ds), keep_originals=True, **setting).train(ds.xb).add(ds.xb)
        store.section("builds")[_name(setting)] = {"build_s": time.perf_counter() - start, "memory": index.memory()}
    return index


def _measure(ds: Dataset, index: MultiLevelPQ, setting: dict[str, Any], store: Store, args: argparse.Namespace) -> None:
    """Measure one point, all runs at once; bytes are of an index that keeps originals only if they are reranked by."""
    search = partial(index.search, ds.xq, K, nprobe=setting["nprobe"], rerank=setting["rerank"])
    (_, I), timing = measure(search, len(ds.xq), threads=args.threads, runs=args.runs)
    memory = index.memory()
    store.section("points")[_name(setting)] = setting | {
        "recall": recall_at_k(I, ds.gt, K), "seconds": list(timing.seconds),
        "bytes": memory.total - (0 if setting["rerank"] else memory["originals"]),
    }  # fmt: skip
    store.save()


def rows(path: str) -> list[Row]:
    """Return a row for every point: its settings, recall, qps in the median run, bytes, build_s.

    Raises:
        ValueError, FileNotFoundError: no record of `sweep`.
    """
    record = load(path)
    try:
        nq, builds = record["about"]["nq"], record["builds"]
        return [
            point
            | {"qps": nq / median(point["seconds"]), "build_s": builds[_name({b: point[b] for b in BUILT})]["build_s"]}
            for point in record["points"].values()
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a record of `sweep`: {error!r}") from error


def report(path: str) -> str:
    """Return the points that no other beats in recall, speed and bytes, as Markdown."""
    found, n = rows(path), load(path)["about"]["n"]
    front = pareto(found, small=["bytes"], large=["recall", "qps"])
    table = [
        {**{name: str(row[name]) for name in GRID}, "recall@10": f"{row['recall']:.4f}", "queries/s": f"{row['qps']:,.0f}",
         "bytes/vector": f"{row['bytes'] / n:,.1f}", "build, s": f"{row['build_s']:.1f}"}
        for row in sorted(front, key=lambda row: row["recall"])
    ]  # fmt: skip
    title = f"{len(front)} of {len(found)} points that no other beats in recall, speed and bytes"
    return f"{title}\n\n{markdown_table(table)}" if table else f"{path}: no point is measured yet"
