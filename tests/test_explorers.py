"""All explorers: driven by keyboard and mouse in the built book, what they say against what Python says."""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
import traitlets
from playwright.sync_api import Locator, expect

import mlpq
from mlpq import widgets
from mlpq.widgets import base
from tests.browser import Watched, arrive
from tests.conftest import ROOT, WIDE, Fresh, Opened

CLASSES = {cls.explorer: cls for cls in widgets.EXPLORERS}
CHAPTERS = {path.stem: path.read_text() for path in sorted((ROOT / "book").glob("*.ipynb"))}
IN_CHAPTERS = [
    (chapter, name) for chapter, text in CHAPTERS.items() for name in re.findall(r'data-explorer=\\"(\w+)', text)
    if name != "lab"  # which has no recorded settings, and tests of its own
]  # fmt: skip
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "book").glob("*.md"))}
ON_PAGES = [
    (page, name) for page, text in PAGES.items() for name in re.findall(r"^```{explorer} (\w+)$", text, re.MULTILINE)
]
HOMES = IN_CHAPTERS + ON_PAGES
everywhere = pytest.mark.parametrize(("chapter", "name"), HOMES, ids=[":".join(home) for home in HOMES])
each = pytest.mark.parametrize("name", CLASSES)


def recorded(name: str) -> Path:
    return ROOT / "book" / "recorded" / f"{name}.json"


IN_A_BROWSER = {"kernel": "tests.kernel"}  # recorded by the page itself

FILES = {name: [recorded(name), *recorded(name).parent.glob(f"{name}-texts.json")] for name in CLASSES}


def shown(name: str, **values: Any) -> widgets.Explorer:
    """An explorer as the book has it, with all that is recorded."""
    return CLASSES[name](*FILES[name], **values)


