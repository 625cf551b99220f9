"""Figures: the numbers drawn are the numbers given."""

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from mlpq import plots


@pytest.fixture(autouse=True)
def _no_screen() -> Iterator[None]:
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (123_456, "123 kB"), (62_720_000, "62.7 MB"),
     (999_600, "1.0 MB"), (73e6, "73.0 MB"), (1e12, "1.0 TB"), (4e18, "4000 PB")],
)  # fmt: skip
def test_format_bytes(n: float, text: str) -> None:
    assert plots.format_bytes(n) == text


def test_bars() -> None:
    ax = plots.bars({"one": 0.25, "two": 1.0}, title="Recall")
    assert [bar.get_width() for bar in ax.patches] == [0.25, 1.0]
    assert [text.get_text() for text in ax.texts] == ["0.25", "1.00"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
    assert ax.yaxis_inverted()


def test_stacked_bytes_add_up() -> None:
    memories = {"a": {"codes": 100, "codebooks": 900}, "b": {"codes": 100, "originals": 4000, "ids": 3}}
    ax = plots.stacked_bytes(memories, title="Bytes")
    ends = {}
    for bar in ax.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        ends[row] = max(ends.get(row, 0), bar.get_x() + bar.get_width())
    assert ends == {0: 1000, 1: 4103}
    assert [text.get_text() for text in ax.texts] == ["1.0 kB", "4.1 kB"]


def test_stacked_shares() -> None:
    shares = {"a": {"found": 0.75, "lost": 0.25}, "b": {"found": 0.984375, "lost": 0.015625}}
    ax = plots.stacked_shares(shares, title="Shares")
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [
        (0, 0.75), (0, 0.984375), (0.75, 0.25), (0.984375, 0.015625),
    ]  # fmt: skip
    assert [text.get_text() for text in ax.texts] == ["0.75", "0.98", "0.25", ""]
    assert ax.get_xlim() == (0, 1)


@pytest.mark.parametrize("log", [False, True])
def test_lines(log: bool) -> None:
    ax = plots.lines({"a": ([1, 10], [2, 3])}, title="t", xlabel="x", ylabel="y", logx=log)
    assert ax.lines[0].get_xydata().tolist() == [[1, 2], [10, 3]]
    assert ax.get_legend() is None
    assert ax.get_xscale() == ("log" if log else "linear")


@pytest.mark.parametrize(("x", "ticks"), [((5, 80), {5, 10, 20, 50}), ((1, 10_000), {1, 10, 100, 1000, 10_000})])
def test_log_ticks_leave_room_for_their_labels(x: tuple[float, float], ticks: set[float]) -> None:
    ax = plots.lines({"a": (x, (1, 2))}, title="t", xlabel="x", ylabel="y", logx=True)
    low, high = ax.get_xlim()
    assert {tick for tick in ax.get_xticks() if low <= tick <= high} == ticks


@pytest.mark.parametrize(("side", "ha"), [("left", "right"), ("right", "left")])
def test_lines_bear_their_names(side: str, ha: str) -> None:
    ax = plots.lines({"a": ([1, 2], [3, 4]), "b": ([1, 2], [5, 6])}, title="t", xlabel="x", ylabel="y")
    plots.name_lines(ax, at=1, side=side)
    assert [(text.get_text(), text.xy, text.get_ha()) for text in ax.texts] == [("a", (2, 4), ha), ("b", (2, 6), ha)]  # type: ignore[attr-defined]
    assert [text.get_color() for text in ax.texts] == [line.get_color() for line in ax.lines]
    assert ax.get_legend() is None


def test_panels() -> None:
    axes = plots.panels(2, 3, height=4.0)
    assert axes.shape == (2, 3)
    assert plots.bars({"one": 1.0}, title="x", ax=axes[1, 2]) is axes[1, 2]
    assert axes[0, 0].figure.get_size_inches().tolist() == [6.4, 4.0]


def test_heatmap_writes_values_so_that_they_can_be_read() -> None:
    values = np.array([[0.0, 1.0]])
    ax = plots.heatmap(values, title="t", rows=["r"], columns=[4, 8], form="{:.1f}")
    assert ax.images[0].get_array().tolist() == values.tolist()
    assert [(text.get_text(), text.get_color()) for text in ax.texts] == [("0.0", "black"), ("1.0", "white")]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "8"]
    assert not plots.heatmap(values, title="t").texts


