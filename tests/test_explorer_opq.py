"""The Opq explorer: its steps against what defines them, its recorded points, and its figure, played through."""

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

import mlpq
from mlpq import widgets
from mlpq.widgets.opq import DIM, NT, STARTS, STEPS, M, alternated, beginning, path
from mlpq.widgets.rotation import principal
from tests.browser import serious_violations
from tests.conftest import NARROW, ROOT, Opened

FILE = ROOT / "book" / "recorded" / "opq.json"
TEXTS = ROOT / "book" / "recorded" / "opq-texts.json"
opq = pytest.fixture(lambda: widgets.Opq(FILE, TEXTS))


def test_a_turn_is_the_best_for_what_was_decoded() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((600, DIM)) * np.linspace(3, 0.5, DIM)).astype(np.float32)
    steps = alternated(x, beginning(x, "random"))
    start, quantizer = next(steps)
    decoded = quantizer.decode(quantizer.compute_codes(np.ascontiguousarray(x @ start)))
    turn, _ = next(steps)
    np.testing.assert_allclose(turn.T @ turn, np.eye(DIM), atol=1e-4)
    least = np.square(x @ turn - decoded).sum()
    assert least <= np.square(x @ start - decoded).sum()
    for _ in range(20):  # no turn nearby is better
        skew = 0.02 * rng.standard_normal((DIM, DIM))
        other = np.linalg.qr(turn @ (np.eye(DIM) + skew - skew.T))[0]
        other *= np.sign(np.sum(other * turn, axis=0))
        assert np.square(x @ other - decoded).sum() > least


def test_starts_are_what_they_are_called(words: mlpq.Dataset) -> None:
    x = (words.xb[:NT] - words.xb.mean(axis=0)) @ principal(words)[:, :DIM]
    variance = {start: (x @ beginning(x, start)).var(axis=0).reshape(M, -1) for start in STARTS}
    assert np.all(np.diff(variance["PCA in order"].sum(axis=1)) < 0)
    spread = {start: np.ptp(np.log(of).sum(axis=1)) for start, of in variance.items()}
    assert spread["PCA dealt out"] < 0.2 * spread["PCA in order"]
    for of in variance.values():
        assert of.sum() == pytest.approx(x.var(axis=0).sum(), rel=1e-3)


def test_recorded_points_tell_the_story_of_the_chapter(opq: widgets.Opq) -> None:
    for of in opq.sets.values():
        points = of["points"]
        paths = {start: [points[f"{start},{step}"] for step in range(STEPS + 1)] for start in STARTS}
        for steps in paths.values():
            assert np.all(np.diff([point["whole"] for point in steps]) <= 0)
            assert all(abs(sum(point["variance"]) - 1) < 0.001 for point in steps)
            assert all(float(point["unseen"]) > point["whole"] for point in steps)
        last = {start: steps[-1]["whole"] for start, steps in paths.items()}
        assert last["PCA dealt out"] == min(last.values())
        for steps in paths.values():  # variance stays where it is
            first, *_, final = (np.array(point["variance"]) for point in steps)
            assert np.abs(final - first).max() < 0.02
        assert paths["PCA dealt out"][0]["whole"] < paths["random"][-1]["whole"]


def test_recorded_points_come_out_again(words: mlpq.Dataset, opq: widgets.Opq) -> None:
    for step in (0, STEPS):
        stored = opq.sets["wordnet-20k"]["points"][f"random,{step}"]
        point = widgets.Opq.face("wordnet-20k").compute(words, start="random", step=step)
        np.testing.assert_allclose(point["variance"], stored["variance"], atol=0.01)
        np.testing.assert_allclose(point["loss"], stored["loss"], atol=0.005)  # k-means ends elsewhere elsewhere
        assert float(point["unseen"]) == pytest.approx(float(stored["unseen"]), abs=0.01)
    assert path.cache_info().currsize


def heights(svg: Locator, name: str) -> np.ndarray:
    return np.array([float(bar.get_attribute("height")) for bar in svg.locator(f"rect.{name}").all()])


def test_play_goes_through_the_steps_and_the_figure_shows_them(opened: Opened, opq: widgets.Opq) -> None:
    explorer = opened("rotations", "opq")
    bars, lost_bars, lines = explorer.locator("svg.chart").all()
    points = opq.data["points"]
    places = [
        tuple(map(float, place.split(","))) for place in lines.locator("polyline.now").get_attribute("points").split()
    ]
    low, high = (points[f"random,{step}"]["whole"] for step in (STEPS, 0))
    for step, (_, y) in enumerate(places):  # on one scale from the first to the last
        share = (y - places[0][1]) / (places[-1][1] - places[0][1])
        assert high - share * (high - low) == pytest.approx(points[f"random,{step}"]["whole"], abs=0.002)
    explorer.get_by_role("button", name="Play").click()
    expect(explorer.get_by_role("slider", name="step")).to_have_value(str(STEPS))
    expect(explorer.get_by_role("button", name="Play")).to_be_visible()  # it ends there
    point = points[f"random,{STEPS}"]
    drawn, lost = heights(bars, "held"), heights(lost_bars, "lost")
    np.testing.assert_allclose(drawn / drawn[0], np.array(point["variance"]) / point["variance"][0], atol=0.02)
    np.testing.assert_allclose(lost / lost[0], np.array(point["loss"]) / point["loss"][0], atol=0.02)
    circle = lines.locator("circle.chosen")
    at = float(circle.get_attribute("cx")), float(circle.get_attribute("cy"))
    assert at == pytest.approx(places[-1], abs=0.2)
    explorer.get_by_role("combobox", name="start").select_option("PCA in order")
    expect(explorer).to_contain_text(f"{points[f'PCA in order,{STEPS}']['lost']} of the variance is lost")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_reads_on_a_phone_and_in_the_dark(opened: Opened, scheme: str) -> None:
    explorer = opened("rotations", "opq")
    page = explorer.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(NARROW)
    explorer.get_by_role("combobox", name="vectors").select_option("wordnet-20k")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    assert serious_violations(page, within=".mlpq-explorer[data-explorer=opq]", runOnly=["color-contrast"]) == []
