"""Every codec in the same index, at the same bytes, beside the index of the same kind that Faiss's factory makes.

All share cells, training rows and queries, so that rows of a table differ in the codec alone. What would take too long
is not measured: the table says how long, by the largest row of that codec that was.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import faiss
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq._check import FloatMatrix, IdMatrix
from mlpq.bench.cases import KINDS, SIZES, Case, cases
from mlpq.bench.setting import K, levels, machine
from mlpq.bench.store import Record, Store, load, source
from mlpq.clustering import sample
from mlpq.data.datasets import Dataset, load_dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import markdown_table, recall_interval
from mlpq.judge.timing import measure
from mlpq.judge.tuning import Row

DATASETS = ("fashion-mnist", "wordnet")
TRAINED = 60_000  # rows at most
CELLS = {"fashion-mnist": (100, 10, 8), "wordnet": (180, 13, 32)}  # n_inner, n_outer, nprobe
NPROBE = 8  # on other sets, whose cells follow `levels`
FAISS_OPQ = 8  # iterations: its 50 take minutes
POWER = {"rq": 1, "aq": 2}  # of the number of codewords, by which training and encoding grow
MANY = 10**7  # vectors, over which fixed bytes are spread in one column
SIDES = ("mlpq", "faiss")


@dataclass(frozen=True)
class Setting:
    """A data set with its cells, and the rows to train on."""

    ds: Dataset
    xt: FloatMatrix
    n_inner: int
    n_outer: int
    nprobe: int

    @classmethod
    def of(cls, name: str, queries: int, limit: int | None, trained: int = TRAINED) -> Setting:
        """Load the first `limit` vectors and the first `queries` queries of a data set; train on at most so many."""
        ds, few = load_dataset(name, limit=limit), slice(queries)
        ds = replace(ds, xq=ds.xq[few], gt=ds.gt[few], distances=ds.distances[few], query_labels=None)
        cells = CELLS[name] if name in CELLS and limit is None else (*levels(ds), NPROBE)
        return cls(ds, ds.xb[sample(len(ds.xb), trained, 0)], *cells)

    def facts(self) -> Record:
        """Return what is the same in all rows of the data set."""
        cells = {"n_inner": self.n_inner, "n_outer": self.n_outer, "nprobe": self.nprobe}
        return {"n": len(self.ds.xb), "d": self.ds.d, "metric": self.ds.metric, "trained": len(self.xt)} | cells


def codecs(args: argparse.Namespace) -> None:
    """Measure what the file still lacks.

    Raises:
        ValueError: no such data set or codec; a file of other circumstances.
        FileNotFoundError: the file of a data set is nowhere.
    """
    if unknown := [name for name in args.codecs if name not in KINDS]:
        raise ValueError(f"unknown codec {unknown[0]!r}: use some of {', '.join(KINDS)}")
    about = machine(args.threads) | {"k": K, "runs": args.runs, "nq": args.queries, "limit": args.limit}
    about |= {"trained": TRAINED, "source": source()}
    about |= {"command": " ".join(["python -m mlpq.bench", *args.command_line])}
    store = Store(args.output, about, ("sets", "rows"))
    for name in args.datasets:
        setting = Setting.of(name, args.queries, args.limit)
        store.section("sets")[name] = setting.facts()
        lacking = [
            (case, side)
            for case in cases(setting.ds.d)
            for side in SIDES
            if case.codec in args.codecs and _key(name, case, side) not in store.section("rows")
        ]
        for case, side in tqdm(lacking, unit="row", desc=name, file=sys.stderr, disable=args.quiet):
            store.section("rows")[_key(name, case, side)] = _row(name, setting, case, side, args)
            store.save()


def _key(dataset: str, case: Case, side: str) -> str:
    return f"{dataset} {case.codec} {case.size} {side}"


class Ours:
    """`MultiLevelPQ` with one codec."""

    def __init__(self, setting: Setting, case: Case) -> None:
        codec = case.make and case.make()
        self.setting, self.name = setting, repr(codec) if codec else f"m={case.ours['m']}, nbits=8"
        self.name = self.name.replace(", trained=False", "").replace(", seed=0", "")
        if turned := case.ours.get("rotation"):
            self.name = f"{self.name}, pca_dim={case.dim}, rotation={turned!r}"
        arguments: dict[str, Any] = {"metric": setting.ds.metric, "codec": codec, **case.ours}
        arguments |= {"pca_dim": case.dim} if turned else {}
        self.index = MultiLevelPQ(setting.ds.d, setting.n_inner, setting.n_outer, **arguments)

    def train(self) -> None:
        self.index.train(self.setting.xt)

    def add(self) -> None:
        self.index.add(self.setting.ds.xb)

    def search(self) -> IdMatrix:
        return self.index.search(self.setting.ds.xq, K, nprobe=self.setting.nprobe)[1]

    def decoded(self) -> FloatMatrix:
        return self.index.reconstruct(np.arange(self.index.ntotal))

    def weigh(self) -> Record:
        """Return the bytes of a code, of a code with its id, and of everything."""
        memory = self.index.memory()
        ids = memory["ids"] // self.index.ntotal
        return {"code": self.index.code_size, "per_vector": self.index.code_size + ids, "total": memory.total}


class Faiss:
    """An index of Faiss's factory."""

    def __init__(self, setting: Setting, case: Case) -> None:
        self.setting, self.rows = setting, case.faiss_rows
        self.name = case.factory.format(f"IVF{setting.n_inner}")
        self.index = faiss.index_factory(setting.ds.d, self.name)
        if self.name.startswith("OPQ"):
            faiss.downcast_VectorTransform(self.index.chain.at(0)).niter = FAISS_OPQ
        self.cells = faiss.try_extract_index_ivf(self.index)
        if self.cells is not None:
            self.cells.nprobe = setting.nprobe

    def train(self) -> None:
        xt = self.setting.xt
        self.index.train(xt[sample(len(xt), self.rows or len(xt), 0)])

    def add(self) -> None:
        self.index.add(self.setting.ds.xb)

    def search(self) -> IdMatrix:
        I: IdMatrix = self.index.search(self.setting.ds.xq, K)[1]
        return I

    def decoded(self) -> FloatMatrix:
        found: FloatMatrix = self.index.reconstruct_n(0, self.index.ntotal)
        return found

    def weigh(self) -> Record:
        """Return the bytes of a code, of a code with its id, and of the index as a file."""
        code = self.index.sa_code_size() if self.cells is None else self.cells.code_size
        ids = 0 if self.cells is None else 8  # without cells, a vector's place is its id
        return {"code": code, "per_vector": code + ids, "total": faiss.serialize_index(self.index).size}


