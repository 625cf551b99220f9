"""Probe: one query on a map of two levels, the cells it visits, and the neighbours it finds and misses."""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import traitlets

from mlpq import _check
from mlpq.clustering import TwoLevelKMeans
from mlpq.data.datasets import Dataset
from mlpq.search.exact import ExactIndex
from mlpq.widgets.base import Control, Explorer, Point, packed
from mlpq.widgets.lloyd import plane

N, NQ, K = 3000, 300, 50  # dots on the map, queries, true neighbours
N_INNER, N_OUTER = 60, 6


class Toy(NamedTuple):
    """Two levels in two dimensions, and queries there."""

    dots: _check.FloatMatrix  # (N, 2)
    queries: _check.FloatMatrix  # (NQ, 2)
    km: TwoLevelKMeans
    cells: _check.Array  # (N,) of each dot
    near: _check.IdMatrix  # (NQ, K) true neighbours


class Probe(Explorer):
    """Cells that a query visits on the map of the chapter, and which of its true neighbours are there.

    Controls: `query`, `nprobe` cells visited, `n_outer_probe` outer clusters opened. Points come from
    `mlpq.TwoLevelKMeans.probe`.
    """

    title = "One query, two levels"
    controls = (
        Control("query", "query", (4, 10, 31, 54, 120, 136, 156, 201, 252, 263), tuple(range(NQ))),
        Control("nprobe", "nprobe", (1, 2, 3, 5, 8, 12), tuple(range(1, N_INNER + 1))),
        Control("n_outer_probe", "n_outer_probe", tuple(range(1, N_OUTER + 1))),
    )
    say = (
        f"Opened {{n_outer_probe}} of {N_OUTER} outer clusters, visited {{visited}}: {{scanned}} of the base scanned, "
        f"{{found}} of {K} neighbours found. {{missed}}"
    )
    columns: ClassVar = {
        "opening": "n_outer_probe", "compared": "centroids compared", "visits": "cells visited",
        "scans": "base scanned", "finds": "neighbours found",
    }  # fmt: skip

    zoom: ClassVar = 1.0  # units of the map for one of the data

    query = traitlets.Int(120).tag(sync=True)  # the one of all that gains most from opening more
    nprobe = traitlets.Int(5).tag(sync=True)
    n_outer_probe = traitlets.Int(1).tag(sync=True)

    @classmethod
    def shared(cls, ds: Dataset) -> dict[str, Any]:
        """Return the map: dots, the cells of dots, centroids on both levels, and the borders of cells; x and y in turn."""
        toy = build(ds, cls.zoom)
        pairs, ends = borders(toy.km.inner_centroids)
        corners = [_around(c, ends[(pairs == j).any(axis=1)]) for j, c in enumerate(toy.km.inner_centroids)]
        outer = toy.km.inner_to_outer
        return {
            "dots": toy.dots.round().astype(int).ravel().tolist(),
            "cells": packed(toy.cells),
            "inner": toy.km.inner_centroids.round().astype(int).tolist(),
            "outer": toy.km.outer_centroids.round().astype(int).tolist(),
            "inner_to_outer": outer.tolist(),
            "tiles": [corner.tolist() for corner in corners],
            "borders": ends[outer[pairs[:, 0]] != outer[pairs[:, 1]]].reshape(-1, 4).tolist(),
        }

    @classmethod
    def compute(cls, ds: Dataset, *, query: int, nprobe: int, n_outer_probe: int) -> Point:
        """Probe as told, and with every other number of outer clusters opened, for the table and the curve."""
        toy = build(ds, cls.zoom)
        at, home = toy.queries[[query]], toy.cells[toy.near[query]]  # home: the cells of the true neighbours
        visits, reached, scans, finds = [], [], [], []
        for o in range(1, N_OUTER + 1):
            visited, reachable = (toy.km.probe(at, n, o)[0] for n in (nprobe, N_INNER))
            visits.append(visited[visited >= 0])
            reached.append(reachable[reachable >= 0])
            scans.append(np.isin(toy.cells, visited).mean())
            finds.append(np.isin(home, visited).sum())
        now = n_outer_probe - 1
        beyond = (~np.isin(home, reached[now])).sum()
        return {
            "at": at[0].round().astype(int).tolist(),
            "near": base64.b64encode(toy.near[query].astype("<u2").tobytes()).decode(),
            "cells": visits[now].tolist(),
            "opened": np.unique(toy.km.inner_to_outer[reached[now]]).tolist(),
            "opening": [str(o) for o in range(1, N_OUTER + 1)],
            "compared": [str(N_OUTER + len(cells)) for cells in reached],
            "visits": [str(len(cells)) for cells in visits],
            "scans": [f"{share:.2f}" for share in scans], "finds": [str(n) for n in finds],
            "visited": f"{len(visits[now])} cell{'s' if len(visits[now]) > 1 else ''}",
            "scanned": f"{scans[now]:.2f}", "found": str(finds[now]),
            "missed": _missed(beyond, K - finds[now] - beyond),
        }  # fmt: skip


