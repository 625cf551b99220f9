"""The Welcome explorer: what the page holds against mlpq, what it finds against NumPy, and drawing by mouse, finger and keys."""

import json
from base64 import b64decode
from itertools import product
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

import mlpq
from mlpq import widgets
from mlpq.widgets.welcome import CELLS, DIM, FIRST, MS, NPROBES, SIDE, K, M, Tables, principal, squares
from tests.browser import SHIFTS, arrive, serious_violations, shifted
from tests.conftest import NARROW, ROOT, Fresh, Opened

FILE = ROOT / "book" / "recorded" / "welcome.json"
RECORD = json.loads(FILE.read_text())
SHARED = RECORD["shared"]
LISTEN = "explorer => explorer.addEventListener('answer', ({ detail }) => { window.answer = detail; }, true)"
LAST = """() => ({ ...window.answer, cells: [...window.answer.cells], query: window.answer.query && [...window.answer.query] })"""
ALL = """(explorer, examples) => {
    const found = [];
    const [m, nprobe] = ["m", "nprobe"].map((name) => explorer.querySelector(`[data-control=${name}]`));
    const set = (input, value) => { input.value = value; input.dispatchEvent(new Event("input")); };
    for (const example of examples) {
        explorer.querySelectorAll(".examples button")[example].click();
        for (let i = 0; i <= m.max; i++) for (let j = 0; j <= nprobe.max; j++) {
            set(m, i);
            set(nprobe, j);
            const { query, cells, ...rest } = window.answer;
            found.push({ ...rest, cells: [...cells], query: [...query], label: explorer.querySelector(".found").ariaLabel });
        }
    }
    return found;
}"""
TROUSERS = [
    [(0.36, 0.1), (0.64, 0.1)],
    [(0.38, 0.1), (0.36, 0.9)],
    [(0.62, 0.1), (0.64, 0.9)],
    [(0.5, 0.1), (0.5, 0.35)],
]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return Tables.read(SHARED)


@pytest.fixture
def explorer(opened: Opened) -> Locator:
    found = opened("welcome", "welcome")
    found.evaluate(LISTEN)
    return found


def draw(explorer: Locator, lines: list[list[tuple[float, float]]], size: float = 1, at: float = 0) -> dict[str, Any]:
    """Draw with the mouse, in shares of the paper; return the answer to the last stroke."""
    page, paper = explorer.page, explorer.locator(".paper")
    paper.scroll_into_view_if_needed()
    box = paper.bounding_box()
    for line in lines:
        places = [
            (box["x"] + (at + size * x) * box["width"], box["y"] + (at + size * y) * box["height"]) for x, y in line
        ]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=12)
        page.mouse.up()
    page.evaluate("new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))")
    return dict(page.evaluate(LAST))


def names(explorer: Locator) -> list[str]:
    return explorer.locator(".found span").all_text_contents()


def test_axes_are_principal_components(ds: mlpq.Dataset, tables: Tables) -> None:
    exact = principal(ds.xb, tables.mean)
    np.testing.assert_allclose(tables.axes, exact, atol=0.002)  # rounded to bytes
    spread = tables.turned(ds.xb).var(axis=0)
    assert (spread[1:] < 1.01 * spread[:-1]).all()


def test_codes_are_those_of_mlpq(ds: mlpq.Dataset, tables: Tables) -> None:
    """From the axes, centroids and codebooks that are recorded, another processor finds nearly every cell and code."""
    y = tables.turned(ds.xb)
    cells = squares(y.astype(float), tables.centroids.astype(float)).argmin(axis=1)
    order = np.argsort(cells, kind="stable")
    assert np.abs(np.bincount(cells, minlength=CELLS) - tables.held.sizes).sum() <= 4
    if (cells[order] == tables.cells).all():
        assert (np.asarray(ds.labels)[order] == tables.held.labels).all()
        codes = tables.quantizer.encode(y[order] - tables.centroids[cells[order]])
        assert (codes != tables.held.codes).mean() < 1e-4
    assert tables.held.codes.shape == (len(ds.xb), M)


def test_residual_codes_lose_what_mlpq_loses(ds: mlpq.Dataset, tables: Tables) -> None:
    """Bytes cost little: tables in float32, trained on the same residuals, are hardly better."""
    y = tables.turned(ds.xb)
    cells = squares(y.astype(float), tables.centroids.astype(float)).argmin(axis=1)
    residuals = y - tables.centroids[cells]
    lost = [
        float(np.square(residuals - pq.decode(pq.encode(residuals))).sum())
        for pq in (tables.quantizer, mlpq.ProductQuantizer(DIM, M, 8).train(residuals))
    ]
    assert lost[0] <= 1.01 * lost[1]


