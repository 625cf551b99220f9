"""The Codebook explorer: its losses and bytes found otherwise, its recorded points, and its figure against them."""

import json
import re
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator

import mlpq
from mlpq import widgets
from mlpq.widgets.codebook import LEVELS, NS, OWNERS, Codebook, cheapest, needed
from tests.conftest import ROOT, FullSet, Opened

FILE = ROOT / "book" / "recorded" / "codebook.json"
SAMPLE = ROOT / "tests" / "recorded" / "codebook.json"
codebook = pytest.fixture(lambda: widgets.Codebook(FILE))


@pytest.fixture(scope="module")
def full(full_set: FullSet) -> mlpq.Dataset:
    return full_set("fashion-mnist")


@pytest.mark.parametrize("owner", OWNERS)
def test_loss_is_the_distance_to_the_own_code(ds: mlpq.Dataset, owner: str) -> None:
    x, unseen = ds.xb[:3000], ds.xq
    point = Codebook.compute(ds, owner=owner, m=8, nbits=4, N=3000)
    index = mlpq.MultiLevelPQ(ds.d, *LEVELS, m=8, nbits=4, codebooks=owner).train(x)
    size = index.add(x).memory().total
    assert point["bytes"] == size == mlpq.predict_memory(3000, ds.d, *LEVELS, m=8, nbits=4, codebooks=owner).total
    D, I = index.train(x).add(unseen).search(unseen, len(unseen))  # of its own cell, each finds itself
    own = D[I == np.arange(len(unseen))[:, None]]
    assert len(own) == len(unseen)
    assert point["loss"] == pytest.approx(own.sum() / ((unseen - x.mean(axis=0)) ** 2).sum(), rel=1e-3)
    assert point["loss"] > point["base"]


def test_small_cells_borrow(ds: mlpq.Dataset) -> None:
    point = Codebook.compute(ds, owner="inner", m=4, nbits=8, N=1000)  # 125 vectors a cell, 256 codewords
    predicted = mlpq.predict_memory(1000, ds.d, *LEVELS, m=4, nbits=8, codebooks="inner").total
    assert (predicted - point["bytes"]) % (256 * 4 * ds.d) == 0
    assert point["bytes"] < predicted / 2
    with pytest.raises(ValueError, match="N must be at most the 20000 vectors of fashion-mnist-20k; got 40000"):
        Codebook.compute(ds, owner="inner", m=4, nbits=8, N=40_000)


def test_bytes_for_the_same_loss() -> None:
    line = [(10, 0.4), (20, 0.2), (40, 0.1)]  # bytes, loss
    assert [needed(line, loss) for loss in (0.3, 0.2, 0.125, 0.5, 0.05)] == [15, 20, 35, 10, None]
    assert needed([], 0.1) is None
    falling, flat = [9, 6, 4, 3, 2, 1], [5, 5, 5, 5, 5, 5]
    assert cheapest({"inner": falling, "global": flat}) == "global up to 5,000, inner from 10,000"
    assert cheapest({"inner": [None, *falling[1:]], "global": [None] * 6}) == "no owner up to 2,000, inner from 5,000"
    assert cheapest({"inner": [9, 9, 9, 4, 9, 9], "global": flat}).split(", ")[1] == "inner at 20,000"
    assert cheapest({"inner": falling}) == "inner at every N"


def test_recorded_comparisons(codebook: widgets.Codebook) -> None:
    """The story of the chapter, from the raw numbers."""
    points = codebook.data["points"]

    def each(*setting: Any) -> float:
        return points[",".join(map(str, setting))]["bytes"] / setting[-1]

    for name, point in points.items():
        n = name.split(",")[3]
        fitting = [p["loss"] for k, p in points.items() if k.endswith(f",{n}") and p["bytes"] <= point["bytes"]]
        assert points[point["best"] or name]["loss"] == min(fitting)
        assert point["base"] < point["loss"] * 1.01
        own, m, nbits, _ = name.split(",")
        assert point["needs"][own][NS.index(int(n))] == pytest.approx(each(own, m, nbits, int(n)), abs=0.051)
    chosen = points["inner,8,4,10000"]["needs"]
    assert np.array_equal(np.array(chosen["inner"]) < chosen["global"], [n >= 20_000 for n in NS])
    assert {min(OWNERS, key=lambda one: points["inner,8,8,60000"]["needs"][one][i]) for i in range(6)} == {"global"}