def stored_twin(chapter: str, name: str) -> str:
    if (chapter, name) in ON_PAGES:  # made when the book is built
        return shown(name).twin()
    cells = nbformat.reads(CHAPTERS[chapter], as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", []) if "data" in output]
    twins = [output["data"]["text/html"] for output in outputs if "text/html" in output["data"]]
    return next(twin for twin in twins if f'data-explorer="{name}"' in twin)


def state(chapter: str, name: str) -> dict[str, Any]:
    """What the explorer of a chapter is set to at first."""
    stored = json.loads(re.search(r'<script type="application/json">(.*)</script>', stored_twin(chapter, name))[1])
    assert list(stored.pop("sets")) == list(shown(name).sets)
    return stored


def test_every_explorer_has_a_home() -> None:
    assert {name for _, name in HOMES} == set(CLASSES)


def test_make_records_all() -> None:
    made = dict(re.findall(r"^(EXPLORERS|TEXTS) := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert made["EXPLORERS"].split() == [name for name in CLASSES if name not in IN_A_BROWSER]
    with_texts = [name for name, files in FILES.items() if len(files) > 1]
    assert made["TEXTS"].split() == with_texts == [name for name, cls in CLASSES.items() if cls.faces]


def test_answers_were_quick_enough_when_measured() -> None:
    record = json.loads((ROOT / "book" / "recorded" / "latency.json").read_text())
    assert [(row["chapter"], row["explorer"]) for row in record["rows"]] == HOMES
    for row in record["rows"]:
        assert row["changed"]["median"] <= 16
        assert row["changed"]["worst"] <= 50
    (stroke,) = (row["stroke"] for row in record["rows"] if row["explorer"] == "welcome")
    assert stroke["median"] <= 16


def test_pages_load_the_scripts_of_their_own_explorers_only(html: Path) -> None:
    for path in (html / "book").glob("*.html"):
        loaded = re.findall(r'src="[^"]*_static/explorers/(\w+)\.js', path.read_text())
        names = {name for chapter, name in [*HOMES, ("lab", "lab")] if chapter == path.stem}
        assert sorted(loaded) == sorted(names | {"host"} if names else set()), path.stem


@each
def test_sizes(name: str) -> None:
    script = len(base.source(name).encode())
    common = len((base.STYLE + (base.FOLDER / "host.js").read_text()).encode())
    assert script <= (36_000 if name == "welcome" else 20_000)  # with the engine
    for file in FILES[name]:
        page = len(CLASSES[name](file).twin().encode()) + script + common
        most = 1_200_000 if name == "welcome" else 1_010_000 if name in ("search", "meaning") else 300_000
        assert page <= most, file


@pytest.mark.parametrize("file", [file for files in FILES.values() for file in files], ids=lambda file: file.stem)
def test_recorded_grid_is_complete(file: Path) -> None:
    record = json.loads(file.read_text())
    name, dataset = record["explorer"], record["dataset"]
    cls, more = CLASSES[name].face(dataset), " --texts" if file.stem.endswith("-texts") else ""
    recorder = IN_A_BROWSER.get(name, f"mlpq.widgets {name}")
    assert record["command"] == f"python -m {recorder} book/recorded/{file.name}{more}"
    assert {"machine", "python", "numpy", "faiss", "threads"} < set(record)
    assert dataset == cls.dataset
    assert set(record["points"]) == {base.key(values) for values in cls.grid()}
    for control in cls.controls:
        assert set(control.recorded) <= set(control.possible or control.recorded)
        assert getattr(CLASSES[name](file), control.name) in control.recorded


@everywhere
def test_stored_output_is_what_the_class_makes(chapter: str, name: str) -> None:
    assert stored_twin(chapter, name) == shown(name, **state(chapter, name)).twin()


class Driver:
    """Reads and drives one explorer, and knows what Python says for the same values."""

    def __init__(self, explorer: Locator, name: str) -> None:
        self.explorer, self.model = explorer, shown(name)

    @property
    def controls(self) -> list[base.Control]:
        return [base.Control(**control) for control in self.model.data["controls"]]

    def input(self, control: base.Control) -> Locator:
        role = "combobox" if isinstance(control.recorded[0], str) else "slider"
        return self.explorer.get_by_role(role, name=control.label, exact=True)

    def choose(self, vectors: str) -> None:
        """Choose a data set, in the page and in Python: values that both have stay, others move to the same place."""
        self.explorer.get_by_role("combobox", name="vectors").select_option(vectors)
        self.model.vectors = vectors
        before = self.model.values
        self.check()
        assert self.model.values == before

    def check(self) -> None:
        """Compare the sentence and the table with Python's, all read at once."""
        seen = self.read()
        for control, (index, label) in zip(self.controls, seen["controls"], strict=True):
            self.model.set_trait(control.name, control.recorded[index])
            shown = (control.words or {}).get(str(control.recorded[index]), str(control.recorded[index]))
            assert shown in label
        point = self.model.point()
        expected = point["error"] if "error" in point else self.model.words()
        if seen["say"] != expected:  # not yet: it is drawn with the next frame
            expect(self.explorer.locator(".say")).to_have_text(expected)
            seen = self.read()
        if "error" not in point:
            assert seen["rows"] == self.model.rows()

    def read(self) -> dict[str, Any]:
        """Return what stands in the explorer: place and label of each control, the sentence, the table."""
        return dict(self.explorer.evaluate(READ, [control.name for control in self.controls]))

    def keyboard(self) -> None:
        """Reach every control by the tab key, and move it to its ends and between."""
        page = self.explorer.page
        self.input(self.controls[0]).focus()
        for control in self.controls:
            assert page.evaluate("document.activeElement.dataset.control") == control.name
            for press in ("End", "ArrowLeft", "ArrowLeft", "Home", "ArrowRight"):
                page.keyboard.press(press)
                self.check()
            page.keyboard.press("Tab")
            if control.play:
                page.keyboard.press("Tab")
        for own in self.explorer.locator(".figure button").all():
            expect(own).to_be_focused()
            page.keyboard.press("Tab")
        button = self.explorer.get_by_role("button", name="Show as a table")
        expect(self.explorer.locator("table")).to_be_hidden()
        expect(button).to_be_focused()
        page.keyboard.press("Enter")
        expect(self.explorer.locator("table")).to_be_visible()

    def mouse(self) -> None:
        """Click into every slider at two places, and choose from every list."""
        for control in self.controls:
            place = self.input(control)
            if isinstance(control.recorded[0], str):
                place.select_option(index=len(control.recorded) - 1)
                self.check()
                continue
            for share in (0.9, 0.4):
                size = place.bounding_box()
                place.click(position={"x": share * size["width"], "y": size["height"] / 2})
                self.check()


@everywhere
def test_every_control_works(fresh: Fresh, html: Path, chapter: str, name: str) -> None:
    """From disk, where browsers allow least; `test_book` has every explorer answer over http."""
    watched = Watched(fresh(viewport=WIDE), html.as_uri())
    arrive(watched.page, (html / "book" / f"{chapter}.html").as_uri())
    explorer = watched.page.locator(f'.mlpq-explorer[data-explorer="{name}"]')
    expect(explorer.locator(".say")).to_have_attribute("aria-live", "polite")
    driver = Driver(explorer, name)
    driver.check()
    before = explorer.locator(".figure").evaluate(LOOKS)
    driver.keyboard()
    driver.mouse()
    assert explorer.locator(".figure").evaluate(LOOKS) != before
    assert explorer.get_by_role("combobox", name="vectors").count() == (len(driver.model.sets) > 1)
    for other in list(driver.model.sets)[1:]:
        driver.choose(other)
        assert watched.page.evaluate("document.activeElement.dataset.control") == "vectors"
        expect(explorer.locator("table")).to_be_visible()  # as it was before
        driver.mouse()
        driver.choose(next(iter(driver.model.sets)))
    assert watched.problems == []


READ = """(explorer, names) => ({
    controls: names.map(name => explorer.querySelector(`[data-control="${name}"]`)).map(input =>
        [input.selectedIndex ?? Number(input.value), input.parentElement.innerText]),
    say: explorer.querySelector(".say").textContent,
    rows: [...explorer.querySelectorAll("tbody tr")].map(row => [...row.cells].map(cell => cell.textContent)),
})"""
LOOKS = """figure => figure.outerHTML
    + [...figure.querySelectorAll("canvas")].map(canvas => canvas.toDataURL()).join()"""


@everywhere
def test_fits_a_phone_and_prints_figure_and_table(fresh: Fresh, html: Path, chapter: str, name: str) -> None:
    page = fresh(viewport={"width": 360, "height": 800})
    arrive(page, (html / "book" / f"{chapter}.html").as_uri())
    explorer = page.locator(f'.mlpq-explorer[data-explorer="{name}"]')
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for part in explorer.locator("input, select, button, .figure > *").all():
        box = part.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    sizes = explorer.locator("svg text").evaluate_all(
        "texts => texts.map(text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)"
    )
    assert min(sizes, default=11) >= 10
    page.set_viewport_size(WIDE)
    page.emulate_media(media="print")
    expect(explorer.locator("table")).to_be_visible()
    expect(explorer.locator(".figure")).to_be_visible()
    for button in explorer.locator("button").all():
        expect(button).to_be_hidden()


@everywhere
def test_without_scripts_words_and_table_remain(fresh: Fresh, html: Path, chapter: str, name: str) -> None:
    page = fresh(java_script_enabled=False)
    page.goto((html / "book" / f"{chapter}.html").as_uri())
    explorer = page.locator(f'.mlpq-explorer[data-explorer="{name}"]')
    model = shown(name, **state(chapter, name))
    expect(explorer.get_by_text(model.words())).to_be_visible()
    expect(explorer.locator("table")).to_be_visible()
    assert explorer.locator("tbody tr").count() == len(model.rows())
    assert explorer.locator("input, select, button").count() == 0


def test_values_are_checked() -> None:
    lloyd = widgets.Lloyd(recorded("lloyd"), k=8)
    with pytest.raises(traitlets.TraitError, match=r"k must be one of 2, 3, .*, 40; got 41"):
        lloyd.k = 41
    assert lloyd.k == 8
    with pytest.raises(traitlets.TraitError, match="iteration must be one of"):
        widgets.Lloyd(recorded("lloyd"), iteration=99)
    with pytest.raises(FileNotFoundError):
        widgets.Lloyd(ROOT / "nothing.json")


def test_data_sets_are_checked_and_values_move() -> None:
    search = shown("search", nbits=4, m=56)
    with pytest.raises(traitlets.TraitError, match="vectors must be one of fashion-mnist, wordnet; got audio"):
        search.vectors = "audio"
    assert (search.vectors, search.m) == ("fashion-mnist", 56)
    search.vectors = "wordnet"
    assert search.values == {"query": "Brie", "m": 48, "nbits": 4, "nprobe": 1, "rerank": 0}
    search.vectors = "fashion-mnist"
    assert search.values == {"query": "T-shirt", "m": 56, "nbits": 4, "nprobe": 1, "rerank": 0}
    assert repr(shown("probe", vectors="wordnet-20k")).startswith("Probe(vectors='wordnet-20k', query=")


def test_lloyd_plays_to_its_end(opened: Opened) -> None:
    explorer = opened("kmeans", "lloyd")
    slider = explorer.get_by_role("slider", name="iteration")
    slider.press("End")
    slider.press("ArrowLeft")
    explorer.get_by_role("button", name="Play").click()
    expect(slider).to_have_value(slider.get_attribute("max"))
    expect(explorer.get_by_role("button", name="Play")).to_be_visible()  # it has stopped
    explorer.get_by_role("button", name="Play").click()
    expect(slider).to_have_value("0")
    explorer.get_by_role("button", name="Stop").click()
    assert int(slider.input_value()) < 5


def test_a_file_of_another_explorer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"explorer": "codec"}')
    with pytest.raises(ValueError, match="was recorded for 'codec', not for 'lloyd'"):
        widgets.Lloyd(tmp_path / "other.json")


def test_kernel_answers_what_is_not_recorded(ds: mlpq.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    lloyd, sent = widgets.Lloyd(recorded("lloyd")), []
    monkeypatch.setattr(lloyd, "send", sent.append)
    lloyd._handle_custom_msg({"ask": {"k": 5, "iteration": 20}, "vectors": ds.name}, [])
    assert sent.pop() == {"vectors": ds.name, "key": "5,20", "point": widgets.Lloyd.compute(ds, k=5, iteration=20)}
    lloyd._handle_custom_msg({"ask": {"k": 0, "iteration": 20}, "vectors": ds.name}, [])
    assert sent.pop()["error"].startswith("ValueError: ")


def test_data_cannot_end_the_script() -> None:
    lloyd = widgets.Lloyd(recorded("lloyd"))
    lloyd.sets = {lloyd.vectors: lloyd.data | {"note": "</script><b>"}}
    assert lloyd.twin().count("</script>") == 1
