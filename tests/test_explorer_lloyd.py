"""The Lloyd explorer: its points against k-means done otherwise, and its figure against its points."""

import re

import faiss
import numpy as np
import pytest

import mlpq
from mlpq import widgets
from mlpq.widgets.lloyd import N, project
from tests.conftest import ROOT, Opened

FILE = ROOT / "book" / "recorded" / "lloyd.json"
lloyd = pytest.fixture(lambda: widgets.Lloyd(FILE))


def test_points_are_those_of_faiss(ds: mlpq.Dataset) -> None:
    x = project(ds)
    point = widgets.Lloyd.compute(ds, k=6, iteration=5)
    paths = np.array(point["paths"], np.float32).reshape(6, 6, 2)  # centroid, iteration, x and y
    km = faiss.Kmeans(2, 6, niter=5, min_points_per_centroid=1)
    km.train(x, init_centroids=paths[:, 0])
    np.testing.assert_allclose(paths[:, -1], km.centroids, atol=0.2)
    sizes = np.bincount(km.assign(x)[1], minlength=6)
    assert point["largest"] == f"{sizes.max() / N:.2f}"
    assert point["imbalance"] == f"{6 * (sizes / N) @ (sizes / N):.2f}"
    assert (np.diff(np.array(point["inertias"], float)) <= 0).all()


def test_recorded_points_come_out_again(ds: mlpq.Dataset, lloyd: widgets.Lloyd) -> None:
    np.testing.assert_allclose(lloyd.data["shared"]["dots"], widgets.Lloyd.shared(ds)["dots"], atol=1)
    for k, iteration in ((2, 12), (8, 3), (30, 1)):
        stored, point = lloyd.data["points"][f"{k},{iteration}"], widgets.Lloyd.compute(ds, k=k, iteration=iteration)
        # A dot between two centroids may fall to the other side on another processor.
        np.testing.assert_allclose(np.array(stored["inertias"], float), np.array(point["inertias"], float), atol=0.02)
        np.testing.assert_allclose(stored["paths"], point["paths"], atol=30)  # of a map some 4,000 wide


def test_figure_shows_the_point(opened: Opened, lloyd: widgets.Lloyd) -> None:
    explorer = opened("kmeans", "lloyd")
    explorer.get_by_role("slider", name="iteration").press("End")
    explorer.get_by_role("slider", name="clusters k").press("Home")
    lloyd.k, lloyd.iteration = 2, 12
    point = lloyd.point()
    dots = explorer.locator(".map .dots")
    shares = [dots.nth(j).get_attribute("d").count("M") / N for j in range(2)]
    assert sum(shares) == 1
    assert f"{max(shares):.2f}" == point["largest"]
    trails = [trail.get_attribute("points").split() for trail in explorer.locator(".map .trail").all()]
    assert [len(trail) for trail in trails] == [2 * 13, 2 * 13]
    drawn = np.array(trails, float).reshape(2, 13, 2)
    told = np.array(point["paths"]).reshape(2, 13, 2) * (1, -1)  # upwards on the map is downwards on the screen
    scale = (drawn - drawn[0, 0])[1, 0] / (told - told[0, 0])[1, 0]
    np.testing.assert_allclose(drawn - drawn[0, 0], (told - told[0, 0]) * scale, atol=0.5)  # of 320
    assert scale[0] == pytest.approx(scale[1], rel=0.01)
    line = re.findall(r"[\d.]+", explorer.locator(".side .line").get_attribute("points"))
    heights = 1 - (np.array(line[1::2], float) - float(line[1])) / (136 - float(line[1]))
    np.testing.assert_allclose(heights, np.array(point["inertias"], float), atol=0.01)