@pytest.mark.parametrize("name", ["inner,4,4,2000", "outer,56,4,2000", "global,4,6,20000"])
def test_sample_comes_out_again(ds: mlpq.Dataset, name: str) -> None:
    compare(ds, json.loads(SAMPLE.read_text())["points"], name)


@pytest.mark.parametrize("name", ["inner,8,4,60000", "global,56,4,20000", "outer,8,8,5000"])
def test_recorded_points_come_out_again(full: mlpq.Dataset, codebook: widgets.Codebook, name: str) -> None:
    compare(full, codebook.data["points"], name)


def compare(ds: mlpq.Dataset, points: dict[str, Any], name: str) -> None:
    owner, *numbers = name.split(",")
    m, nbits, n = map(int, numbers)
    point = Codebook.compute(ds, owner=owner, m=m, nbits=nbits, N=n)
    assert point["bytes"] == points[name]["bytes"]
    for loss in ("loss", "base"):  # k-means rounds otherwise on other processors
        assert point[loss] == pytest.approx(points[name][loss], rel=0.03)


def numbers(place: Locator) -> np.ndarray:
    return np.array(re.findall(r"-?[\d.]+", place.get_attribute("d")), float).reshape(-1, 2)


def axis(svg: Locator, name: str, ticks: dict[str, float], offset: float = 0) -> np.poly1d:
    """Return what turns a pixel into a value, from the places of two ticks' labels."""
    labels = [svg.locator("text", has_text=re.compile(f"^{text}$")).first for text in ticks]
    return np.poly1d(np.polyfit([float(label.get_attribute(name)) - offset for label in labels], [*ticks.values()], 1))


def test_figure_shows_the_points(opened: Opened, codebook: widgets.Codebook) -> None:
    explorer, points = opened("residuals", "codebook"), codebook.data["points"]
    explorer.get_by_role("slider", name="N", exact=True).press("ArrowRight")
    codebook.N = 20_000
    point = codebook.point()
    loss, size = explorer.locator("svg.owners").all()
    decade, lift = {"10": 1, "100": 2}, 4  # the labels of heights stand 4 pixels lower
    across, down = axis(loss, "x", decade), axis(loss, "y", {"0": 0, "0.3": 0.3}, lift)
    base, up = axis(size, "x", {"2k": np.log(2000), "60k": np.log(60_000)}), axis(size, "y", decade, lift)
    for i, owner in enumerate(OWNERS):
        told = [points[f"{owner},{m},4,20000"] for m in (4, 8, 16, 28, 56, 112)]
        x, y = numbers(loss.locator(".curve").nth(i)).T
        np.testing.assert_allclose(down(y), [one["loss"] for one in told], atol=0.001)
        np.testing.assert_allclose(10 ** across(x), [one["bytes"] / 20_000 for one in told], rtol=0.01)
        x, y = numbers(size.locator(".curve").nth(i)).T
        reached = [(n, bytes_) for n, bytes_ in zip(NS, point["needs"][owner], strict=True) if bytes_ is not None]
        np.testing.assert_allclose(np.transpose([np.exp(base(x)), 10 ** up(y)]), reached, rtol=0.01)
    assert down(float(loss.locator(".here").get_attribute("cy"))) == pytest.approx(point["loss"], abs=0.001)
    assert 10 ** up(float(size.locator(".here").get_attribute("cy"))) == pytest.approx(
        point["bytes"] / 20_000, rel=0.01
    )
    assert down(numbers(loss.locator(".rival"))[1, 1]) == pytest.approx(points[point["best"]]["loss"], abs=0.001)
    end = re.findall(r"V([\d.]+)", loss.locator(".known").get_attribute("d"))
    assert down(float(end[0])) == pytest.approx(point["base"], abs=0.001)
