"""Building: train on a sample of all parts, encode piece by piece, and, if asked to, route by cell."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from filelock import FileLock, Timeout

from mlpq import _check
from mlpq._check import Array
from mlpq.clustering import POINTS_PER_CENTROID, sample
from mlpq.distributed.plan import LOCK, MODEL, PLAN, Part, Piece, Plan, Source, described
from mlpq.distributed.shards import Shards
from mlpq.distributed.work import done, encoded, routed, sizes, taken
from mlpq.index import MultiLevelPQ
from mlpq.model import RESIDUALS

By = Literal["part", "cell"]


def build(
    parts: Sequence[Any], index: MultiLevelPQ, folder: str | os.PathLike[str], client: Any = None, *, by: By = "part"
) -> Shards:
    """Build an index over all parts in a folder, or go on where a build in it was interrupted, by whatever it was.

    Each piece of work leaves one file, whole or not at all. Begun anew with the same arguments, a build does only what
    lacks its file. So parts that come later are added: build again, with the longer list. (Not where shards are routed by
    cell: they hold all parts.) Nothing is trained anew then.

    Args:
        parts: of the base: paths of files (.npy, .fvecs, .bvecs, .fbin, .u8bin, .i8bin, or HDF5 in one block), or arrays
            (n, d). Ids count on from part to part.
        index: an untrained `MultiLevelPQ`, which stays as it is.
        folder: for the shards; made if it is not there.
        client: of `dask.distributed`; None: this process does everything.
        by: "part": a shard holds the vectors of one part, or of a piece of it, and each query asks all shards. "cell": it
            holds neighbouring cells of all parts, and a query asks only those that have its cells.

    Raises:
        ValueError: the folder holds a build of something else, or one at work; no vectors; a part of other dimensions, or
            with NaN; too few vectors to train on.
        TypeError: parts, or an index, that are none.
        RuntimeError: the index is trained.
        FileNotFoundError: a part is not there.
        OSError: a file cannot be written, such as on a full disk; what was written before stays.
    """
    if not isinstance(index, MultiLevelPQ):
        raise TypeError(f"index must be a MultiLevelPQ; got {type(index).__name__}")
    if index.is_trained:
        raise RuntimeError("index must not be trained: build trains it on a sample of all parts")
    if isinstance(parts, str | bytes | os.PathLike) or not isinstance(parts, Sequence):
        raise TypeError(f"parts must be a list of files or arrays; got {type(parts).__name__}")
    _check.one_of(by, "by", get_args(By))
    both = [described(number, part, index.d) for number, part in enumerate(parts)]
    sources, plan = [source for source, _ in both], Plan.of(index, by, [part for _, part in both])
    if plan.rows == 0:
        raise ValueError("parts must hold vectors; there are none")
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        _begin(plan, folder)
        if not (folder / MODEL).is_file():
            rows = training_rows(index, plan.rows)
            copy(index).train(_gathered(sources, plan.parts, rows, client)).save(folder / MODEL)
        _fill(folder, plan, sources, client)
    return Shards(folder, client)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder against other builds; a process that is killed lets it go."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"another build is at work in {str(folder)!r}") from None
    try:
        yield
    finally:
        lock.release()


def training_rows(index: MultiLevelPQ, n: int) -> Array:
    """Return on which of n rows an index is trained, ascending: as many as its k-means uses, chosen with its seed.

    These are 256 for each inner cell or for each codeword of all owners, whichever is more; with a codec at least as many
    as it is trained on. Where there are no more rows, all of them.
    """
    if index.codec is None:
        owners = {"global": 1, "outer": index.clusters.n_outer, "inner": index.clusters.n_inner}
        coded = POINTS_PER_CENTROID * 2**index.nbits * owners[index.codebooks]
    else:
        coded = RESIDUALS
    return sample(n, max(POINTS_PER_CENTROID * index.clusters.n_inner, coded), index.seed)


def _begin(plan: Plan, folder: Path) -> None:
    """Write the plan into the folder, where a plan of the same build may stand; remove what killed processes left."""
    if (folder / PLAN).exists():
        before = Plan.read(folder)
        plan.grown_from(before, folder)
        plan.piece = before.piece  # another version of this package may cut otherwise
    for left in folder.glob(".*.part"):
        left.unlink()
    plan.write(folder)


def _gathered(sources: Sequence[Source], parts: Sequence[Part], rows: Array, client: Any) -> Array:
    """Return some rows (n,), ascending, of all parts, in one array; files are read where the work is done."""
    ends = np.cumsum([part.rows for part in parts])
    cuts = np.split(rows, np.searchsorted(rows, ends[:-1]))
    tasks = [(s, some - end + p.rows) for s, some, end, p in zip(sources, cuts, ends, parts, strict=True)]
    there = [number for number, source in enumerate(sources) if isinstance(source, str)]
    found = {there[i]: rows for i, rows in done(client, taken, [tasks[number] for number in there])}
    return np.concatenate([found[i] if i in found else taken(*task) for i, task in enumerate(tasks)])


def _fill(folder: Path, plan: Plan, sources: Sequence[Source], client: Any) -> None:
    """Write all shards that are not there."""
    shards = [folder / name for name in plan.shards]
    pieces = [folder / name for name in plan.encoded]
    if all(path.is_file() for path in shards):
        _clear(pieces, shards)
        return

    def tasks() -> Iterator[tuple[Source, Piece, str, str]]:
        for piece, path in zip(plan.pieces, pieces, strict=True):
            if not path.is_file():
                source = sources[piece.part]
                own = source if isinstance(source, str) else source[piece.start : piece.stop]
                yield own, piece, str(folder / MODEL), str(path)

    for _ in done(client, encoded, tasks()):
        pass
    if plan.by == "cell":
        _route(folder, pieces, shards, client)


def _route(folder: Path, pieces: Sequence[Path], shards: Sequence[Path], client: Any) -> None:
    """Write shards of neighbouring cells, about equal in size, from all pieces, which are then removed."""
    counts = np.sum([sizes(str(path)) for path in pieces], axis=0)
    goals = np.arange(1, len(shards)) * counts.sum() / len(shards)
    cuts = [0, *np.searchsorted(np.cumsum(counts), goals, side="right").tolist(), len(counts)]
    paths, model = [str(path) for path in pieces], str(folder / MODEL)
    lacking = [i for i, path in enumerate(shards) if not path.is_file()]
    for _ in done(client, routed, [(paths, *cuts[i : i + 2], model, str(shards[i])) for i in lacking]):
        pass
    _clear(pieces, shards)


def _clear(pieces: Sequence[Path], shards: Sequence[Path]) -> None:
    """Remove what the shards were routed from, also what a process left that was killed meanwhile."""
    for path in set(pieces) - set(shards):
        path.unlink(missing_ok=True)
