"""The frontier plot of a record of `compare`: recall against speed, ours and each family of peers."""

from __future__ import annotations

import os
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from mlpq._style import NEUTRAL, PALETTE, STYLE
from mlpq.bench.report import read
from mlpq.judge.tuning import Row, pareto

MISSED = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001)  # shares of true neighbours, at the ticks
LIMITS, EDGE = (0.6, 0.0008), 0.001  # recalls of 0.999 and more stand at the edge
OURS = {"mlpq, with originals": PALETTE[1], "mlpq, codes only": "white"}  # the filling of the markers
COLORS = {
    "Faiss fast-scan, refined": PALETTE[0], "Faiss HNSW": PALETTE[5], "Faiss IVF-PQ": PALETTE[2],
    "Faiss OPQ, PCA": PALETTE[6], "hnswlib": PALETTE[4], "usearch": PALETTE[3], "ScaNN": "#8C510A",
    "SVS Vamana": "#5E3C99",
}  # fmt: skip


def save(record: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Draw a record to a .png (twice the pixels) or .svg file.

    Raises:
        ValueError: no record of `compare`, no points in it, or another kind of file.
    """
    rows = read(record)
    if not rows:
        raise ValueError(f"{os.fspath(record)!r} holds no points to draw")
    figure = draw(rows)
    figure.savefig(path, facecolor="white", dpi=200)
    plt.close(figure)


def draw(rows: Sequence[Row]) -> Figure:
    """Draw the frontier of each family; recall runs towards 1 as the share missed falls, or 0.95 and 0.99 would meet."""
    with plt.rc_context(STYLE | {"font.size": 13}):
        figure, ax = plt.subplots(figsize=(6.4, 6.8), layout="constrained")
        # Ours last, to lie on top.
        families = [family for family in COLORS if any(row["family"] == family for row in rows)]
        for marker, family in zip("sD^vPXp<", families, strict=False):
            _line(ax, rows, family, color=COLORS[family], marker=marker, markersize=4.5, linewidth=1.3)
        for family, filling in OURS.items():
            _line(ax, rows, family, color=PALETTE[1], marker="o", markersize=7, linewidth=3, markerfacecolor=filling)
        lowest = 0.7 * min([row["qps"] for row in rows if row["family"] in {*COLORS, *OURS}], default=0)
        others = [row for row in rows if row["family"] not in {*COLORS, *OURS} and row["qps"] > lowest]  # not the loop
        if others:
            x, y = zip(*((_missed(row), row["qps"]) for row in others), strict=True)
            ax.plot(x, y, "x", color=NEUTRAL, label="others", markersize=5)
        ax.set(xscale="log", yscale="log", xlabel="recall@10", ylabel="queries per second, in one batch", xlim=LIMITS)
        ax.xaxis.set(major_locator=FixedLocator(MISSED), minor_locator=NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda missed, _: f"{1 - missed:.3g}"))
        ax.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5), numticks=20), minor_locator=NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
        ax.grid(visible=True)
        handles, labels = ax.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda i: labels[i] not in OURS)
        chosen = [handles[i] for i in order], [labels[i] for i in order]
        figure.legend(*chosen, loc="outside upper center", ncols=2, fontsize=13)
    return figure


def _line(ax: Axes, rows: Sequence[Row], family: str, **style: object) -> None:
    """Draw the points of one family that no other of it beats."""
    front = pareto([row for row in rows if row["family"] == family], large=["recall", "qps"])
    front = sorted(front, key=lambda row: row["recall"])
    if front:
        ax.plot([_missed(row) for row in front], [row["qps"] for row in front], label=family, **style)  # type: ignore[arg-type]


def _missed(row: Row) -> float:
    return float(max(1 - row["recall"], EDGE))
