"""How much better a sample of the base looks than the whole: the same settings on more and more of the rows.

What the Lab in the book foretells from 20,000 rows is held against what the whole set gives.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mlpq.bench.setting import K, machine
from mlpq.bench.store import Record, Store, load, source
from mlpq.data.datasets import Dataset, load_dataset
from mlpq.data.groundtruth import ground_truth
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import in_sight, markdown_table, recall_interval

DATASETS = ("fashion-mnist", "wordnet")
SIZES = (5_000, 10_000, 20_000, 40_000)  # and all
CODES = ((16, 64), (32, 128), (64, 256))  # m of 8 bits, after PCA to so many components
PARTS, NEAR = 4, 5  # quarters of the rows, each with its own nearest
NPROBE, RERANKS = 24, (0, 5)  # of as many cells as the root of all rows, at most 256


def sample(args: argparse.Namespace) -> None:
    """Measure what the file still lacks.

    Raises:
        ValueError: no such data set; a file of other circumstances.
        FileNotFoundError: the file of a data set is nowhere.
    """
    about = machine(args.threads) | {"k": K, "nq": args.queries, "nprobe": NPROBE, "source": source()}
    about |= {"command": " ".join(["python -m mlpq.bench", *args.command_line])}
    store = Store(args.output, about, ("rows",))
    rows = store.section("rows")
    for name in args.datasets:
        ds = load_dataset(name)
        order = np.random.default_rng(0).permutation(len(ds.xb))
        for n in tqdm([*SIZES, len(ds.xb)], unit="size", desc=name, file=sys.stderr, disable=args.quiet):
            if f"{name} {n}" not in rows:
                rows[f"{name} {n}"] = _row(ds, np.sort(order[:n]), args.queries)
                store.save()


def _row(ds: Dataset, picked: np.ndarray, queries: int) -> Record:
    """Return what some rows of the base give, with the cells of all."""
    xb, xq = ds.xb[picked], ds.xq[:queries]
    gt = ground_truth(xb, xq, K, metric=ds.metric)[1]
    parts = np.array_split(np.random.default_rng(1).permutation(len(xb)), PARTS)
    near = [part[ground_truth(xb[part], xq, NEAR, metric=ds.metric)[1]] for part in parts]
    cells = min(256, round(len(ds.xb) ** 0.5))
    row: Record = {"dataset": ds.name, "n": len(xb), "all": len(ds.xb), "cells": cells, "codes": {}}
    for m, dim in CODES:
        index = MultiLevelPQ(ds.d, cells, round(cells**0.5), m=m, pca_dim=dim, metric=ds.metric, keep_originals=True)
        index.train(xb).add(xb)
        best = [index.search(xq, NEAR * max(RERANKS), nprobe=NPROBE, allowed=ids)[1] for ids in (None, *parts)]
        row["codes"][str(m)] = {
            str(rerank): [
                *recall_interval(index.search(xq, K, nprobe=NPROBE, rerank=rerank)[1], gt, K),
                [_change(best, [gt, *near], k, max(1, rerank)) for k in range(1, NEAR + 1)],
            ]
            for rerank in RERANKS
        }
        row["seen"] = float(in_sight(index, xq, gt, NPROBE)[0].mean())
    return row


def _change(best: Sequence[np.ndarray], true: Sequence[np.ndarray], k: int, r: int) -> tuple[float, float]:
    """Return how the share of the k nearest that are found among r * k changes from a part of the rows to all.

    Args:
        best, true: ids by code, and the true nearest, (nq, .): of all rows first, then of each part.

    Returns:
        The change in log-odds; half of the 95 % interval of the change in recall, never less than 3 / nq: what none of nq
        queries show may hold for so many.
    """
    shares = [
        (found[:, : r * k, None] == gt[:, None, :k]).any(axis=1).mean(axis=1)
        for found, gt in zip(best, true, strict=True)
    ]
    mine, part = shares[0], np.mean(shares[1:], axis=0)
    half = 1.96 * (mine - part).std(ddof=1) / len(mine) ** 0.5
    return _odds(mine.mean()) - _odds(part.mean()), max(3 / len(mine), float(half))


def rows(path: str) -> list[Record]:
    """Return every row of a record.

    Raises:
        ValueError, FileNotFoundError: no record of `sample`.
    """
    found = list(load(path)["rows"].values())
    if not all("all" in row for row in found):
        raise ValueError(f"{path!r} is not a record of `sample`")
    return found


def report(path: str) -> str:
    """Return the rows as a Markdown table."""
    table = [
        {"data": row["dataset"], "rows": f"{row['n']:,}", "in sight": f"{row['seen']:.3f}"}
        | {
            f"{m} B{f', {K * int(rerank)} originals' if int(rerank) else ''}": f"{recall:.3f}"
            for m, found in row["codes"].items()
            for rerank, (recall, *_) in found.items()
        }
        for row in rows(path)
    ]
    return markdown_table(table) if table else f"{path}: no row is measured yet"


def foretold(learnt: Sequence[Any], n: int, N: int) -> tuple[float, float, float]:
    """Return the recall to expect of N vectors from what n of them show, and its interval, as the Lab does it.

    Thinned out to a fifth, the ten nearest are some two. So the k nearest of n vectors stand for the ten of 10 n / k, and how their
    recall changes from n / 4 to n is how that of the ten does from 2.5 n / k to 10 n / k. The k whose way has the middle of
    the one from n to N is taken, with the two beside it, since one alone varies more by chance. Their mean change goes on as
    a line in the log-odds; the interval holds chance, in recall and in its change.

    Args:
        learnt: recall of all n, half of its interval, and its changes for k from 1 to NEAR: each in log-odds, with half of
            its interval in recall.
    """
    recall, half, changes = learnt
    steps = max(0.0, math.log2(N / n) / 2)  # of four times as many
    k = max(2, min(len(changes) - 1, math.floor(K / 2 * math.sqrt(n / N) + 0.5)))
    slope, wide = (sum(part) / 3 for part in zip(*changes[k - 2 : k + 1], strict=True))
    expected = 1 / (1 + math.exp(-_odds(recall) - steps * slope)) if steps * slope else recall
    error = math.hypot(half, steps * wide)
    return expected, max(0.0, expected - error), min(1.0, expected + error)


def _odds(share: float) -> float:
    return math.log(max(share, 0.001) / max(1 - share, 0.001))
