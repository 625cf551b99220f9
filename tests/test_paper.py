"""The book on paper: a few of its pages, printed and joined as all are."""

import io
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser
from pypdf import PdfReader
from pypdf.generic import Destination

from tests import paper
from tests.browser import PAGES, arrive

NAMES = ["book/welcome", "book/exact-search", "book/cheat-sheet", "book/notation", "book/glossary"]


class Printed(NamedTuple):
    """The file, what it is made of, the pages that it links to and lacks, and the text of each sheet."""

    reader: PdfReader
    parts: list[paper.Part]
    lacking: list[str]
    texts: list[str]


@pytest.fixture(scope="module")
def printed(browser: Browser, html: Path, tmp_path_factory: pytest.TempPathFactory) -> Printed:
    file = tmp_path_factory.mktemp("paper") / "book.pdf"
    parts, lacking = paper.make(browser, html, file, NAMES)
    reader = PdfReader(file)
    return Printed(reader, parts, lacking, [sheet.extract_text() for sheet in reader.pages])


def flat(outline: list[Destination | list[Destination]]) -> list[str]:
    """Return the titles of pages and sections beside the text, in order."""
    return [str(one.title) for part in outline for one in (part if isinstance(part, list) else [part])]


def test_contents_name_every_page_and_section(printed: Printed) -> None:
    reader, parts, _, texts = printed
    front = texts[0]
    for part in parts:
        number = int(re.search(rf"{re.escape(part.title)}\s+(\d+)", front)[1])  # type: ignore[index]
        sheet = texts[reader.page_labels.index(str(number))]
        assert part.title in sheet
    titles = [text for part in parts for level, text, _ in part.headings if level < 3]
    assert flat(reader.outline) == titles
    assert len(titles) > 20


def test_sheets_are_numbered(printed: Printed) -> None:
    reader, parts, _, texts = printed
    sheets = sum(len(part.sheets) for part in parts)
    assert reader.page_labels == ["i", *map(str, range(1, sheets + 1))]
    for label, text in zip(reader.page_labels, texts, strict=True):
        assert label in text.split()


def test_links_lead_to_their_place_in_the_file(printed: Printed) -> None:
    reader, parts, lacking, texts = printed
    sheets = {sheet.indirect_reference: number for number, sheet in enumerate(reader.pages)}
    links = [note.get_object() for sheet in reader.pages for note in sheet.get("/Annots", [])]
    inside = [link["/Dest"] for link in links if "/Dest" in link]
    outside = [link["/A"]["/URI"] for link in links if "/Dest" not in link]
    assert len(inside) > 50
    assert all(url.startswith("https://") for url in outside)
    assert {"book/tour", "book/lab"} <= set(lacking) <= set(PAGES)  # not printed here
    assert not {*NAMES} & {*lacking}
    glossary = parts[NAMES.index("book/glossary")]
    at, _, top = glossary.places["term-codebook"]
    assert (1 + glossary.first + at, round(top)) in {(sheets[to[0]], round(float(to[3]))) for to in inside}
    assert "codebook" in texts[1 + glossary.first + at]


def test_the_cheat_sheet_is_one_sheet(printed: Printed, browser: Browser, html: Path) -> None:
    """In the book on paper, and when a reader prints the page."""
    assert len(printed.parts[NAMES.index("book/cheat-sheet")].sheets) == 1
    page = browser.new_page()
    arrive(page, (html / "book" / "cheat-sheet.html").as_uri())
    margin = dict.fromkeys(("top", "right", "bottom", "left"), "10mm")
    (sheet,) = PdfReader(io.BytesIO(page.pdf(format="A4", margin=margin))).pages
    assert "RFlat" in sheet.extract_text()  # in the last line


def test_solutions_and_figures_are_there(printed: Printed, html: Path) -> None:
    reader, parts, _, texts = printed
    chapter = parts[NAMES.index("book/exact-search")]
    its = slice(1 + chapter.first, 1 + chapter.first + len(chapter.sheets))
    text = "".join(texts[its])
    for number in (1, 2, 3):
        assert f"Solution {number}:" in text
    assert "Show code cell" not in text
    figures = set(re.findall(r'src="\.\./_images/([^"]+\.png)"', (html / "book" / "exact-search.html").read_text()))
    drawn = [one for sheet in reader.pages[its] for one in sheet["/Resources"].get("/XObject", {}).values()]
    assert sum(one.get_object()["/Subtype"] == "/Image" for one in drawn) >= len(figures) >= 3


def test_what_is_cut_is_refused(browser: Browser) -> None:
    page = browser.new_page(viewport={"width": paper.WIDTH, "height": 1200})
    table = "<article><section><table><tr><td style='min-width: {}px'>x</td></tr></table></section></article>"
    page.set_content(table.format(1000))  # made smaller
    assert paper.print_sheets(page, "narrow", 0)
    page.set_content(table.format(5000))
    with pytest.raises(AssertionError, match="wider than paper"):
        paper.print_sheets(page, "wide", 0)
