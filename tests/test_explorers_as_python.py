"""“Copy as Python”: the lines on the clipboard run, and build what the explorer shows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

import mlpq
from mlpq.bench.cases import contest
from tests.conftest import Opened
from tests.test_explorers import CLASSES, HOMES, shown

NAMES = {"search", "meaning", "frontier", "probe", "bytes", "arena"}  # whose settings can be built
LABEL = "Copy as Python"


def copied(explorer: Locator, sets: dict[str, mlpq.Dataset], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Copy by keyboard, and return what the lines have named when they ran, on embedded sets in place of whole ones."""
    page = explorer.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = explorer.get_by_role("button", name=LABEL)
    button.focus()
    page.keyboard.press("Enter")
    expect(explorer.get_by_role("button", name="Copied")).to_be_focused()
    named: dict[str, Any] = {}
    monkeypatch.setattr(mlpq, "load_dataset", lambda name: replace(sets[name.removesuffix("-20k")], name=name))
    exec(page.evaluate("navigator.clipboard.readText()"), named)
    return named


@pytest.fixture
def sets(ds: mlpq.Dataset, words: mlpq.Dataset) -> dict[str, mlpq.Dataset]:
    return {"fashion-mnist": ds, "wordnet": words}


def test_only_what_can_be_built_has_the_button(opened: Opened) -> None:
    for name in CLASSES:
        explorer = opened(next(chapter for chapter, of in HOMES if of == name), name)
        assert explorer.get_by_role("button", name=LABEL).count() == (name in NAMES), name


def test_meaning(opened: Opened, sets: dict[str, mlpq.Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = opened("tour", "meaning")
    explorer.get_by_role("slider", name="m", exact=True).press("End")
    named = copied(explorer, sets, monkeypatch)
    point = shown("meaning", query="Brie", m=48, nbits=8, nprobe=8).point()
    found, index = mlpq.recall_at_k(named["I"], named["ds"].gt, 10), named["index"]
    assert (f"{found:.2f}", f"{index.memory().total / len(sets['wordnet'].xb):,.1f}") == (
        point["recall"],
        point["bytes"],
    )
    explorer.get_by_role("slider", name="m", exact=True).press("Home")
    expect(explorer.get_by_role("button", name=LABEL)).to_be_visible()  # other settings, not copied yet


@pytest.mark.parametrize(("chapter", "name"), [("multi-level-search", "search"), ("choosing", "frontier")])
def test_search_and_frontier(
    opened: Opened, sets: dict[str, mlpq.Dataset], monkeypatch: pytest.MonkeyPatch, chapter: str, name: str
) -> None:
    explorer = opened(chapter, name)
    explorer.get_by_role("combobox", name="vectors").select_option("wordnet")
    explorer.get_by_role("slider", name="nprobe").press("End")
    rerank = explorer.get_by_role("slider", name="rerank")
    if name == "search":
        rerank.press("End")
    model = shown(name, vectors="wordnet")
    named = copied(explorer, sets, monkeypatch)
    index, m = named["index"], int(explorer.locator("[data-control=m]").get_attribute("aria-valuetext"))
    assert (index.m, index.nbits, index.metric, index.keep_originals) == (m, 8, "cosine", name == "search")
    assert (index.clusters.n_inner, index.clusters.n_outer) == (model.data["n_inner"], model.data["n_outer"])
    nprobe, r = model.data["controls"][-2 if name == "search" else -1]["recorded"][-1], 20 if name == "search" else 0
    np.testing.assert_array_equal(index.search(sets["wordnet"].xq, 10, nprobe=nprobe, rerank=r)[1], named["I"])


def test_probe(
    opened: Opened, sets: dict[str, mlpq.Dataset], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    explorer = opened("two-levels", "probe")
    explorer.get_by_role("slider", name="n_outer_probe").press("ArrowRight")
    named = copied(explorer, sets, monkeypatch)
    assert named["km"].probe(named["at"], 5, 2).tolist() == [
        [int(cell) for cell in capsys.readouterr().out.strip(" []\n").split()]
    ]
    point = shown("probe", query=120, nprobe=5, n_outer_probe=2).point()
    scale = np.linalg.norm(point["at"]) / np.linalg.norm(named["at"])
    assert 0.99 < scale < 1.01  # the same place on the map, which may be turned over


def test_bytes(opened: Opened, sets: dict[str, mlpq.Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = opened("bytes", "bytes")
    explorer.get_by_role("slider", name="cells").press("ArrowRight")
    named = copied(explorer, sets, monkeypatch)
    assert f"{named['memory'].total:,}" == shown("bytes", cells=200).rows()[-1][1]


def test_arena(opened: Opened, sets: dict[str, mlpq.Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    named = copied(opened("codes-without-training", "arena"), sets, monkeypatch)
    best = shown("arena", budget=64, reads=5).rows()[0][0]
    case = next(case for case in contest(784) if (case.codec, case.size) == (best, 64))
    index = named["index"]
    assert (named["case"].codec, index.pca_dim, index.code_size + 4) == (best, case.dim, 64)
    assert mlpq.recall_at_k(named["I"], sets["fashion-mnist"].gt, 10) > 0.9


def test_where_the_clipboard_is_forbidden_the_lines_are_selected(opened: Opened) -> None:
    explorer = opened("bytes", "bytes")
    page = explorer.page
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    explorer.get_by_role("button", name=LABEL).click()
    expect(explorer.get_by_role("button", name="Selected: copy by hand")).to_be_visible()
    assert page.evaluate("getSelection().toString()").startswith("import mlpq\n")
    assert len(explorer.locator("pre").all()) == 1
    explorer.get_by_role("slider", name="cells").press("ArrowRight")
    explorer.get_by_role("button", name=LABEL).click()
    assert "200" in page.evaluate("getSelection().toString()")
    assert len(explorer.locator("pre").all()) == 1
