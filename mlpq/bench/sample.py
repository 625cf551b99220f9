"""How much better a sample of the base looks than the whole: the same settings on more and more of the rows.

What the Lab in the book foretells from 20,000 rows is held against what the whole set gives.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

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
    cells = min(256, round(len(ds.xb) ** 0.5))
    row: Record = {"dataset": ds.name, "n": len(xb), "all": len(ds.xb), "cells": cells, "codes": {}}
    for m, dim in CODES:
        index = MultiLevelPQ(ds.d, cells, round(cells**0.5), m=m, pca_dim=dim, metric=ds.metric, keep_originals=True)
        index.train(xb).add(xb)
        row["codes"][str(m)] = {
            str(rerank): recall_interval(index.search(xq, K, nprobe=NPROBE, rerank=rerank)[1], gt, K)
            for rerank in RERANKS
        }
        row["seen"] = float(in_sight(index, xq, gt, NPROBE)[0].mean())
    return row


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
            for rerank, (recall, _) in found.items()
        }
        for row in rows(path)
    ]
    return markdown_table(table) if table else f"{path}: no row is measured yet"


def foretold(row: Record, m: int | str, rerank: int | str, measured: Sequence[Record]) -> tuple[float, float]:
    """Return the least and the most recall foretold for all rows, as the Lab does it, without its allowance for chance.

    More vectors are harder for codes and easier for cells. At most, recall goes on as it fell; at least, codes go on as they
    fell among what is in sight, and cells gain nothing.

    Args:
        measured: a quarter of n rows, half of them, and n.
    """
    few, some, last = (one["codes"][str(m)][str(rerank)][0] for one in measured)
    doublings = max(0.0, math.log2(row["n"] / measured[-1]["n"]))
    most = _carried(last, min(_odds(last) - _odds(some), (_odds(last) - _odds(few)) / 2), doublings)
    (before, now), seen = (
        (r / one["seen"] for r, one in zip((some, last), measured[1:], strict=True)),
        measured[-1]["seen"],
    )
    return min(most, seen * _carried(now, _odds(now) - _odds(before), doublings)), most


def _carried(share: float, slope: float, doublings: float) -> float:
    """Return what a falling share comes to after some doublings of n: a line in its log-odds, which does not rise."""
    return 1 / (1 + math.exp(-_odds(share) - slope * doublings)) if slope < 0 < doublings else share


def _odds(share: float) -> float:
    return math.log(max(share, 0.001) / max(1 - share, 0.001))
