"""The Arena explorer: its points against the record, its verdicts, its figure read."""

import json

import pytest

from mlpq.bench import arena
from mlpq.bench.cases import BUDGETS
from mlpq.widgets import Arena
from mlpq.widgets import arena as module
from tests.conftest import ROOT, Opened

RECORDED = ROOT / "book" / "recorded"
FILES = {"fashion-mnist": RECORDED / "arena.json", "wordnet": RECORDED / "arena-texts.json"}
each = pytest.mark.parametrize("dataset", FILES)
LEARNS = ("codebooks or turn", "mean or range")
MARKS = """(explorer, kind) => [...explorer.querySelectorAll(`.chart path.${kind}:not(.faint)`)]
    .map(path => (path.getAttribute("d").match(/M/g) ?? []).length)"""


@each
def test_points_are_rows_of_the_record(dataset: str) -> None:
    points = json.loads(FILES[dataset].read_text())["points"]
    assert FILES[dataset].stat().st_size < 80_000
    rows = [row for row in arena.rows(str(RECORDED / "contest.json")) if row["dataset"] == dataset and "recall" in row]
    for budget in BUDGETS:
        own = {row["codec"]: row for row in rows if row["size"] == budget}
        for reads in module.READS:
            point = points[f"{budget},{reads}"]
            if not own:
                assert "not measured" in point["error"]
                continue
            assert set(point["codecs"]) == set(own)
            assert point["recalls"] == sorted(point["recalls"], reverse=True)
            for i, codec in enumerate(point["codecs"]):
                value, interval = module.recall(own[codec], reads)
                assert point["found"][i] == f"{value:.3f} ± {interval:.3f}"
                assert point["bytes"][i] == str(own[codec]["per_vector"])
                assert point["kb"][i] == pytest.approx(own[codec]["read"][reads] / 1e3, abs=0.06)


def test_more_originals_find_more_and_cost_more() -> None:
    for file in FILES.values():
        points = json.loads(file.read_text())["points"]
        for before, after in zip(module.READS, module.READS[1:], strict=False):
            few, many = points[f"64,{before}"], points[f"64,{after}"]
            for i, codec in enumerate(few["codecs"]):
                j = many["codecs"].index(codec)
                assert many["recalls"][j] >= few["recalls"][i]
                assert many["kb"][j] > few["kb"][i]


def row(codec: str, recall: float) -> dict[str, object]:
    return {"codec": codec, "recall": recall, "interval": 0.01, "reranked": {"5": (recall, 0.01)}}


@pytest.mark.parametrize(
    ("trained", "plain", "verdict"),
    [
        (0.8, 0.7, "Training wins by 0.100."),
        (0.7, 0.8, "No training wins by 0.100."),
        (0.8, 0.795, "Too close to tell apart."),
    ],
)
def test_verdicts(trained: float, plain: float, verdict: str) -> None:
    found = sorted(
        [(trained, 0.01, row("opq", trained)), (plain, 0.01, row("sq4", plain))], reverse=True, key=lambda one: one[0]
    )
    said = module._said(found, 5)
    assert said.startswith(f"Of the trained codes opq {trained:.3f} ± 0.010, of the others sq4 {plain:.3f}")
    assert said.endswith(f"after reranking 50 candidates. {verdict}")
    assert module._said(found[:1], 0).endswith("by codes alone.")


def test_figure_shows_every_codec_in_both_charts(opened: Opened) -> None:
    explorer = opened("codes-without-training", "arena")
    point = Arena(*FILES.values(), reads=5).point()  # as the chapter opens it
    counts = [point["learns"].count(what) for what in LEARNS]
    for kind, count in zip(("learned", "plain"), counts, strict=True):
        assert explorer.evaluate(MARKS, kind) == [count, count]
    best = [point["codecs"][point["learns"].index(what)] for what in LEARNS]
    assert explorer.locator(".chart text.name").all_text_contents() == best * 2
    explorer.get_by_role("slider", name="rerank r").press("Home")
    point = Arena(*FILES.values(), reads=0).point()
    assert (
        explorer.locator(".chart text.name").first.text_content() == point["codecs"][point["learns"].index(LEARNS[0])]
    )
