"""Figures in one style: rows or arrays in, Matplotlib axes out. Nothing here computes a result."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from mlpq._style import MARKERS, NEUTRAL, PALETTE, RIGHT, SIGNED, WRONG, style


def format_bytes(n: float) -> str:
    """Return a number of bytes as a reader would say it, in decimal units.

    Example:
        >>> format_bytes(62_720_000)
        '62.7 MB'
    """
    units = ["B", "kB", "MB", "GB", "TB", "PB"]
    while abs(n) >= 999.5 and len(units) > 1:
        n /= 1000
        units.pop(0)
    unit = units[0]
    return f"{n:.0f} {unit}" if unit == "B" or abs(n) >= 100 else f"{n:.1f} {unit}"


def _axes(ax: Axes | None, height: float, width: float = 6.4) -> Axes:
    return plt.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def panels(rows: int, columns: int, *, height: float, sharex: bool = False, sharey: bool = False) -> npt.NDArray[Any]:
    """Return axes (rows, columns) in one figure; hand each to a function below as `ax`."""
    with style():
        figure = plt.figure(figsize=(6.4, height), layout="constrained")
        axes: npt.NDArray[Any] = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    return axes


def bars(values: Mapping[str, float], *, title: str, form: str = "{:,.2f}", ax: Axes | None = None) -> Axes:
    """Draw one horizontal bar per name, first on top, each with its value in the given format."""
    with style():
        ax = _axes(ax, 0.5 + 0.36 * len(values))
        drawn = ax.barh(list(values), list(values.values()), color=_colors(values), height=0.7)
        ax.bar_label(drawn, [form.format(v) for v in values.values()], padding=4)
        ax.margins(x=0.15)
        _as_list(ax, title)
        ax.xaxis.set_visible(False)  # the values stand beside the bars
        ax.spines["bottom"].set_visible(False)
    return ax


def stacked_bytes(memories: Mapping[str, Mapping[str, int]], *, title: str, ax: Axes | None = None) -> Axes:
    """Draw the bytes of each index as one stacked bar of its components, with the total at its end."""
    components = list(dict.fromkeys(name for memory in memories.values() for name in memory))
    totals = [sum(memory.values()) for memory in memories.values()]
    shown = [c for c in components if any(m.get(c, 0) > 0.005 * max(totals) for m in memories.values())]
    parts = {c.replace("_", " "): np.array([m.get(c, 0) for m in memories.values()], float) for c in shown}
    parts["the rest"] = np.array(totals) - sum(parts.values())
    ax = _stacked(list(memories), parts, title, ax)
    for row, total in enumerate(totals):
        ax.annotate(format_bytes(total), (total, row), (4, 0), textcoords="offset points", va="center")
    ax.margins(x=0.15)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda n, _: format_bytes(n)))
    return ax


def stacked_shares(shares: Mapping[str, Mapping[str, float]], *, title: str, ax: Axes | None = None) -> Axes:
    """Draw shares that add up to 1, one stacked bar per name; shares of 0.04 and more carry their value."""
    names = list(dict.fromkeys(name for parts in shares.values() for name in parts))
    parts = {name: np.array([row.get(name, 0.0) for row in shares.values()]) for name in names}
    ax = _stacked(list(shares), parts, title, ax)
    for drawn in ax.containers:
        values = [bar.get_width() for bar in drawn]
        texts = [f"{value:.2f}" if value >= 0.04 else "" for value in values]
        ax.bar_label(drawn, texts, label_type="center", color="white", fontsize=9)  # type: ignore[arg-type]
    ax.set_xlim(0, 1)
    return ax


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    logy: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw one line with markers through the points (x, y) of each name; the ticks of a log axis are plain numbers."""
    with style():
        ax = _axes(ax, 3.8)
        for (name, (x, y)), color, marker in zip(series.items(), _colors(series), cycle(MARKERS), strict=False):
            ax.plot(x, y, color=color, marker=marker, markersize=5, label=name)
        ax.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if logx else "linear", yscale="log" if logy else "linear")
        for axis, logarithmic in ((ax.xaxis, logx), (ax.yaxis, logy)):
            if logarithmic:
                low, high = axis.get_view_interval()
                axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,), numticks=20))
                axis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.10g}"))
                axis.set_minor_locator(NullLocator())
        ax.set_title(title)
        ax.grid(visible=True)
        if len(series) > 1:
            ax.legend()
    return ax


