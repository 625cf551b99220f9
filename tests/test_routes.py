"""Ways through the book: minutes, the map, cards, and the index of words, all from what the chapters say."""

import re
import sys
from html import unescape
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.browser import arrive
from tests.conftest import NARROW, ROOT, Fresh

sys.path.append(str(ROOT / "book" / "extensions"))
import chapters as told

FITS = """boxes => boxes.map(box => {
    const [outer, inner] = ["rect", "text"].map(part => box.querySelector(part).getBoundingClientRect());
    return inner.left >= outer.left && inner.right <= outer.right && inner.top >= outer.top && inner.bottom <= outer.bottom;
})"""
HIGH = "text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a"


def test_minutes_are_those_of_the_words(tmp_path: Path) -> None:
    words, more = (new_markdown_cell("word " * 700) for _ in range(2))
    nbformat.write(new_notebook(cells=[words, new_code_cell("x = 1\n" * 500), more]), tmp_path / "page.ipynb")
    (tmp_path / "short.md").write_text("Few words.")
    assert told.minutes(told.page_of(tmp_path, "page")) == 7
    assert told.minutes(told.page_of(tmp_path, "short")) == 1


def test_what_goes_without_saying_is_left_out() -> None:
    needed = {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("a", "c")}
    assert told.nearest(needed) == {("a", "b"), ("b", "c"), ("c", "d")}


def test_chapters_need_only_what_comes_before() -> None:
    numbers = {one.name: one.number for one in told.chapters(ROOT)}
    assert list(numbers.values()) == list(range(1, len(numbers) + 1))
    for one in told.chapters(ROOT):
        assert all(numbers[name] < one.number for name in one.needs), one.name
        assert one.number == 1 or one.needs
        assert one.can.endswith(".")


def test_map_and_cards_show_every_chapter(fresh: Fresh, html: Path) -> None:
    page = fresh(viewport=NARROW)
    arrive(page, (html / "book" / "chapters.html").as_uri())
    boxes = page.locator(".chapter-map a")
    names = [one.name for one in told.chapters(ROOT)]
    drawn = boxes.evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert drawn == [f"{name}.html" for name in names]
    assert all(boxes.evaluate_all(FITS))
    assert page.locator(".chapter-map text").first.evaluate(HIGH) > 10.9
    lines = page.locator(".chapter-map path").get_attribute("d") or ""
    assert lines.count("M") == len(told.nearest({one.name: one.needs for one in told.chapters(ROOT)}))
    cards = page.locator("article .sd-card").all_inner_texts()
    for one, card in zip(told.chapters(ROOT), cards, strict=True):
        minutes = told.minutes(ROOT / "book" / f"{one.name}.ipynb")
        assert card.startswith(f"{one.number}. ")
        assert f" {minutes} minutes" in card
        assert f'class="minutes">{minutes} minutes<' in (html / "book" / f"{one.name}.html").read_text()


def test_routes_say_how_long_they_take(html: Path) -> None:
    text = unescape(re.sub(r"<[^>]+>", "", (html / "book" / "welcome.html").read_text()))
    hour = text.split("in an hour")[1].split("in a weekend")[0]
    minutes = [int(number) for number in re.findall(r"(\d+) minutes", hour)]
    assert minutes == [
        told.minutes(ROOT / "book" / f"{name}.ipynb") for name in ("tour", "lab", "choosing", "what-to-use")
    ]
    assert 30 <= sum(minutes) <= 60


@pytest.mark.parametrize(
    ("word", "section"),
    [
        ("residual", "residuals.html#what-residuals-buy"),
        ("fast scan", "registers.html#fast-scan-from-nothing"),
        ("drift", "production.html#drift-codebooks-grow-old"),
        ("LOPQ", "residuals.html#three-owners-from-ivfadc-to-lopq"),
        ("refine", "multi-level-search.html#rerank-exact-distances-for-a-few-refine"),
    ],
)
def test_index_leads_from_words_to_sections(html: Path, word: str, section: str) -> None:
    assert f'href="book/{section}"' in indexed(html)[word]


def test_index_holds_the_glossary(html: Path) -> None:
    found = indexed(html)
    glossary = (html / "book" / "glossary.html").read_text()
    assert len(found) == len(re.findall(r'<dt id="term-', glossary)) > 70
    assert [word for word, sections in found.items() if not sections] == []
    assert "genindex.html" in glossary


def indexed(html: Path) -> dict[str, str]:
    """Return the words of the glossary in the index, each with the list of its sections."""
    entry = r'<li><a href="book/glossary\.html#term-[^"]*"><strong>([^<]*)</strong></a>\s*(<ul>.*?</ul>)?'
    return dict(re.findall(entry, (html / "genindex.html").read_text(), re.DOTALL))
