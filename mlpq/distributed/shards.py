"""Searching: queries go to the shards, their best come back, and the best of those are the answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import Array, FloatMatrix, IdMatrix
from mlpq._objects import shown
from mlpq.distributed.plan import MODEL, Plan
from mlpq.distributed.work import asked, sizes, workers
from mlpq.index import MultiLevelPQ


class Shards:
    """An index in shards; `build` and `load` return it.

    Args:
        folder: in which it was built.
        client: of `dask.distributed`, whose workers each keep their share of the shards in memory; None: this process
            keeps all.

    Attributes:
        model: the trained `MultiLevelPQ`, without vectors.
        missing: names of the parts, or, of an index routed by cell, of the shards, that the last search could not ask.

    Raises:
        FileNotFoundError: nothing was built there.
        ValueError: its files are damaged.
    """

    def __init__(self, folder: str | os.PathLike[str], client: Any = None) -> None:
        self.folder, self.client, self.missing = Path(folder).resolve(), client, list[str]()
        self.plan = Plan.read(self.folder)
        self.model = MultiLevelPQ.load(self.folder / MODEL)
        self.paths = [str(self.folder / name) for name in self.plan.shards]

    def __repr__(self) -> str:
        return shown(self, folder=str(self.folder), ntotal=self.ntotal, shards=len(self.paths), client=self.client)

    @property
    def ntotal(self) -> int:
        """Number of vectors in all parts."""
        return self.plan.rows

    def search(self, xq: npt.ArrayLike, k: int, *, nprobe: int = 1, rerank: int = 0) -> tuple[FloatMatrix, IdMatrix]:
        """Return the k nearest vectors of each query, as `MultiLevelPQ.search` does: D and I, (nq, k) each.

        Shards that cannot be asked are named in `missing`; the answer is then the best of the others.

        Args:
            xq: (nq, d) queries.
            k: neighbours per query.
            nprobe: inner cells scanned per query, in all shards together.
            rerank: r > 0 orders the best r * k of all shards by exact distance; needs keep_originals=True.

        Raises:
            ValueError, TypeError, RuntimeError: as in `MultiLevelPQ.search`; a client without workers.
        """
        self.model.search(xq, k, nprobe=nprobe, rerank=rerank)  # of nothing: checks all arguments
        xq = _check.matrix(xq, "xq", self.model.d, least=0)
        shortlist = max(1, rerank) * k
        worst = -np.inf if self.model.metric == "ip" else np.inf
        offers = [np.full((len(xq), shortlist), fill) for fill in (-1, worst, np.inf, np.inf)]
        self.missing, wanted = [], self._wanted(xq, nprobe)
        for number, answer in self._asked(xq, wanted, (k, nprobe, rerank)):
            if isinstance(answer, str):
                self.missing.append(self._named(number))
                continue
            rows = wanted[number]
            both = [np.concatenate(two, axis=1) for two in zip([one[rows] for one in offers], answer, strict=True)]
            order = np.lexsort((both[0], both[2]))[:, :shortlist]
            for offer, found in zip(offers, both, strict=True):
                offer[rows] = np.take_along_axis(found, order, axis=1)
        self.missing = sorted(set(self.missing))
        I, D, _, exact = offers
        order = np.lexsort((I, exact))[:, :k]
        return np.take_along_axis(D, order, axis=1).astype(np.float32), np.take_along_axis(I, order, axis=1)

    def _named(self, number: int) -> str:
        if self.plan.by == "cell":
            return Path(self.paths[number]).name
        return self.plan.parts[self.plan.pieces[number].part].name

    def _wanted(self, xq: FloatMatrix, nprobe: int) -> list[Array]:
        """Return for each shard which queries it is asked, their numbers ascending."""
        every = np.arange(len(xq))
        if self.plan.by == "part":
            return [every] * len(self.paths)
        x = _check.matrix(xq, "xq", self.model.d, least=0, metric=self.model.metric)
        _, probes = self.model._probe(self.model._turned(x), min(nprobe, self.model.clusters.n_inner), None)
        wanted = []
        for path in self.paths:
            try:
                there = sizes(path) > 0
            except OSError:  # it is not there, which `missing` will say
                there = np.ones(self.model.clusters.n_inner, bool)
            wanted.append(np.flatnonzero(there[probes].any(axis=1)))
        return wanted

    def _asked(
        self, xq: FloatMatrix, wanted: list[Array], how: tuple[int, int, int]
    ) -> Iterator[tuple[int, tuple[Array, ...] | str]]:
        """Yield what each shard answers, or what is wrong with it; with a client, as the answers come."""
        numbers = [number for number, rows in enumerate(wanted) if len(rows)]
        if self.client is None:
            for number in numbers:
                yield number, asked(self.paths[number], xq[wanted[number]], *how)
            return
        from dask.distributed import KilledWorker, as_completed

        homes = workers(self.client)
        every = self.client.scatter(xq, broadcast=True, hash=False) if self.plan.by == "part" else None
        futures = {}
        for number in numbers:
            queries = xq[wanted[number]] if every is None else every
            home = {"workers": [homes[number % len(homes)]], "allow_other_workers": True}
            futures[self.client.submit(asked, self.paths[number], queries, *how, pure=False, **home)] = number
        for future in as_completed(futures):
            error = future.exception()
            if error is not None and not isinstance(error, KilledWorker):
                raise error
            yield futures[future], str(error) if error else future.result()


def load(folder: str | os.PathLike[str], client: Any = None) -> Shards:
    """Return what `build` left in a folder.

    Raises:
        FileNotFoundError: nothing was built there.
        ValueError: its files are damaged.
    """
    return Shards(folder, client)
