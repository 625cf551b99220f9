"""The built book as a visitor meets it: what explorers move, contents, search, links that others show, terms."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

import mlpq
from mlpq import plots, widgets
from tests.browser import CHAPTERS, PAGES, SHIFTS, SLUG, arrive, shifted
from tests.conftest import NARROW, ROOT, WIDE, Fresh


@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", [name for name in CHAPTERS if "data-explorer" in (ROOT / f"{name}.ipynb").read_text()])
def test_explorers_hardly_move_the_page(fresh: Fresh, html: Path, name: str, viewport: Any) -> None:
    page = fresh(viewport=viewport)
    page.add_init_script(SHIFTS)
    arrive(page, (html / f"{name}.html").as_uri())
    for control in page.locator(".mlpq-explorer [data-control]").all():
        control.focus()
        shifted(page)
        for key in ("End", "Home", "ArrowRight"):
            page.keyboard.press(key)
            assert shifted(page) < 0.1


def test_chapters_say_where_they_stand(html: Path) -> None:
    """A strip of the pipeline, the same on all but for what is marked."""
    strips = {}
    for name in CHAPTERS:
        found = re.findall(r'<div class="pipeline" .*</div>', (html / f"{name}.html").read_text())
        strips[name] = found[0] if found else ""
        inside = name not in ("book/tour", "book/lab", "book/cheat-sheet")
        assert len(found) == inside, name
        assert ('class="here"' in strips[name]) == inside
    bare = {re.sub(' class="here"| aria-label="[^"]*"', "", strip) for strip in strips.values() if strip}
    assert len(bare) == 1


def test_code_can_be_hidden(fresh: Fresh, html: Path) -> None:
    page = fresh(viewport=WIDE)
    arrive(page, (html / "book" / "kmeans.html").as_uri())
    code, button = page.locator(".cell_input").first, page.locator(".btn-hide-code-button")
    button.click()
    expect(code).to_be_hidden()
    arrive(page, (html / "book" / "two-levels.html").as_uri())  # stays so on the next page
    expect(code).to_be_hidden()
    assert page.locator(".cell_output").first.is_visible()
    button.click()
    expect(code).to_be_visible()
    arrive(page, (html / "book" / "using.html").as_uri())
    assert button.count() == 0


def test_mathjax_comes_with_formulas_only(html: Path) -> None:
    loads = {}
    for name in PAGES:
        text = (html / f"{name}.html").read_text()
        loads[name] = "tex-chtml" in text
        assert loads[name] == ('class="math' in text), name
    assert loads["book/notation"]
    assert not loads["book/welcome"]


def test_previous_and_next_follow_the_contents(html: Path) -> None:
    for before, after in pairwise(PAGES):
        assert neighbour(html, before, "right-next") == f"{Path(after).name}.html"
        assert neighbour(html, after, "left-prev") == f"{Path(before).name}.html"


def neighbour(html: Path, name: str, kind: str) -> str:
    """Return where the link at the foot of a page leads."""
    found = re.search(rf'class="{kind}"\s+href="([^"]*)"', (html / f"{name}.html").read_text())
    assert found, name
    return found[1]


@pytest.mark.parametrize("origin", ["http", "file"])
def test_search_from_any_page(fresh: Fresh, address: str, html: Path, origin: str) -> None:
    page = fresh(viewport=WIDE)
    arrive(page, f"{address if origin == 'http' else html.as_uri()}/book/welcome.html")
    page.keyboard.press("Control+k")
    expect(page.locator("input[type=search]:focus")).to_be_visible()
    page.keyboard.type("asymmetric")
    page.keyboard.press("Enter")
    expect(page.locator("#search-results li a", has_text="Distances without decoding").first).to_be_visible()


def test_what_links_to_the_book_show(html: Path) -> None:
    owner, project = SLUG.split("/")
    site = f"https://{owner}.github.io/{project}/"
    with Image.open(html / "_static" / "card.png") as card:
        assert card.size == (1200, 630)
    assert (html / "_static" / "card.png").stat().st_size < 60_000
    descriptions = set()
    for name in PAGES:
        tags = dict(re.findall(r'<meta property="(og:[\w:]+)" content="([^"]*)"', (html / f"{name}.html").read_text()))
        assert tags["og:url"] == f"{site}{name}.html"
        assert tags["og:image"] == f"{site}_static/card.png"
        assert (tags["og:image:width"], tags["og:image:height"]) == ("1200", "630")
        assert tags["og:title"]
        descriptions.add(tags["og:description"])
    assert len(descriptions) == len(PAGES)


def test_logo_and_icon(fresh: Fresh, html: Path) -> None:
    page = fresh(viewport=WIDE)
    page.goto((html / "book" / "welcome.html").as_uri())
    assert page.locator('link[rel="icon"]').get_attribute("href") == "../_static/logo.svg"
    logo = page.locator(".navbar-brand img:visible")
    assert logo.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.locator(".navbar-brand").inner_text().strip()


def test_every_public_name_is_described(html: Path) -> None:
    pages = ("api", "api-codecs", "api-judge", "api-figures")
    *package, figures = ((html / "book" / f"{name}.html").read_text() for name in pages)
    for name in mlpq.__all__:
        assert f'id="mlpq.{name}"' in "".join(package), name
    for name, thing in vars(plots).items():
        if getattr(thing, "__module__", "") == plots.__name__ and not name.startswith("_"):
            assert f'id="mlpq.plots.{name}"' in figures, name
    for name in widgets.__all__:
        if name != "EXPLORERS":
            assert f'id="mlpq.widgets.{name}"' in figures, name


def test_the_package_is_listed_by_room(html: Path) -> None:
    page = (html / "book" / "api.html").read_text()
    rooms = re.findall(r'<dl class="[^"]*rooms.*?</dl>', page, re.DOTALL)
    linked = re.findall(r'<a class="reference internal" href="[^"]*#(mlpq\.[\w.]+)"', rooms[0])
    assert {name for name in linked if name.count(".") == 1} == {f"mlpq.{name}" for name in mlpq.__all__}
    assert {name for name in linked if ".widgets." in name} == {
        f"mlpq.widgets.{name}" for name in widgets.__all__ if name != "EXPLORERS"
    }
    assert {"mlpq.plots.lines", "mlpq.distributed.build"} <= set(linked)


def test_the_version_stands_on_each_page(html: Path) -> None:
    for name in [*PAGES, "search", "genindex"]:
        foot = (html / f"{name}.html").read_text().split('<footer class="bd-footer-content">')[1]
        assert f"Version {mlpq.__version__} " in foot, name
        assert "errata" in foot
    assert "<h2>0.1.0" in (html / "book" / "changes.html").read_text()


def test_terms_lead_to_chapters_and_back(fresh: Fresh, html: Path) -> None:
    page = fresh()
    page.goto((html / "book" / "glossary.html").as_uri())
    entries = page.locator("dl.glossary > dd")
    assert entries.count() > 25
    for entry in entries.all():
        assert entry.locator("a").count() > 0
    terms = page.locator("dl.glossary > dt").evaluate_all("terms => terms.map(term => term.textContent.slice(0, -1))")
    assert terms == sorted(terms, key=str.lower)
    page.goto((html / "book" / "residuals.html").as_uri())
    assert page.locator('em a[href="glossary.html#term-residual"]').count() == 1
