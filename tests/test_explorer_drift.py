"""The Drift explorer: its numbers found otherwise, its recorded points, and its figure against them."""

import numpy as np
import pytest

import mlpq
from mlpq import widgets
from mlpq.widgets import drift as module
from mlpq.widgets.drift import KINDS, SEEN, kinds
from tests import reference
from tests.browser import serious_violations
from tests.conftest import NARROW, ROOT, Opened

FILE = ROOT / "book" / "recorded" / "drift.json"
TEXTS = ROOT / "book" / "recorded" / "drift-texts.json"
STAGES = range(2, KINDS + 1)
drift = pytest.fixture(lambda: widgets.Drift(FILE, TEXTS))


class Small(widgets.Drift):
    """The explorer for vectors of 16 numbers; no face for a data set of the book."""

    dataset = "small"
    m, dim, nprobe = 8, 16, 4


@pytest.fixture(scope="module")
def small() -> mlpq.Dataset:
    """Ten kinds, each about a place of its own, by turns."""
    rng = np.random.default_rng(0)
    labels = np.arange(4000) % KINDS
    x = 3 * rng.standard_normal((KINDS, 16))[labels] + rng.standard_normal((4000, 16))
    x = x.astype(np.float32)
    base, asked = labels[:3700].astype(np.uint8), labels[3700:].astype(np.uint8)
    found = mlpq.dataset(x[:3700], x[3700:])
    return mlpq.Dataset("small", found.xb, found.xq, found.gt, found.distances, base, asked)


@pytest.mark.parametrize(("trained", "present"), [("on the first 5", 8), ("anew each time", 8)])
def test_point_is_what_an_index_built_by_hand_says(small: mlpq.Dataset, trained: str, present: int) -> None:
    point = Small.compute(small, trained=trained, present=present)
    seen = min(SEEN[trained], present)
    assert small.labels is not None
    assert small.query_labels is not None
    rows = np.flatnonzero(small.labels < present)
    index = mlpq.MultiLevelPQ(16, module.CELLS, 6, m=8, pca_dim=16).train(small.xb[small.labels < seen])
    index.add(small.xb[rows], ids=rows)
    queries = np.flatnonzero(small.query_labels < present)
    gt = rows[reference.exact(small.xb[rows], small.xq[queries], 10)[1]]
    I = index.search(small.xq[queries], 10, nprobe=4)[1]
    assert point["parts"][0] == pytest.approx(mlpq.recall_at_k(I, gt, 10), abs=1e-3)
    assert sum(point["parts"]) == pytest.approx(1, abs=0.002)
    new = small.query_labels[queries] >= seen
    if trained == "anew each time":
        assert point["unseen"] is None
        assert point["groups"] == ["all", "of kinds seen"]
        assert (point["share"], point["apart"]) == ("0%", "")
        return
    assert point["unseen"] == pytest.approx(mlpq.recall_at_k(I[new], gt[new], 10), abs=1e-3)
    assert point["share"] == f"{(small.labels[rows] >= seen).mean():.0%}"
    assert point["counts"] == [str(n) for n in (len(queries), (~new).sum(), new.sum())]
    x = small.xb[rows]
    error = ((x - index.reconstruct(rows)) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()
    assert float(point["errors"][0]) == pytest.approx(error, abs=0.006)


def test_kinds_of_texts_are_topics_largest_first(words: mlpq.Dataset) -> None:
    base, asked = kinds(words)
    sizes = np.bincount(base)
    assert len(sizes) == KINDS
    assert np.all(np.diff(sizes) <= 0)
    means = np.stack([words.xb[base == kind].mean(axis=0) for kind in range(KINDS)])
    nearest = ((words.xq[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == asked).mean() > 0.9


def test_recorded_points_tell_the_story_of_the_chapter(drift: widgets.Drift) -> None:
    for record in drift.sets.values():
        points = record["points"]
        old, anew = (points[f"{trained},{KINDS}"] for trained in ("on the first 2", "anew each time"))
        assert old["parts"][0] < anew["parts"][0] - 0.02
        assert old["parts"][2] > anew["parts"][2]  # codes lose more
        assert old["unseen"] < float(old["recalls"][1]) - 0.02
        assert float(old["errors"][2]) > float(old["errors"][1])  # known without queries
        for trained in SEEN:
            for present in STAGES:
                point = points[f"{trained},{present}"]
                assert sum(point["parts"]) == pytest.approx(1, abs=0.002)
                assert (point["unseen"] is None) == (SEEN[trained] >= present)


def test_recorded_points_come_out_again(ds: mlpq.Dataset, drift: widgets.Drift) -> None:
    stored = drift.sets["fashion-mnist-20k"]["points"]["on the first 2,3"]
    point = widgets.Drift.compute(ds, trained="on the first 2", present=3)
    np.testing.assert_allclose(point["parts"], stored["parts"], atol=0.02)  # k-means ends elsewhere on other processors
    assert point["counts"] == stored["counts"]


def test_figure_shows_the_points(opened: Opened, drift: widgets.Drift) -> None:
    explorer = opened("production", "drift")
    explorer.get_by_role("combobox", name="trained").select_option("on the first 2")
    fate, lines = explorer.locator("svg.drift").all()
    points = [drift.data["points"][f"on the first 2,{present}"] for present in STAGES]
    room = 240 - 34 - 22  # the axis goes from 206 up to 22
    for i, part in enumerate(("recall", "coarse", "quantization")):
        bars = fate.locator(f"rect.{part}").all()
        heights = np.array([float(bar.get_attribute("height") or 0) for bar in bars])
        np.testing.assert_allclose(heights / room, [point["parts"][i] for point in points], atol=0.002)
        assert fate.locator(f"rect.{part}:not(.faint)").count() == 1
    assert lines.locator("polyline.trail").count() == len(SEEN)
    assert lines.locator("polyline.trail.now").count() == 1
    unseen = lines.locator("polyline.unseen").get_attribute("points") or ""
    assert len(unseen.split()) == KINDS - 2
    explorer.get_by_role("combobox", name="trained").select_option("anew each time")
    assert lines.locator("polyline.unseen").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_reads_on_a_phone_and_in_the_dark(opened: Opened, scheme: str) -> None:
    explorer = opened("production", "drift")
    page = explorer.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(NARROW)
    explorer.get_by_role("combobox", name="vectors").select_option("wordnet-20k")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    for svg in explorer.locator("svg.drift").all():
        box = svg.bounding_box()
        assert box["x"] + box["width"] <= NARROW["width"]
    assert serious_violations(page, without=".highlight", runOnly=["color-contrast"]) == []