def name_lines(ax: Axes, *, at: int, side: str = "right") -> None:
    """Write the name of each line above its point number `at`, to the "left" or "right" of it, in place of a legend."""
    x, ha = (-8, "right") if side == "left" else (2, "left")
    for line in ax.lines:
        point = line.get_xdata()[at], line.get_ydata()[at]  # type: ignore[index]
        ax.annotate(line.get_label(), point, (x, 7), textcoords="offset points", ha=ha, color=line.get_color())  # type: ignore[arg-type]
    if legend := ax.get_legend():
        legend.remove()


def heatmap(
    values: npt.NDArray[Any],
    *,
    title: str,
    rows: Sequence[object] = (),
    columns: Sequence[object] = (),
    xlabel: str = "",
    ylabel: str = "",
    form: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw a matrix as coloured fields, dark for large; with `form` ("{:.2f}") each field carries its value."""
    values = np.asarray(values)
    with style():
        ax = _axes(ax, 1.2 + 0.32 * min(len(values), 12))
        ax.imshow(values, cmap="cividis_r", aspect="auto", interpolation="nearest")
        for (i, j), value in np.ndenumerate(values) if form else ():
            dark = value > (values.min() + values.max()) / 2
            ax.text(j, i, form.format(value), ha="center", va="center", size=8, color="white" if dark else "black")
        ax.set(xlabel=xlabel, ylabel=ylabel)
        if len(rows):
            ax.set_yticks(range(len(rows)), [str(row) for row in rows])
        if len(columns):
            ax.set_xticks(range(len(columns)), [str(column) for column in columns])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(title)
    return ax


def histogram(
    values: npt.NDArray[Any], *, title: str, xlabel: str, bins: int | Sequence[float] = 30, ax: Axes | None = None
) -> Axes:
    """Draw how many of the values fall into each of the bins, with a line at their mean."""
    with style():
        ax = _axes(ax, 3.0)
        ax.hist(values, bins=bins, color=PALETTE[0])
        mean = float(np.mean(values))
        label = f"mean {mean:,.0f}" if mean >= 100 else f"mean {mean:.2g}"
        ax.axvline(mean, color=PALETTE[1], linestyle="--", label=label)
        ax.set(xlabel=xlabel, ylabel="number")
        ax.set_title(title)
        ax.legend()
    return ax


def clusters(
    x: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    centroids: npt.NDArray[Any],
    *,
    title: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw points (n, 2) in the colours of their clusters, and the centroids (k, 2) as black crosses."""
    with style():
        ax = _axes(ax, 4.2)
        ax.scatter(
            x[:, 0], x[:, 1], s=4, c=np.array(PALETTE[:-1])[np.asarray(labels) % (len(PALETTE) - 1)], linewidths=0
        )
        ax.scatter(centroids[:, 0], centroids[:, 1], s=60, c="black", marker="X", edgecolors="white", linewidths=0.8)
        ax.set(xticks=[], yticks=[], aspect="equal")
        ax.spines[:].set_visible(False)
        ax.set_title(title)
    return ax


def speed_against_recall(
    sweeps: Mapping[str, Sequence[Mapping[str, Any]]], *, title: str, k: int = 10, ax: Axes | None = None
) -> Axes:
    """Draw one line per method through its (recall, qps) points, each point marked with its nprobe where it has one."""
    with style():
        ax = _axes(ax, 4.2)
        for (name, rows), color, marker in zip(sweeps.items(), _colors(sweeps), cycle(MARKERS), strict=False):
            recall, qps = [row["recall"] for row in rows], [row["qps"] for row in rows]
            ax.plot(recall, qps, color=color, marker=marker, label=name)
            for row in rows:
                if "nprobe" in row:
                    ax.annotate(
                        str(row["nprobe"]), (row["recall"], row["qps"]), (4, 4), textcoords="offset points", size=8
                    )
        ax.set(yscale="log", xlabel=f"recall@{k}", ylabel="queries per second")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_title(title)
        ax.grid(visible=True)
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def images(
    x: npt.NDArray[Any],
    shape: tuple[int, int] | None,
    *,
    rows: Sequence[str],
    right: npt.NDArray[np.bool_] | None = None,
    query: npt.NDArray[Any] | None = None,
    limits: tuple[float, float] | None = None,
) -> npt.NDArray[Any]:
    """Draw vectors (len(rows), columns, d) as images in a grid of labelled rows; return its axes.

    Args:
        shape: height and width of an image. None: the vectors are no images, and the numbers of each are drawn as a
            field of pixels, row by row, as nearly square as d allows.
        right: (len(rows), columns) bool: frames a vector in solid green, or in dashed orange; None draws no frames.
        query: (d,) drawn alone in a row above.
        limits: the values drawn white and black; None takes 0 and 255 for images, and otherwise the first and the
            last percentile of all that is drawn. Where 0 lies between them it is white, and what is below is blue.
    """
    above = int(query is not None)
    drawn = x.ravel() if query is None else np.append(x, query)
    low, high = limits or ((0, 255) if shape else np.percentile(drawn, (1, 99)))
    shades: dict[str, Any] = {"cmap": "gray_r", "vmin": low, "vmax": high}
    if low < 0 < high:
        shades = {"cmap": SIGNED, "norm": CenteredNorm(halfrange=max(-low, high))}
    with style():
        size = (6.4, 0.7 * (len(x) + above) + 0.2)
        grid = plt.subplots(len(x) + above, x.shape[1], figsize=size, squeeze=False, layout="constrained")[1]
        for ax in grid.flat:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for (i, j), ax in np.ndenumerate(grid[above:]):
            ax.imshow(_pixels(x[i, j], shape), **shades)
            if right is not None:
                color, line = (RIGHT, "-") if right[i, j] else (WRONG, "--")
                ax.spines[:].set(visible=True, linewidth=2, color=color, linestyle=line)
        if query is not None:
            grid[0, 0].imshow(_pixels(query, shape), **shades)
        for ax, label in zip(grid[:, 0], ["query"] * above + list(rows), strict=True):
            ax.set_ylabel(label, rotation=0, ha="right", va="center")
    return grid


def _pixels(vector: npt.NDArray[Any], shape: tuple[int, int] | None) -> npt.NDArray[Any]:
    """Return a vector as an image of that shape, or as a field nearly square, whose last pixels may stay blank."""
    if shape:
        return vector.reshape(shape)
    width = int(np.ceil(len(vector) ** 0.5))
    field = np.full(-(-len(vector) // width) * width, np.nan, np.float32)
    field[: len(vector)] = vector
    return field.reshape(-1, width)


def _colors(names: Collection[str]) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(len(names))]


def _as_list(ax: Axes, title: str) -> None:
    """Dress an axes of horizontal bars: first on top, no ticks on the names' axis."""
    if not ax.yaxis_inverted():  # by another axes that shares it
        ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.set_title(title)


def _stacked(names: list[str], parts: Mapping[str, npt.NDArray[Any]], title: str, ax: Axes | None) -> Axes:
    """Draw one horizontal bar per name, made of the parts (one value per name each), with a legend below."""
    with style():
        ax = _axes(ax, 1.4 + 0.36 * len(names))
        left = np.zeros(len(names))
        for number, (part, widths) in enumerate(parts.items()):
            color = NEUTRAL if part == "the rest" else PALETTE[number % len(PALETTE)]
            ax.barh(names, widths, left=left, label=part, color=color, height=0.7)
            left += widths
        ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=4)
        _as_list(ax, title)
    return ax