@pytest.mark.parametrize(("m", "nprobe"), [(1, 1), (8, 4), (32, 32)])
def test_recorded_recall_comes_out_again(ds: mlpq.Dataset, tables: Tables, m: int, nprobe: int) -> None:
    point = RECORD["points"][f"{m},{nprobe}"]
    cells = squares(tables.turned(ds.xb).astype(float), tables.centroids.astype(float)).argmin(axis=1)
    order = np.argsort(cells, kind="stable")
    found = [order[tables.search(tables.turned(part), K, m, nprobe)[1]] for part in np.array_split(ds.xq, 10)]
    value, interval = mlpq.recall_interval(np.concatenate(found), ds.gt[:, :K], K)
    assert value == pytest.approx(float(point["recall"]), abs=0.006)
    assert interval == pytest.approx(float(point["interval"]), abs=0.006)
    assert point["recalls"][MS.index(m)] == f"{point['recall']} ± {point['interval']}"


def test_search_of_the_reference_is_that_of_plain_loops(ds: mlpq.Dataset, tables: Tables) -> None:
    y = tables.turned(ds.xq[:2])
    for q, m, nprobe in ((0, 3, 2), (1, 32, 5)):
        near = sorted(range(CELLS), key=lambda c: (((y[q].astype(float) - tables.centroids[c]) ** 2).sum(), c))[:nprobe]
        pairs = []
        for i in np.flatnonzero(np.isin(tables.cells, near)).tolist():
            decoded = tables.centroids[tables.cells[i]].astype(float)
            for j in range(m):
                part = slice(j * DIM // M, (j + 1) * DIM // M)
                decoded[part] += tables.books[tables.held.codes[i, j], part]
            pairs.append((((y[q] - decoded) ** 2).sum(), i))
        D, I = tables.search(y[[q]], K, m, nprobe)
        assert [i for _, i in sorted(pairs)[:K]] == I[0].tolist()
        np.testing.assert_allclose(D[0], [distance for distance, _ in sorted(pairs)[:K]], rtol=1e-5)


def test_page_finds_what_python_finds_at_every_position(explorer: Locator, tables: Tables) -> None:
    """Same ids, but where two codes are equally near to the last digits of float32."""
    examples = (0, 4, 8)
    answers = explorer.evaluate(ALL, examples)
    settings = list(product(examples, MS, NPROBES))
    assert len(answers) == len(settings)
    codes = np.frombuffer(b64decode(SHARED["examples"]["codes"]), np.uint8).reshape(-1, M)
    for (example, m, nprobe), answer in zip(settings, answers, strict=True):
        query = np.array(answer["query"], np.float32)[None]
        cell = np.array(SHARED["examples"]["cells"])[[example]]
        image = tables.images(tables.decoded(cell, codes[[example]], M)).clip(0, 255)
        np.testing.assert_allclose(query, image, atol=0.01)
        D, I = tables.search(tables.turned(query), K, m, nprobe)
        np.testing.assert_allclose(answer["distances"], D[0][: len(answer["ids"])], rtol=1e-4)
        apart = np.array(answer["ids"]) != I[0][: len(answer["ids"])]
        assert apart.sum() <= 2
        near = squares(tables.turned(query).astype(float), tables.centroids.astype(float))[0].argsort(kind="stable")[
            :nprobe
        ]
        assert answer["cells"] == near.tolist()
        assert answer["scanned"] == tables.held.sizes[near].sum()
        assert answer["reads"] == answer["scanned"] * m
        labels = [SHARED["classes"][label] for label in tables.held.labels[answer["ids"]]]
        assert answer["label"] == f"The nearest: {', '.join(labels)}"


def test_work_is_bounded(explorer: Locator) -> None:
    """What an answer takes: entries of tables made and read, for the ten examples, as the page opens and at the most."""
    expect(explorer.locator(".status")).to_contain_text("8 of 128 cells")
    answers = np.array([answer["reads"] for answer in explorer.evaluate(ALL, list(range(10)))]).reshape(10, len(MS), -1)
    assert answers[:, MS.index(16), NPROBES.index(8)].max() < 50_000
    assert answers.max() < 400_000
    assert max(NPROBES) * 256 * DIM <= 1_048_576  # differences that the tables take


def test_drawn_trousers_find_trousers(explorer: Locator) -> None:
    answer = draw(explorer, TROUSERS)
    assert len(answer["ids"]) == K
    assert names(explorer).count("Trouser") >= 8
    expect(explorer.locator(".hint")).to_be_hidden()
    expect(explorer.locator(".examples button[aria-pressed=true]")).to_have_count(0)
    explorer.get_by_role("button", name="Clear").click()
    expect(explorer.locator(".status")).to_contain_text("Nothing is drawn. 20,000 codes wait.")
    expect(explorer.locator(".hint")).to_be_visible()


def test_place_and_size_of_a_drawing_do_not_matter(explorer: Locator) -> None:
    """A closed outline is filled, and all is scaled to the size that the images have."""
    outline = [[(0.15, 0.3), (0.85, 0.3), (0.85, 0.75), (0.15, 0.75), (0.15, 0.3)]]
    queries = []
    for size, at in ((1, 0), (0.6, 0.35)):
        queries.append(np.array(draw(explorer, outline, size, at)["query"]).reshape(SIDE, SIDE))
        explorer.get_by_role("button", name="Clear").click()
    for query in queries:
        assert query.max() == query[12:16, 8:20].min() > 100
        assert (query[:, [0, -1]].max(axis=0) > 0).all()  # the longer side fills the image
        assert query[:3].max() == query[-3:].max() == 0
    assert np.abs(queries[0] - queries[1]).mean() < 12


def test_a_stroke_on_an_example_begins_anew(explorer: Locator) -> None:
    explorer.get_by_role("button", name="Bag").click()
    expect(explorer.get_by_role("button", name="Bag")).to_have_attribute("aria-pressed", "true")
    answer = draw(explorer, [[(0.5, 0.5), (0.5, 0.51)]])
    assert np.array(answer["query"]).max() > 100  # one dab, as large as can be
    expect(explorer.locator(".examples button[aria-pressed=true]")).to_have_count(0)


def test_by_keys(explorer: Locator) -> None:
    page = explorer.page
    explorer.locator("[data-control=nprobe]").focus()
    found = []
    for name in SHARED["classes"]:
        page.keyboard.press("Tab")
        expect(explorer.get_by_role("button", name=name, exact=True)).to_be_focused()
        page.keyboard.press("Enter")
        found.append(names(explorer).count(name))
    assert sum(found) > 60  # of a hundred
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(explorer.locator(".status")).to_contain_text("Nothing is drawn.")
    assert names(explorer) == [""] * K


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(fresh: Fresh, address: str, scheme: str) -> None:
    page = fresh(viewport=NARROW, color_scheme=scheme, has_touch=True)
    page.add_init_script(SHIFTS)
    arrive(page, f"{address}/book/welcome.html")
    explorer = page.locator("[data-explorer=welcome]")
    assert shifted(page) < 0.05
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    paper = explorer.locator(".paper").bounding_box()
    assert paper["y"] + paper["height"] < 900
    before = names(explorer)
    explorer.locator(".paper").tap(position={"x": 60, "y": 80})
    page.wait_for_function("before => JSON.stringify([...document.querySelectorAll('.found span')].map(one => one.textContent)) !== before",
                           arg=json.dumps(before, separators=(",", ":")))  # fmt: skip
    expect(explorer.locator(".found")).to_have_attribute("aria-label", "The nearest: " + ", ".join(names(explorer)))
    assert shifted(page) == 0
    assert serious_violations(page, within="[data-explorer=welcome]") == []
    assert explorer.locator(".paper").evaluate("one => getComputedStyle(one).touchAction") == "none"


def test_first_screen_searches(opened: Opened) -> None:
    """The paper, the results, the controls and what was scanned are seen without scrolling."""
    explorer = opened("welcome", "welcome")
    for part in (".controls", ".paper", ".found", ".status"):
        box = explorer.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 900, part


def test_without_scripts_a_picture_stands_there(fresh: Fresh, html: Any) -> None:
    page = fresh(java_script_enabled=False)
    page.goto((html / "book" / "welcome.html").as_uri())
    picture = page.locator("[data-explorer=welcome] img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 11 * 2 * (SIDE + 4)
    assert len(picture.get_attribute("alt") or "") > 40


def test_picture_is_a_search(ds: mlpq.Dataset) -> None:
    name, picture = widgets.Welcome(FILE).picture()
    assert name == "Boot"
    tiles = picture[::2, ::2].reshape(SIDE + 4, 11, SIDE + 4).transpose(1, 0, 2)[:, 2:-2, 2:-2].reshape(11, -1)
    own = 255 - ds.xq[int(np.flatnonzero(np.asarray(ds.query_labels) == FIRST)[0])]
    assert np.abs(tiles[0] - own).mean() < 15
    assert (np.abs(tiles[1:] - tiles[0].astype(float)).mean(axis=1) < 40).all()
