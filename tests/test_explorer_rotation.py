"""The Rotation explorer: its losses and recall found otherwise, its recorded points, and its figure against them."""

import re

import numpy as np
import pytest
from playwright.sync_api import Locator

import mlpq
from mlpq import widgets
from mlpq.widgets.rotation import AXES, NQ, K, principal, turned
from tests import reference
from tests.browser import serious_violations
from tests.conftest import NARROW, ROOT, Opened

FILE = ROOT / "book" / "recorded" / "rotation.json"
TEXTS = ROOT / "book" / "recorded" / "rotation-texts.json"
rotation = pytest.fixture(lambda: widgets.Rotation(FILE, TEXTS))


@pytest.fixture(scope="module")
def small() -> mlpq.Dataset:
    """Vectors whose numbers have unlike variances and go together in threes."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((3000, 8)), 3, axis=1) + 0.3 * rng.standard_normal((3000, 24))
    x *= np.linspace(3, 1, 24)
    return mlpq.dataset(x[:2700].astype(np.float32), x[2700:].astype(np.float32))


@pytest.mark.parametrize("axes", AXES)
def test_axes_keep_distances(small: mlpq.Dataset, axes: str) -> None:
    base, queries = turned(small, axes, 8)
    assert len(queries) == min(NQ, len(small.xq))
    D, I = reference.exact(base, queries[:20], K)
    np.testing.assert_allclose(D, small.distances[:20, :K], rtol=1e-3)
    assert np.array_equal(I, small.gt[:20, :K])


def test_axes_are_what_they_are_called(small: mlpq.Dataset) -> None:
    variance = {axes: turned(small, axes, 8)[0].var(axis=0) for axes in AXES}
    assert np.allclose(np.sort(variance["shuffled"]), np.sort(variance["as they are"]), rtol=1e-3)
    assert not np.allclose(variance["shuffled"], variance["as they are"], rtol=1e-3)
    assert np.all(np.diff(variance["PCA in order"]) <= 1e-4)
    assert np.allclose(np.sort(variance["PCA dealt out"])[::-1], variance["PCA in order"], rtol=1e-2)
    products = [np.log(v).reshape(8, -1).sum(axis=1) for v in (variance["PCA dealt out"], variance["PCA in order"])]
    assert np.ptp(products[0]) < 0.3 * np.ptp(products[1])
    basis = principal(small)
    np.testing.assert_allclose(basis.T @ basis, np.eye(24), atol=1e-4)


@pytest.mark.parametrize("axes", ["as they are", "PCA in order"])
def test_loss_and_recall_are_those_of_a_loop(small: mlpq.Dataset, axes: str) -> None:
    point = widgets.Rotation.compute(small, axes=axes, m=8)
    base, queries = turned(small, axes, 8)
    pq = mlpq.ProductQuantizer(24, 8).train(base)
    known, restored = pq.decode(pq.encode(base)), pq.decode(pq.encode(queries))
    whole = (queries**2).sum()
    for j in range(8):
        part = slice(3 * j, 3 * j + 3)
        assert point["variance"][j] == pytest.approx((queries[:, part] ** 2).sum() / whole, abs=1e-4)
        assert point["loss"][j] == pytest.approx(((queries - restored)[:, part] ** 2).sum() / whole, abs=1e-4)
    found = [np.argsort(((known - q) ** 2).sum(axis=1), kind="stable")[:K] for q in queries]
    hits = [len(set(f) & set(t[:K])) for f, t in zip(found, small.gt, strict=False)]
    assert point["found"] == pytest.approx(np.mean(hits) / K, abs=0.005)
    assert point["most"] == f"{max(point['variance']):.2f}"
    assert sum(point["variance"]) == pytest.approx(1, abs=1e-3)


def test_recorded_points_tell_the_story_of_the_chapter(rotation: widgets.Rotation) -> None:
    images, texts = (rotation.sets[name]["points"] for name in ("fashion-mnist-20k", "wordnet-20k"))
    for m in (8, 16, 28):
        found = {axes: images[f"{axes},{m}"]["found"] for axes in AXES}
        assert found["PCA in order"] < found["random"] < found["shuffled"] < found["as they are"]
    for m in (8, 16, 32):
        found = {axes: texts[f"{axes},{m}"]["found"] for axes in AXES}
        assert found["PCA in order"] < min(found[axes] for axes in AXES if axes != "PCA in order") - 0.03
        assert abs(found["random"] - found["as they are"]) < 0.02
        assert found["PCA dealt out"] > found["as they are"]
    for points in (images, texts):
        for name, point in points.items():
            assert sum(point["variance"]) == pytest.approx(1, abs=0.003), name
            assert float(point["lost"]) == pytest.approx(sum(point["loss"]), abs=0.006), name
            assert np.all(np.array(point["loss"]) <= np.array(point["variance"]) + 1e-3)


@pytest.mark.parametrize(("axes", "m"), [("as they are", 8), ("PCA in order", 16), ("random", 8)])
def test_recorded_points_come_out_again(words: mlpq.Dataset, rotation: widgets.Rotation, axes: str, m: int) -> None:
    stored = rotation.sets["wordnet-20k"]["points"][f"{axes},{m}"]
    point = widgets.Rotation.face("wordnet-20k").compute(words, axes=axes, m=m)
    np.testing.assert_allclose(point["variance"], stored["variance"], atol=0.002)
    np.testing.assert_allclose(point["loss"], stored["loss"], atol=0.003)  # k-means ends elsewhere on other processors
    assert point["found"] == pytest.approx(stored["found"], abs=0.02)


def heights(svg: Locator, name: str) -> np.ndarray:
    return np.array([float(bar.get_attribute("height")) for bar in svg.locator(f"rect.{name}").all()])


def test_figure_shows_the_point(opened: Opened, rotation: widgets.Rotation) -> None:
    explorer = opened("rotations", "rotation")
    explorer.get_by_role("combobox", name="axes").select_option("PCA in order")
    explorer.get_by_role("slider", name="m", exact=True).press("ArrowRight")
    rotation.axes, rotation.m = "PCA in order", 16
    point, points = rotation.point(), rotation.data["points"]
    held, lost, ranks = explorer.locator("svg.turned").all()
    room = 186 - 22  # the axis goes from 186 up to 22
    most = 1.1 * max(point["variance"])
    np.testing.assert_allclose(heights(held, "held") / room * most, point["variance"], atol=0.002)
    np.testing.assert_allclose(heights(held, "lost") / room * most, point["loss"], atol=0.002)
    scale = 1.1 * max(max(points[f"{axes},16"]["loss"]) for axes in AXES)  # the same for all axes
    np.testing.assert_allclose(heights(lost, "lost") / room * scale, point["loss"], atol=0.002)
    long = [float(bar.get_attribute("width")) for bar in ranks.locator("rect").all()]
    told = [points[f"{axes},16"]["found"] for axes in AXES]
    np.testing.assert_allclose(np.array(long) / long[0], np.array(told) / told[0], atol=0.01)
    assert ranks.locator("rect.chosen").count() == 1
    assert re.findall(r"PCA in order (0\.\d\d)", ranks.get_attribute("aria-label")) == [point["recall"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_reads_on_a_phone_and_in_the_dark(opened: Opened, scheme: str) -> None:
    explorer = opened("rotations", "rotation")
    page = explorer.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(NARROW)
    explorer.get_by_role("combobox", name="vectors").select_option("wordnet-20k")
    explorer.get_by_role("combobox", name="axes").select_option("OPQ")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    for svg in explorer.locator("svg.turned").all():
        box = svg.bounding_box()
        assert box["x"] + box["width"] <= NARROW["width"]
    assert serious_violations(page, within=".mlpq-explorer", runOnly=["color-contrast"]) == []
