"""The index of symptoms, and all links to sections: each leads to a heading, each thread stands there once."""

import re
from functools import cache

import nbformat
import pytest
import yaml

from tests.conftest import ROOT

BOOK = ROOT / "book"
PAGES = sorted([*BOOK.glob("*.md"), *BOOK.glob("*.ipynb")])
SYMPTOMS = (BOOK / "symptoms.md").read_text()


@cache
def text_of(name: str) -> str:
    """The Markdown of a page."""
    path = BOOK / name
    if path.suffix == ".md":
        return path.read_text()
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def slug(heading: str) -> str:
    """What a heading is called in an address, as on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_sections_lead_there(path: object) -> None:
    for page, section in re.findall(r"\]\(([\w-]*\.(?:md|ipynb))#([^)]+)\)", text_of(path.name)):  # type: ignore[attr-defined]
        headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
        assert section in map(slug, headings), f"{page}#{section}"


def test_each_symptom_has_a_cause_and_a_section_that_shows_it() -> None:
    symptoms = re.split(r"^### ", SYMPTOMS, flags=re.MULTILINE)[1:]
    assert 12 <= len(symptoms) <= 30
    for symptom in symptoms:
        cause, found, links = symptom.partition("\n→ ")
        assert found
        assert len(cause.split("\n\n", 1)[1]) > 80
        assert re.search(r"ipynb#", links), symptom


def test_threads_are_named_as_they_are() -> None:
    threads = re.findall(r"\[([^\]]+)\]\((https?://[^)]+)\)", SYMPTOMS)
    assert len({url for _, url in threads}) >= 20
    assert len({url: title for title, url in threads}) == len({*threads})  # one title for each
    assert all(re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", url) for _, url in threads)


def test_sections_can_be_linked_to() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["sphinx"]["config"]["myst_heading_anchors"] == 3