def _row(name: str, setting: Setting, case: Case, side: str, args: argparse.Namespace) -> Record:
    """Return one row, measured unless that takes too long."""
    row: Record = {"dataset": name, "codec": case.codec, "size": case.size, "side": side, "dim": case.dim}
    index = (Ours if side == "mlpq" else Faiss)(setting, case)
    row |= {"words": case.words, "index": index.name, "note": case.note if side == "faiss" else ""}
    if case.too_long:
        return row
    with threadpool_limits(args.threads):
        row |= {"train_s": _seconds(index.train), "encode_s": _seconds(index.add)}
        decodes = side == "mlpq" or case.decodes
        row |= index.weigh() | {"distortion": _distortion(setting.ds.xb, index.decoded()) if decodes else None}
    I, timing = measure(index.search, len(setting.ds.xq), threads=args.threads, runs=args.runs)
    recall, interval = recall_interval(I, setting.ds.gt, K)
    return row | {"recall": recall, "interval": interval, "seconds": list(timing.seconds)}


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _distortion(x: FloatMatrix, decoded: FloatMatrix) -> float:
    """Return the mean squared distance of x (n, d) to what its codes stand for."""
    parts = [slice(start, start + 4096) for start in range(0, len(x), 4096)]
    return sum(float(np.square(x[part] - decoded[part], dtype=np.float64).sum()) for part in parts) / len(x)


def rows(path: str) -> list[Row]:
    """Return every row of a record, with what follows from others.

    Of a row that is measured: fixed (bytes that do not grow with the vectors), at_n and at_many (bytes per vector in
    all, here and for 10^7 vectors), qps. Of one that is not: hours, see `estimate`.

    Raises:
        ValueError, FileNotFoundError: no record of `codecs`.
    """
    record = load(path)
    try:
        nq, sets, found = record["about"]["nq"], record["sets"], list(record["rows"].values())
        return [_derived(row, sets[row["dataset"]]["n"], nq) | estimate(row, found) for row in found]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a record of `codecs`: {error!r}") from error


