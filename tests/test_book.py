"""The built book, in a real browser: every page over http and from disk, light and dark, wide, narrow and on paper.

A page is loaded twice, and all tests of it share the two: over http on a wide, light screen; from disk on a narrow, dark
one. Each test sets the screen that it needs.
"""

import gzip
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import CHAPTERS, PAGES, REPOSITORY, SHIFTS, SLUG, Watched, arrive, serious_violations, shifted
from tests.conftest import NARROW, ROOT, WIDE, Fresh, patient_page

PACKED = {".html", ".js", ".css", ".svg", ".json"}  # what servers compress
OF_COLOURS = ["color-contrast", "link-in-text-block"]  # all that is not the same in the dark
SEEN: list[str] = []  # the kinds of words in code that pages before showed
PLAIN = """seen => {
    const all = new Set(seen);
    for (const code of document.querySelectorAll(".highlight pre")) {
        const kinds = [...code.querySelectorAll("span[class]")].map(one => one.className);
        if (kinds.every(kind => all.has(kind))) code.textContent = code.textContent;
        kinds.forEach(kind => all.add(kind));
    }
    return [...all];
}"""
PROPORTIONS = """images => Promise.all(images.map(image => image.decode().then(
    () => [image.clientWidth / image.clientHeight, image.naturalWidth / image.naturalHeight])))"""


@pytest.fixture(scope="module", params=PAGES)
def online(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Watched]:
    with patient_page(browser, color_scheme="light", viewport=WIDE) as page:
        page.add_init_script(SHIFTS)
        watched = Watched(page, address)
        arrive(page, f"{address}/{request.param}.html", wait_until="networkidle")
        yield watched


@pytest.fixture(scope="module", params=PAGES)
def on_disk(request: pytest.FixtureRequest, browser: Browser, html: Path) -> Iterator[Watched]:
    with patient_page(browser, color_scheme="dark", viewport=NARROW) as page:
        page.add_init_script(SHIFTS)
        watched = Watched(page, html.as_uri())
        arrive(page, f"{html.as_uri()}/{request.param}.html")
        yield watched


def transferred(html: Path, url: str) -> int:
    """Return the bytes that a server which packs texts sends for a file of the book."""
    content = (html / unquote(urlsplit(url).path).lstrip("/")).read_bytes()
    return len(gzip.compress(content, 6) if Path(urlsplit(url).path).suffix in PACKED else content)