class ProbeTexts(Probe):
    """The same for texts."""

    dataset = "wordnet-20k"
    zoom = 6000.0
    controls = (
        replace(Probe.controls[0], recorded=(10, 13, 31, 89, 124, 161, 180, 213, 252, 263)),
        *Probe.controls[1:],
    )


def _missed(beyond: int, unvisited: int) -> str:
    """Say on which level neighbours were missed: beyond the outer clusters opened, or in cells there not visited."""
    parts = [(beyond, "in clusters not opened"), (unvisited, "in cells not visited")]
    said = ", ".join(f"{n} {where}" for n, where in parts if n)
    return f"Missed: {said}." if said else "None missed."


@lru_cache(maxsize=1)
def build(ds: Dataset, zoom: float = 1.0) -> Toy:
    """Return both levels over the first N vectors in their two directions of largest variance, `zoom` times as large."""
    mean, axes = plane(ds.xb[:N])
    dots, queries = (np.ascontiguousarray(zoom * ((x - mean) @ axes), np.float32) for x in (ds.xb[:N], ds.xq[:NQ]))
    km = TwoLevelKMeans(2, n_inner=N_INNER, n_outer=N_OUTER).train(dots)
    return Toy(dots, queries, km, km.assign(dots), ExactIndex(2).add(dots).search(queries, K)[1])


def borders(centroids: _check.FloatMatrix, far: float = 1e4) -> tuple[_check.Array, _check.Array]:
    """Return the borders between the cells of centroids (n, 2): pairs of cells (b, 2), and their ends (b, 2, 2), rounded.

    Borders without end are cut `far` from the middle between the two centroids.
    """
    at = centroids.astype(np.float64)
    a, b = np.triu_indices(len(at), 1)
    middle, along = (at[a] + at[b]) / 2, (at[b] - at[a])[:, ::-1] * (1, -1)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    # A point p is nearest to the centroid c of largest score(c) = 2 p.c - ||c||^2. On the line p = middle + t along,
    # score(c) <= score(a) says t * slope <= room.
    pairs = np.arange(len(a))
    score, turn = (2 * middle) @ at.T - (at**2).sum(axis=1), (2 * along) @ at.T
    room, slope = score[pairs, a][:, None] - score, turn - turn[pairs, a][:, None]
    slope[pairs, a] = slope[pairs, b] = 0  # not just nearly
    bound = room / np.where(slope == 0, 1, slope)
    high = np.where(slope > 0, bound, far).min(axis=1)
    low = np.where(slope < 0, bound, -far).max(axis=1)
    ends = middle[:, None] + np.stack([low, high], axis=1)[:, :, None] * along[:, None]
    kept = low < high
    return np.stack([a, b], axis=1)[kept], ends[kept].round().astype(int)


def _around(centroid: _check.FloatMatrix, ends: _check.Array) -> _check.Array:
    """Return the corners of a cell, x and y in turn, in the order in which they stand around its centroid."""
    corners = np.unique(ends.reshape(-1, 2), axis=0)
    x, y = (corners - centroid).T
    order = np.arctan2(y, x).argsort()
    return np.concatenate(corners[order])
