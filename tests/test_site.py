"""The built book as a visitor meets it: weight, stillness, buttons, links that others show, search, paper."""

import gzip
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from PIL import Image
from playwright.sync_api import Browser, Page, expect

import mlpq
from mlpq import plots, widgets
from tests.browser import PAGES
from tests.conftest import ROOT

REPOSITORY = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
SLUG = REPOSITORY.removeprefix("https://github.com/")
CHAPTERS = [name for name in PAGES if (ROOT / f"{name}.ipynb").is_file()]
PACKED = {".html", ".js", ".css", ".svg", ".json"}  # what servers compress
SHIFTS = """
    window.shifts = [];
    new PerformanceObserver(list => window.shifts.push(...list.getEntries().map(entry => entry.value)))
        .observe({ type: "layout-shift", buffered: true });
"""
PROPORTIONS = """images => Promise.all(images.map(image => image.decode().then(
    () => [image.clientWidth / image.clientHeight, image.naturalWidth / image.naturalHeight])))"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that notes what moves on it."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.add_init_script(SHIFTS)
        yield context.new_page()


def shifted(page: Page) -> float:
    """Return the layout shift since the last call, that after a reader's input included."""
    page.wait_for_timeout(100)
    return float(page.evaluate("window.shifts.splice(0).reduce((sum, value) => sum + value, 0)"))


def transferred(html: Path, url: str) -> int:
    """Return the bytes that a server which packs texts sends for a file of the book."""
    content = (html / unquote(urlsplit(url).path).lstrip("/")).read_bytes()
    return len(gzip.compress(content, 6) if Path(urlsplit(url).path).suffix in PACKED else content)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_light_and_keeps_still(page: Page, address: str, html: Path, name: str) -> None:
    urls: set[str] = set()
    page.on("request", lambda request: urls.add(request.url) if request.url.startswith(address) else None)
    page.goto(f"{address}/{name}.html", wait_until="networkidle")
    sizes = {url: transferred(html, url) for url in urls}
    assert sum(sizes.values()) <= 1_500_000, sizes
    without_pictures = sum(size for url, size in sizes.items() if "_images" not in url)
    assert without_pictures <= (900_000 if page.locator("mjx-container").count() else 450_000), sizes
    assert shifted(page) < 0.05
    page.mouse.move(600, 450)
    for _ in range(page.evaluate("document.documentElement.scrollHeight") // 600):
        page.mouse.wheel(0, 600)
        page.wait_for_timeout(20)
    assert shifted(page) < 0.1  # of which nearly all is the contents in the margin, which follow the reader
    assert page.locator("article img:not([width])").count() == 0
    for shown, kept in page.locator("article img").evaluate_all(PROPORTIONS):
        assert shown == pytest.approx(kept, rel=0.01)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", [name for name in CHAPTERS if "data-explorer" in (ROOT / f"{name}.ipynb").read_text()])
def test_explorers_hardly_move_the_page(page: Page, html: Path, name: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((html / f"{name}.html").as_uri(), wait_until="networkidle")
    for control in page.locator(".mlpq-explorer [data-control]").all():
        control.focus()
        shifted(page)
        for key in ("End", "Home", "ArrowRight"):
            page.keyboard.press(key)
            assert shifted(page) < 0.1


def test_mathjax_comes_with_formulas_only(html: Path) -> None:
    loads = {}
    for name in PAGES:
        text = (html / f"{name}.html").read_text()
        loads[name] = "tex-chtml" in text
        assert loads[name] == ('class="math' in text), name
    assert loads["book/notation"]
    assert not loads["book/welcome"]


@pytest.mark.parametrize("name", CHAPTERS)
def test_code_needs_no_scrolling(page: Page, html: Path, name: str) -> None:
    page.goto((html / f"{name}.html").as_uri())
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    wide = "blocks => blocks.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"
    assert page.locator(".cell_input pre").evaluate_all(wide) == []


@pytest.mark.parametrize("name", PAGES)
def test_buttons_lead_to_this_page(page: Page, html: Path, name: str) -> None:
    page.goto((html / f"{name}.html").as_uri())
    buttons = page.locator(".article-header-buttons")
    links = buttons.locator("a").evaluate_all("links => links.map(link => link.href)")
    suffix = ".ipynb" if name in CHAPTERS else ".md"
    expected = [f"{REPOSITORY}/blob/main/{name}{suffix}?plain=1", (html / "_sources" / f"{name}{suffix}").as_uri()]
    if name in CHAPTERS:
        expected += [
            f"https://mybinder.org/v2/gh/{SLUG}/main?urlpath=lab/tree/{name}.ipynb",
            f"https://colab.research.google.com/github/{SLUG}/blob/main/{name}.ipynb",
        ]
    assert sorted(links) == sorted(expected)
    assert (html / "_sources" / f"{name}{suffix}").read_bytes() == (ROOT / f"{name}{suffix}").read_bytes()
    for button in buttons.locator("button:visible").all():
        assert (button.get_attribute("aria-label") or button.get_attribute("title") or "").strip()


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
def test_search_from_any_page(page: Page, address: str, html: Path, origin: str) -> None:
    home = address if origin == "http" else html.as_uri()
    page.goto(f"{home}/book/welcome.html", wait_until="networkidle")
    page.keyboard.press("Control+k")
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


def test_logo_and_icon(page: Page, html: Path) -> None:
    page.goto((html / "book" / "welcome.html").as_uri())
    assert page.locator('link[rel="icon"]').get_attribute("href") == "../_static/logo.svg"
    logo = page.locator(".navbar-brand img:visible")
    assert logo.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.locator(".navbar-brand").inner_text().strip()


@pytest.mark.parametrize("name", PAGES)
def test_paper(browser: Browser, html: Path, name: str) -> None:
    with browser.new_context(viewport={"width": 800, "height": 1100}, color_scheme="dark") as context:
        page = context.new_page()
        page.goto((html / f"{name}.html").as_uri(), wait_until="networkidle")
        page.emulate_media(media="print")
        expect(page.locator("html")).to_have_attribute("data-theme", "light")  # though the screen is dark
        for part in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".article-header-buttons", ".prev-next-footer"):
            for piece in page.locator(part).all():
                assert not piece.is_visible(), part
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        for code in page.locator(".cell_input pre:visible").all():
            assert code.evaluate("code => code.scrollWidth <= code.clientWidth")
        page.emulate_media(media="screen")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_every_public_name_is_described(html: Path) -> None:
    package, figures = ((html / "book" / f"{name}.html").read_text() for name in ("api", "api-figures"))
    for name in mlpq.__all__:
        assert f'id="mlpq.{name}"' in package, name
    for name, thing in vars(plots).items():
        if getattr(thing, "__module__", "") == plots.__name__ and not name.startswith("_"):
            assert f'id="mlpq.plots.{name}"' in figures, name
    for name in widgets.__all__:
        if name != "EXPLORERS":
            assert f'id="mlpq.widgets.{name}"' in figures, name


def test_terms_lead_to_chapters_and_back(page: Page, html: Path) -> None:
    page.goto((html / "book" / "glossary.html").as_uri())
    entries = page.locator("dl.glossary > dd")
    assert entries.count() > 25
    for entry in entries.all():
        assert entry.locator("a").count() > 0
    terms = page.locator("dl.glossary > dt").evaluate_all("terms => terms.map(term => term.textContent.slice(0, -1))")
    assert terms == sorted(terms, key=str.lower)
    page.goto((html / "book" / "residuals.html").as_uri())
    assert page.locator('em a[href="glossary.html#term-residual"]').count() == 1