def _derived(row: Row, n: int, nq: int) -> Row:
    if "recall" not in row:
        return row
    fixed = row["total"] - n * row["per_vector"]
    bytes_ = {"fixed": fixed, "at_n": row["total"] / n, "at_many": row["per_vector"] + fixed / MANY}
    return row | bytes_ | ({"qps": nq / median(row["seconds"])} if "seconds" in row else {})


def estimate(row: Row, found: list[Row]) -> Row:
    """Say how many hours a row that is not measured would take, by the longest codes of its kind that were.

    Training and encoding of a residual quantizer grow as M * dim, those of a local search as M**2 * dim: nothing is
    returned where nothing of the kind is measured.
    """
    if "recall" in row:
        return {}
    alike = [r for r in found if "recall" in r and all(r[name] == row[name] for name in ("dataset", "codec", "side"))]
    if not alike:
        return {}
    longest = max(alike, key=lambda r: r["words"])
    times = (row["words"] / longest["words"]) ** POWER[row["codec"]] * row["dim"] / longest["dim"]
    return {"hours": times * (longest["train_s"] + longest["encode_s"]) / 3600}


def report(path: str) -> str:
    """Return one table for each data set as Markdown, with notes."""
    return tables(path, rows(path), _order, _cells, _notes) or f"{path}: no row is measured yet"


def tables(
    path: str,
    found: list[Row],
    order: Callable[[Row], Any],
    cells: Callable[[Row], dict[str, str]],
    notes: Callable[[list[Row], int], list[str]] = lambda own, d: [],
) -> str:
    """Return one table for each data set of a record that has rows, with a title, and below it notes on rows and d."""
    record, parts = load(path), []
    for name, facts in record["sets"].items() if found else ():
        own = sorted((row for row in found if row["dataset"] == name), key=order)
        title = f"{name}: {facts['n']:,} vectors, trained on {facts['trained']:,}; {facts['n_inner']} cells, "
        title += f"nprobe {facts['nprobe']}; threads: {record['about']['threads']}"
        said = "\n".join(notes(own, facts["d"]))
        parts += [title, markdown_table([cells(row) for row in own]), *([said] if said else [])] if own else []
    return "\n\n".join(parts)


def _notes(own: list[Row], d: int) -> list[str]:
    notes = sorted({f"- Faiss's index for {row['codec']}: {row['note']}" for row in own if row["note"]})
    return notes + _lacking(own, d)


def _lacking(own: list[Row], d: int) -> list[str]:
    """Return a line for each codec that has no codes of some size for d dimensions."""
    there = {(case.codec, case.size) for case in cases(d)}
    measured = sorted({row["codec"] for row in own}, key=list(KINDS).index)
    lacking = {codec: [str(size) for size in SIZES if (codec, size) not in there] for codec in measured}
    return [
        f"- {codec} has no codes of {', '.join(sizes)} bytes for d={d}" for codec, sizes in lacking.items() if sizes
    ]


def _order(row: Row) -> tuple[int, int, int]:
    return row["size"], list(KINDS).index(row["codec"]), SIDES.index(row["side"])


def _cells(row: Row) -> dict[str, str]:
    """Return the cells of one row of a table."""
    named = counted(row, f"{row['side']} {row['index']}", ("queries/s", "train, s", "encode, s"))
    if "recall" not in row:
        return named
    return named | {
        "queries/s": f"{row['qps']:,.0f}", "train, s": f"{row['train_s']:.1f}", "encode, s": f"{row['encode_s']:.1f}",
    }  # fmt: skip


def counted(row: Row, index: str, more: tuple[str, ...]) -> dict[str, str]:
    """Return the cells that all tables of codecs have, of one row, and behind them `more` that are still empty."""
    columns = ("code + id", "fixed, kB", "total", "total at 10^7", "distortion", "recall@10", *more)
    named = {"size": str(row["size"]), "codec": row["codec"], "index": index} | dict.fromkeys(columns, "")
    if "recall" not in row:
        about = f", about {row['hours']:.1f} h" if "hours" in row else ""
        return named | {"recall@10": f"not measured{about}"}
    return named | {
        "code + id": str(row["per_vector"]), "fixed, kB": f"{row['fixed'] / 1e3:,.0f}", "total": f"{row['at_n']:.1f}",
        "total at 10^7": f"{row['at_many']:.1f}", "recall@10": f"{row['recall']:.3f} ± {row['interval']:.3f}",
        "distortion": "" if row["distortion"] is None else f"{row['distortion']:.4g}",
    }  # fmt: skip