def test_histogram_and_its_mean() -> None:
    ax = plots.histogram(np.array([1, 1, 3, 7]), title="t", xlabel="x", bins=3)
    assert [bar.get_height() for bar in ax.patches] == [2, 1, 1]
    assert ax.lines[0].get_xdata() == [3, 3]


def test_clusters_have_one_colour_each() -> None:
    x = np.array([[0.0, 0], [1, 1], [2, 2]])
    points, crosses = plots.clusters(x, np.array([0, 1, 0]), x[:2], title="t").collections
    colours = [to_hex(colour).upper() for colour in points.get_facecolors()]
    assert colours == [plots.PALETTE[0], plots.PALETTE[1], plots.PALETTE[0]]
    assert np.asarray(crosses.get_offsets()).tolist() == x[:2].tolist()


def test_speed_against_recall() -> None:
    sweeps = {
        "a": [{"recall": 0.5, "qps": 100, "nprobe": 1}, {"recall": 0.7, "qps": 50, "nprobe": 2}],
        "b": [{"recall": 1, "qps": 9}],
    }
    ax = plots.speed_against_recall(sweeps, title="Speed")
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[0.5, 100], [0.7, 50]], [[1, 9]]]
    assert [text.get_text() for text in ax.texts] == ["1", "2"]


def test_images_frame_right_and_wrong_by_colour_and_by_line() -> None:
    x = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    right = np.array([[True, False, True], [False, False, True]])
    grid = plots.images(x, (2, 2), rows=["up", "down"], right=right)
    for (i, j), ax in np.ndenumerate(grid):
        assert ax.images[0].get_array().tolist() == x[i, j].reshape(2, 2).tolist()
        spine = ax.spines["left"]
        assert to_hex(spine.get_edgecolor()).upper() == (plots.RIGHT if right[i, j] else plots.WRONG)
        assert spine.get_linestyle() == ("-" if right[i, j] else "--")
    assert [ax.get_ylabel() for ax in grid[:, 0]] == ["up", "down"]


@pytest.mark.parametrize("limits", [(-255, 255), (-255, 100), (-100, 255)])
def test_numbers_on_both_sides_of_zero_are_told_apart(limits: tuple[int, int]) -> None:
    x = np.array([[[-255.0, 0, 255, 0]]])
    [[ax]] = plots.images(x, (2, 2), rows=["all"], limits=limits)
    [[low, zero], [high, _]] = ax.images[0].to_rgba(ax.images[0].get_array())
    assert [to_hex(colour).upper() for colour in (low, zero, high)] == [plots.PALETTE[0], "#FFFFFF", "#000000"]


def test_vectors_that_are_no_images_are_drawn_as_fields_of_one_scale() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 101)).astype(np.float32)
    query = np.zeros(101, np.float32)
    grid = plots.images(x, None, rows=["up", "down"], right=np.ones((2, 3), bool), query=query)
    assert [ax.get_ylabel() for ax in grid[:, 0]] == ["query", "up", "down"]
    for (i, j), ax in np.ndenumerate(grid[1:]):
        pixels = np.ma.filled(ax.images[0].get_array(), np.nan)
        assert pixels.shape == (10, 11)
        assert pixels.ravel()[:101].tolist() == x[i, j].tolist()
        assert np.isnan(pixels.ravel()[101:]).all()
        assert to_hex(ax.spines["left"].get_edgecolor()).upper() == plots.RIGHT
    assert not grid[0, 0].images[0].get_array()[0].any()
    scales = {ax.images[0].get_clim() for ax in [*grid[1:].flat, grid[0, 0]]}
    bound = abs(np.percentile([*x.ravel(), *query], (1, 99))).max()
    assert scales == {(-bound, bound)}


@pytest.mark.parametrize(("d", "shape"), [(1, (1, 1)), (2, (1, 2)), (9, (3, 3)), (12, (3, 4)), (1536, (39, 40))])
def test_fields_are_nearly_square(d: int, shape: tuple[int, int]) -> None:
    grid = plots.images(np.ones((1, 1, d)), None, rows=["all"])
    assert grid[0, 0].images[0].get_array().shape == shape


def test_the_readers_settings_are_left_alone() -> None:
    before = dict(mpl.rcParams)
    plots.bars({"one": 1.0}, title="x")
    assert dict(mpl.rcParams) == before
