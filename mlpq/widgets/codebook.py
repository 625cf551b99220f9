"""Codebook: whose codebook it is, what it loses, what it takes, and where the curves cross."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar, get_args

import numpy as np
import traitlets

from mlpq._check import FloatMatrix, valid_m
from mlpq.codecs.codebooks import Owner
from mlpq.data.datasets import Dataset
from mlpq.index import MultiLevelPQ
from mlpq.widgets.base import Control, Explorer, Point

LEVELS = 8, 3  # cells and outer clusters at every N: if cells grew with N, codebooks per cell would never pay
SOME = 2000  # vectors whose loss is measured, of the unseen and of those trained on
MS = (4, 8, 16, 28, 56, 112)
NS = (2_000, 5_000, 10_000, 20_000, 40_000, 60_000)
OWNERS = get_args(Owner)

Setting = tuple[Any, ...]  # owner, m, nbits, N
Points = Mapping[Setting, Point]


class Codebook(Explorer):
    """Loss of variance and bytes per vector of each owner of codebooks, and which owner is cheapest from which N on.

    Controls: `owner`, `m`, `nbits`, `N`: the first N vectors are trained on and added, in 8 cells and 3 outer clusters
    at every N. The loss is that of queries, which no codebook has seen. Jégou, Douze, Schmid, Product quantization for
    nearest neighbor search (2011); Kalantidis, Avrithis, Locally optimized product quantization (2014).
    """

    dataset = "fashion-mnist"
    title = "Whose codebook? Loss against bytes"
    controls = (
        Control("owner", "codebooks", OWNERS),
        Control("m", "m", MS, tuple(m for m in valid_m(784) if 2 <= m <= 196)),
        Control("nbits", "nbits", (4, 6, 8), tuple(range(1, 9))),
        Control("N", "N", NS, words={str(n): f"{n:,}" for n in NS}),
    )  # fmt: skip
    say = (
        "{lost} of the variance of unseen vectors is lost, {known} of those trained on. {each} bytes per vector, codebooks "
        "{share}. {rival} {cheapest}"
    )
    columns: ClassVar = {
        "owners": "codebooks", "sizes": "bytes per vector", "shares": "their share", "losses": "lost, unseen",
        "knowns": "lost, trained on", "equals": "bytes for the chosen one's loss",
    }  # fmt: skip
    caption = (
        f"Recorded on {{dataset}}: the first N of {{n:,}} vectors of {{d}} dimensions, in {LEVELS[0]} cells and "
        f"{LEVELS[1]} outer clusters at every N. Unseen: the first {SOME:,} queries. All bytes are counted. Between the "
        f"recorded m, the bytes for the same loss lie on straight lines; an owner that loses less even at m = {MS[0]} is shown "
        "with the bytes of that."
    )

    owner = traitlets.Unicode("inner").tag(sync=True)
    m = traitlets.Int(8).tag(sync=True)
    nbits = traitlets.Int(4).tag(sync=True)
    N = traitlets.Int(10_000).tag(sync=True)

    @classmethod
    def compute(cls, ds: Dataset, *, owner: Owner, m: int, nbits: int, N: int) -> Point:
        """Train on the first N vectors, add them, encode unseen ones; `record` adds how it compares."""
        if N > len(ds.xb):
            raise ValueError(f"N must be at most the {len(ds.xb)} vectors of {ds.name}; got {N}")
        x = ds.xb[:N]
        index = MultiLevelPQ(ds.d, *LEVELS, m=m, nbits=nbits, codebooks=owner).train(x).add(x)
        memory, mean = index.memory(), x.mean(axis=0)
        point = {
            "loss": round(lost(index, ds.xq[:SOME], mean), 4), "base": round(lost(index, x[:SOME], mean), 4),
            "bytes": memory.total, "share": f"{100 * memory['codebooks'] / memory.total:.0f} %",
        }  # fmt: skip
        point |= {"lost": f"{point['loss']:.3f}", "known": f"{point['base']:.3f}", "each": f"{memory.total / N:,.1f}"}
        words = {"rival": "Measured just now, by this kernel; the lines are recorded.", "cheapest": ""}
        return point | words | {"best": None, "needs": {}} | cls._table({owner: point}, {})

    @classmethod
    def record(cls, ds: Dataset, every: int = 1) -> dict[str, Any]:
        """Measure all, then compare: at no more bytes, and for no more loss."""
        record = super().record(ds, every)
        points = dict(zip(cls.grid()[::every], record["points"].values(), strict=True))
        for setting, point in points.items():
            point |= cls._compared(setting, points)
        return record

    @classmethod
    def _compared(cls, setting: Setting, points: Points) -> Point:
        """Return the best setting in no more bytes, and the bytes for the same loss: by owner, for each N."""
        _, m, nbits, n = setting
        point = points[setting]
        fitting = [s for s, p in points.items() if s[3] == n and p["bytes"] <= point["bytes"]]
        best = min(fitting, key=lambda s: points[s]["loss"])
        rival = "No recorded setting loses less in as few bytes."
        if best != setting:
            rival = f"In no more bytes, {best[0]} with m = {best[1]} and {best[2]} bits loses {points[best]['lost']}."
        needs = {one: [needed(curve(points, one, nbits, at), point["loss"]) for at in NS] for one in OWNERS}
        found = cheapest(needs)
        same = {one: points[one, m, nbits, n] for one in OWNERS if (one, m, nbits, n) in points}
        equal = {one: "out of reach" if (size := needs[one][NS.index(n)]) is None else f"{size:,.1f}" for one in same}
        return {
            "rival": rival, "cheapest": f"For the same loss with {nbits} bits and m up to {MS[-1]}, the cheapest owner is {found}.",
            "best": None if best == setting else ",".join(map(str, best)), "needs": needs,
        } | cls._table(same, equal)  # fmt: skip

    @classmethod
    def _table(cls, points: Mapping[Any, Point], equal: Mapping[Any, str]) -> Point:
        names = {"sizes": "each", "shares": "share", "losses": "lost", "knowns": "known"}
        columns = {column: [point[name] for point in points.values()] for column, name in names.items()}
        return columns | {"owners": list(points), "equals": [equal.get(owner, "") for owner in points]}


def lost(index: MultiLevelPQ, x: FloatMatrix, mean: FloatMatrix) -> float:
    """Return the share of the variance of x (n, d) about the mean that its codes lose."""
    cells = index.clusters.assign(x)
    error = x - index.clusters.inner_centroids[cells]
    for c in np.unique(cells):
        pq, rows = index.quantizers[int(index.codebook_of_cell[c])], cells == c
        error[rows] -= pq.decode(pq.encode(error[rows]))
    return float((error**2).sum() / ((x - mean) ** 2).sum())


def curve(points: Points, owner: str, nbits: int, n: int) -> list[tuple[float, float]]:
    """Return (bytes per vector, loss) of an owner, by ascending m: more bytes, less loss."""
    chosen = [(setting, point) for setting, point in points.items() if (setting[0], *setting[2:]) == (owner, nbits, n)]
    return [(point["bytes"] / n, point["loss"]) for _, point in sorted(chosen, key=lambda one: one[0][1])]


def needed(line: Sequence[tuple[float, float]], loss: float) -> float | None:
    """Return the bytes per vector at which a curve has this loss; where it starts below, those of its start."""
    if not line or loss < line[-1][1]:
        return None
    sizes, losses = zip(*reversed(line), strict=True)
    return round(float(np.interp(loss, losses, sizes)), 1)


def cheapest(needs: Mapping[str, Sequence[float | None]]) -> str:
    """Say which owner needs the fewest bytes from which N to which."""
    best = []
    for at, n in enumerate(NS):
        reached = [(size, owner) for owner, sizes in needs.items() if (size := sizes[at]) is not None]
        best.append((min(reached)[1] if reached else "no owner", n))
    runs = [(owner, [n for _, n in run]) for owner, run in groupby(best, key=lambda one: one[0])]
    if len(runs) == 1:
        return f"{runs[0][0]} at every N"
    return ", ".join(f"{owner} {_span(run)}" for owner, run in runs)


def _span(run: Sequence[int]) -> str:
    first, last = run[0], run[-1]
    if first == NS[0]:
        return f"up to {last:,}"
    if last == NS[-1]:
        return f"from {first:,}"
    return f"at {first:,}" if first == last else f"from {first:,} to {last:,}"