def test_page_is_light_and_keeps_still(online: Watched, address: str, html: Path) -> None:
    page = online.page
    sizes = {url: transferred(html, url) for url in online.urls if url.startswith(address)}
    assert sum(sizes.values()) <= 1_500_000, sizes
    without_pictures = sum(size for url, size in sizes.items() if "_images" not in url)
    room = 0
    if page.locator("[data-explorer=meaning], [data-explorer=search]").count():
        room = 150_000  # for texts, in words
    if page.locator("[data-explorer=welcome]").count():
        room = 750_000  # for the codes of 20,000 images, which are the point of the page
    assert without_pictures <= (900_000 if page.locator("mjx-container").count() else 450_000) + room, sizes
    assert shifted(page) < 0.05
    page.mouse.move(600, 450)
    moved = 0.0
    for _ in range(page.evaluate("document.documentElement.scrollHeight") // 800):
        page.mouse.wheel(0, 800)
        moved += shifted(page, aside=".bd-sidebar-secondary")  # the contents in the margin follow the reader
    assert moved < 0.02
    assert page.locator("article img:not([width])").count() == 0
    for shown, kept in page.locator("article img").evaluate_all(PROPORTIONS):
        assert shown == pytest.approx(kept, rel=0.01)


def check_looks(page: Page, scheme: str, width: int) -> None:
    """Everything on the page is there, in this colour scheme, within this width."""
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    expect(page.locator("html")).to_have_attribute("data-theme", scheme)
    assert page.locator("article h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    images = page.locator("article img")
    for image in images.all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        assert len(image.get_attribute("alt") or "") > 40
    assert page.locator(".output.stream + .output.stream").count() == 0  # what a cell prints stays in one box
    page.locator(".doctest").evaluate_all("examples => examples.forEach(example => example.remove())")
    text = page.locator("article").inner_text()
    for unresolved in ("{glue", "{cite", "[?]", "](", "|:--"):
        assert unresolved not in text
    for said in page.locator(".mlpq-explorer .say").all_text_contents():
        assert "undefined" not in said


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_page(online: Watched, scheme: str, width: int) -> None:
    check_looks(online.page, scheme, width)


def test_explorers_answer(online: Watched) -> None:
    """Over http, too; `test_explorers` drives every control from disk."""
    for explorer in online.page.locator(".mlpq-explorer:not(.lab)").all():  # which has tests of its own
        control, said = explorer.locator("[data-control]").first, set()
        for press in ("Home", "End"):
            control.press(press)
            said.add(explorer.locator(".say").text_content())
        assert len(said) == 2


def test_nothing_went_wrong(online: Watched) -> None:
    assert online.problems == []


def test_page_is_accessible(online: Watched) -> None:
    """After the test before, for axe fetches style sheets of its own. Words of code keep their colours where a kind is new."""
    page = online.page
    page.mouse.move(0, 0)
    page.set_viewport_size(WIDE)
    SEEN[:] = page.evaluate(PLAIN, SEEN)  # most of a page's elements, which axe looks at one by one
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        expect(page.locator("html")).to_have_attribute("data-theme", scheme)
        page.wait_for_function("document.getAnimations().every(one => !(one instanceof CSSTransition))")
        assert serious_violations(page, **({"runOnly": OF_COLOURS} if scheme == "dark" else {})) == []


def test_code_needs_no_scrolling(online: Watched) -> None:
    page = online.page
    page.set_viewport_size(WIDE)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    wide = "blocks => blocks.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"
    assert page.locator(".cell_input pre").evaluate_all(wide) == []


def test_page_from_disk(on_disk: Watched) -> None:
    assert shifted(on_disk.page) < 0.1  # formulas in tables take fewer lines than their source; so small is called good
    check_looks(on_disk.page, "dark", 390)


def test_buttons_lead_to_this_page(on_disk: Watched, html: Path) -> None:
    page, name = on_disk.page, urlsplit(on_disk.page.url).path.removeprefix(f"{html}/").removesuffix(".html")
    page.set_viewport_size(WIDE)
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


def test_paper(on_disk: Watched) -> None:
    page = on_disk.page
    page.set_viewport_size({"width": 800, "height": 1100})
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")  # though the screen is dark
    for part in (".bd-sidebar-primary", ".bd-sidebar-secondary", ".article-header-buttons", ".prev-next-footer"):
        for piece in page.locator(part).all():
            assert not piece.is_visible(), part
    assert page.evaluate("document.documentElement.scrollWidth") <= 800
    for code in page.locator(".cell_input pre:visible").all():
        assert code.evaluate("code => code.scrollWidth <= code.clientWidth")
    page.emulate_media(media="screen", color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_nothing_went_wrong_from_disk(on_disk: Watched) -> None:
    assert on_disk.problems == []


@cache
def ids(file: Path) -> set[str]:
    return set(re.findall(r'id="([^"]+)"', file.read_text()))


def check_links(page: Page) -> None:
    for href in page.eval_on_selector_all(
        "a[href]", "links => links.map(link => new URL(link.getAttribute('href'), document.baseURI).href)"
    ):
        url = urlsplit(href)
        if url.scheme == "file":
            target = Path(unquote(url.path))
            assert target.is_file(), href
            assert not url.fragment or target.suffix != ".html" or unquote(url.fragment) in ids(target), href


def test_links_inside_the_book_resolve(on_disk: Watched) -> None:
    check_links(on_disk.page)


def test_links_of_the_index_resolve(fresh: Fresh, html: Path) -> None:
    page = fresh()
    page.goto((html / "genindex.html").as_uri())
    check_links(page)


def test_formulas_are_drawn(fresh: Fresh, address: str) -> None:
    page = fresh()
    arrive(page, f"{address}/book/notation.html")
    assert page.locator("mjx-container").count() > 10
    assert page.locator("mjx-merror").count() == 0


@pytest.mark.parametrize("name", ["search", "genindex"])
def test_pages_of_the_builder_are_accessible(fresh: Fresh, html: Path, name: str) -> None:
    for scheme in ("light", "dark"):
        page = fresh(viewport=WIDE, color_scheme=scheme)
        arrive(page, (html / f"{name}.html").as_uri())
        assert serious_violations(page, **({"runOnly": OF_COLOURS} if scheme == "dark" else {})) == []


def test_solutions_are_hidden_until_asked_for(fresh: Fresh, address: str) -> None:
    page = fresh()
    arrive(page, f"{address}/book/tour.html")
    solution = page.get_by_text("Solution 1:")
    assert not solution.is_visible()
    page.locator("details", has=solution).locator("summary").click()
    expect(solution).to_be_visible()


def test_search_finds_a_word(fresh: Fresh, address: str) -> None:
    page = fresh()
    page.goto(f"{address}/search.html?q=residual")
    expect(page.locator('#search-results li a[href*="tour.html"]').first).to_be_visible()
