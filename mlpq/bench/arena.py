"""All codecs in the same index at the same counted bytes: recall as found and after reranking, distortion, and time.

A row differs from the next in the codec alone: as many cells, as many probed, the same rows to train on, the same queries.
One search with the longest shortlist says what any shorter one would give, since exact distances order it: the true
neighbours in the best r * k by code are those that reranking finds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq import _check
from mlpq.bench import codecs
from mlpq.bench.cases import ARENA, BUDGETS, Case, contest
from mlpq.bench.codecs import Ours, Setting
from mlpq.bench.setting import K, machine
from mlpq.bench.store import Record, Store, load, source
from mlpq.judge.evaluate import in_sight, recall_interval
from mlpq.judge.tuning import Row

TRAINED = 25_600  # rows: a hundred for each of 256 codewords
READS = (2, 5, 10, 20)  # originals read for each neighbour asked for
DECODED = 10_000  # vectors, at most, whose distortion is measured
FIRST = (64, 32, 128, 192)  # budgets, so that a file that is not complete is of use
ABSENT = "cq: not measured in the arena; chapter 13 measures it at small size"


def arena(args: argparse.Namespace) -> None:
    """Measure what the file still lacks, row by row.

    Raises:
        ValueError: no such data set or codec; a file of other circumstances.
        FileNotFoundError: the file of a data set is nowhere.
    """
    if unknown := [name for name in args.codecs if name not in ARENA]:
        raise ValueError(f"unknown codec {unknown[0]!r}: use some of {', '.join(ARENA)}")
    about = machine(args.threads) | {"k": K, "nq": args.queries, "limit": args.limit, "trained": TRAINED}
    about |= {"reads": list(READS), "source": source()}
    about |= {"command": " ".join(["python -m mlpq.bench", *args.command_line])}
    store = Store(args.output, about, ("sets", "rows"))
    settings = {name: Setting.of(name, args.queries, args.limit, TRAINED) for name in args.datasets}
    for name, setting in settings.items():
        store.section("sets")[name] = _facts(setting)
    wanted = [(name, case) for name in settings for case in contest(settings[name].ds.d) if case.codec in args.codecs]
    rows = store.section("rows")
    lacking = [(name, case) for name, case in wanted if _key(name, case) not in rows]
    for name, case in tqdm(sorted(lacking, key=_turn), unit="row", file=sys.stderr, disable=args.quiet):
        with threadpool_limits(args.threads):
            rows[_key(name, case)] = _row(name, settings[name], case)
        store.save()


def _facts(setting: Setting) -> Record:
    """Return what is the same in all rows of a data set, the bytes of an original among them."""
    ds = setting.ds
    whole = bool((ds.xb[:100] == np.rint(ds.xb[:100])).all())
    return setting.facts() | {"original": ds.d * (1 if whole else 4)}


def _key(dataset: str, case: Case) -> str:
    return f"{dataset} {case.codec} {case.size}"


def _turn(wanted: tuple[str, Case]) -> tuple[int, int, int]:
    """Return when a row is measured: what takes long comes last, the budgets that matter most come first."""
    case = wanted[1]
    long = 0 if case.too_long else case.words + 100 * (case.codec == "aq") + (case.codec == "itq" and case.dim > 400)
    return long, case.size not in FIRST, (*FIRST, *BUDGETS, *range(BUDGETS[0])).index(case.size)


def _row(name: str, setting: Setting, case: Case) -> Record:
    """Return one row, measured unless that takes too long."""
    ours, ds = Ours(setting, case), setting.ds
    row: Record = {"dataset": name, "codec": case.codec, "size": case.size, "side": "mlpq", "dim": case.dim}
    row |= {"words": case.words, "index": ours.name}
    if case.too_long:
        return row
    row |= _timed("train", ours.train) | _timed("encode", ours.add) | ours.weigh()
    some = np.arange(min(len(ds.xb), DECODED))
    row["distortion"] = codecs._distortion(ds.xb[some], ours.index.reconstruct(some))
    shortlist = K * READS[-1]
    found: list[Row] = []
    row |= _timed("search", lambda: found.append({"I": ours.index.search(ds.xq, shortlist, nprobe=setting.nprobe)[1]}))
    I = found[0]["I"]
    row["recall"], row["interval"] = recall_interval(I, ds.gt, K)
    reranked = {str(r): recall_interval(_best(I[:, : r * K], ds.gt[:, :K]), ds.gt, K) for r in READS}
    row["reranked"] = {r: [round(value, 5) for value in both] for r, both in reranked.items()}
    return row | _visited(ours, setting)


def _timed(name: str, work: Callable[[], object]) -> Record:
    """Return the seconds that some work takes by the clock, and those of all threads together in which it ran."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return {f"{name}_s": time.perf_counter() - start, f"{name}_cpu_s": time.process_time() - busy}


def _best(I: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Return what reranking makes of a shortlist (nq, r * k): the true k nearest in it first, then -1."""
    true = (I[:, :, None] == gt[:, None, :]).any(axis=1)
    return np.where(true, gt, -1)


def _visited(ours: Ours, setting: Setting) -> Record:
    """Return how many codes a query is compared with, on average, and the share of true neighbours in other cells."""
    index = ours.index
    x = _check.matrix(setting.ds.xq, "xq", index.d, metric=index.metric)
    visited, probes = in_sight(index, x, setting.ds.gt[:, :K].astype(np.int64), setting.nprobe)
    return {"scanned": float(index.lists.sizes[probes].sum(axis=1).mean()), "coarse": float((~visited).mean())}


def rows(path: str) -> list[Row]:
    """Return every row of a record with what follows from others, as `codecs.rows` does.

    Of a row that is measured also read: bytes that a query reads, by r: those of codes and, with r > 0, of r * k
    originals.

    Raises:
        ValueError, FileNotFoundError: no record of `arena`.
    """
    sets = load(path).get("sets", {})
    return [row | _read(row, sets[row["dataset"]]) for row in codecs.rows(path)]


def _read(row: Row, facts: Record) -> Row:
    if "recall" not in row:
        return {}
    codes = row["scanned"] * row["code"]
    return {"read": {r: codes + r * K * facts["original"] for r in (0, *READS)}}


def report(path: str) -> str:
    """Return one table for each data set as Markdown, with notes."""
    told = codecs.tables(path, rows(path), _order, _cells)
    return f"{told}\n\n- {ABSENT}" if told else f"{path}: no row is measured yet"


def _order(row: Row) -> tuple[int, int]:
    return row["size"], list(ARENA).index(row["codec"])


def _cells(row: Row) -> dict[str, str]:
    """Return the cells of one row of a table."""
    named = codecs.counted(row, row["index"], (*(f"r = {r}" for r in READS), "train, CPU s", "encode, CPU s"))
    if "recall" not in row:
        return named
    reranked = {f"r = {r}": f"{row['reranked'][str(r)][0]:.3f}" for r in READS}
    return named | reranked | {f"{what}, CPU s": f"{row[f'{what}_cpu_s']:.1f}" for what in ("train", "encode")}
