"""Ours against its peers: every engine in a process of its own, all searched in turn, round after round.

The outer loop are rounds, the inner one is all engines with all their settings: what the machine does to one round, it
does to ours and to the peers. An interrupted run goes on with the points that lack runs, after a warm-up of its own.
"""

from __future__ import annotations

import argparse
import logging
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import faiss
from tqdm.auto import tqdm

from mlpq.bench.catalogue import catalogue
from mlpq.bench.child import Child, LeftOut, Shared
from mlpq.bench.entries import Entry, Setting
from mlpq.bench.setting import K, circumstances, levels
from mlpq.bench.store import Record, Store, source
from mlpq.bench.worker import Worker
from mlpq.data.datasets import Dataset, load_dataset

log = logging.getLogger(__name__)

WARMUP = -1  # the round that does not count
SECTIONS = ("engines", "points", "left_out")


def compare(args: argparse.Namespace) -> None:
    """Measure what the file still lacks.

    Raises:
        ValueError: the file is of other circumstances; no engine has that name; not so many queries.
        RuntimeError: an engine failed.
    """
    ds = load_dataset(args.dataset)
    if args.queries is not None:
        if not 1 <= args.queries <= len(ds.xq):
            raise ValueError(f"--queries must be from 1 to {len(ds.xq)}; got {args.queries}")
        few = slice(args.queries)
        ds = replace(ds, xq=ds.xq[few], gt=ds.gt[few], distances=ds.distances[few], query_labels=None)
    chosen = matching(catalogue(levels(ds)[0], ds.image_shape is not None), args.only)
    store = Store(args.output, about(ds, args), SECTIONS)
    lacking = [entry for entry in chosen if any(_runs(store, entry, setting) < args.runs for setting in entry.settings)]
    lacking = [entry for entry in lacking if entry.name not in store.section("left_out")]
    if not lacking:
        log.warning("%s holds all runs; to measure anew, delete it or name another file", store.path)
        return
    _measure(lacking, ds, store, args)


def matching(entries: Sequence[Entry], only: str) -> list[Entry]:
    """Return the entries whose names or families match a regular expression.

    Raises:
        ValueError: none does, or it is no regular expression.
    """
    try:
        chosen = [entry for entry in entries if re.search(only, entry.name) or re.search(only, entry.family)]
    except re.error as error:
        raise ValueError(f"--only {only!r} is not a regular expression: {error}") from None
    if not chosen:
        raise ValueError(f"--only {only!r} matches no engine; there are {', '.join(entry.name for entry in entries)}")
    return chosen


def about(ds: Dataset, args: argparse.Namespace) -> Record:
    """Return the circumstances of a run, with the command line and a digest of our code."""
    command = "python -m mlpq.bench " + shlex.join(args.command_line)
    options = faiss.get_compile_options().strip()
    return circumstances(ds, args.threads) | {"k": K, "faiss_options": options, "source": source(), "command": command}


def point_name(entry: Entry, setting: Setting) -> str:
    """Return the name of a point in the file."""
    return " ".join([f"{entry.name}:", *(f"{key}={value}" for key, value in setting.items())])


def _runs(store: Store, entry: Entry, setting: Setting) -> int:
    return len(store.section("points").get(point_name(entry, setting), {}).get("seconds", ()))


def _measure(entries: Sequence[Entry], ds: Dataset, store: Store, args: argparse.Namespace) -> None:
    """Build the engines one after the other, then go round them until every point has its runs."""
    shared = Shared(xb=ds.xb, xq=ds.xq, gt=ds.gt)
    todo = sum(
        args.runs - _runs(store, e, s) + 1 for e in entries for s in e.settings if _runs(store, e, s) < args.runs
    )
    children: list[tuple[Entry, Child]] = []
    with tqdm(total=todo, unit="point", file=sys.stderr, disable=args.quiet) as bar:
        try:
            for entry in entries:
                bar.set_description_str(f"builds {entry.name}")
                child = Child(entry.name, partial(Worker, entry, shared, args.threads))
                children.append((entry, child))
                if not _build(entry, child, store):
                    children.pop()[1].stop()
                    bar.total -= sum(args.runs - _runs(store, entry, s) + 1 for s in entry.settings)
            for run in range(WARMUP, args.runs):
                bar.set_description_str("warms up" if run == WARMUP else f"run {run + 1} of {args.runs}")
                for entry, child in children:
                    for setting in _lacking(store, entry, run, args.runs):
                        _one(entry, child, setting, run, store, args.runs)
                        bar.update()
        finally:
            shared.close()
            for _, child in children:
                child.stop()


def _lacking(store: Store, entry: Entry, run: int, runs: int) -> Iterable[Setting]:
    """Return the settings to measure in this round: those without this run, in the warm-up all that lack any."""
    for setting in entry.settings:
        done = _runs(store, entry, setting)
        if done < runs if run == WARMUP else done == run:
            yield setting


def _build(entry: Entry, child: Child, store: Store) -> bool:
    """Build one engine and note it; say so where it cannot be had."""
    try:
        built = child.ask("build")
    except LeftOut as error:
        log.warning("%s is left out: %s", entry.name, error)
        store.section("left_out")[entry.name] = {"family": entry.family, "why": str(error)}
        store.save()
        return False
    fixed: dict[str, Any] = {"family": entry.family, "kind": entry.kind, "originals": entry.originals}
    fixed |= {"arguments": entry.arguments, "settings": list(entry.settings)}
    before = store.section("engines").get(entry.name, {"builds": []})
    # A run that went on built the engine again.
    store.section("engines")[entry.name] = fixed | {"builds": [*before["builds"], built]}
    store.save()
    return True


def _one(entry: Entry, child: Child, setting: Setting, run: int, store: Store, runs: int) -> None:
    """Measure one point once; a warm-up takes the slice of single queries after the counted ones."""
    found = child.ask("measure", setting, runs if run == WARMUP else run)
    if run == WARMUP:
        return
    name = point_name(entry, setting)
    point = store.section("points").setdefault(name, {"engine": entry.name, "setting": setting})
    for column, value in found.items():
        point.setdefault(column, []).append(value)
    store.save()
