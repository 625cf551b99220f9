"""The built book, in a real browser: every page over http and from disk, light and dark, wide and narrow."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser

from tests.browser import PAGES, Watched, serious_violations


@pytest.mark.parametrize(
    ("origin", "scheme", "width"),
    [("http", "light", 1280), ("http", "dark", 1280), ("http", "light", 390), ("file", "dark", 390)],
)
@pytest.mark.parametrize("name", PAGES)
def test_page(browser: Browser, address: str, html: Path, name: str, origin: str, scheme: str, width: int) -> None:
    home = address if origin == "http" else html.as_uri()
    with browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}) as context:
        watched = Watched(context.new_page(), home)
        page = watched.page
        page.goto(f"{home}/{name}.html", wait_until="networkidle")
        assert page.locator("article h1").count() == 1
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        images = page.locator("article img")
        for image in images.all():
            image.scroll_into_view_if_needed()
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
            assert len(image.get_attribute("alt") or "") > 40
        assert page.locator(".output.stream + .output.stream").count() == 0  # what a cell prints stays in one box
        page.locator(".doctest").evaluate_all("examples => examples.forEach(example => example.remove())")
        text = page.locator("article").inner_text()
        for unresolved in ("{glue", "{cite", "[?]", "](", "undefined", "|:--"):
            assert unresolved not in text
        assert watched.problems == []
        if width == 1280:
            assert serious_violations(page) == []


def test_links_inside_the_book_resolve(browser: Browser, html: Path) -> None:
    page = browser.new_page()
    for name in [*PAGES, "genindex"]:
        page.goto((html / f"{name}.html").as_uri())
        for href in page.eval_on_selector_all("a[href]", "links => links.map(link => link.href)"):
            url = urlsplit(href)
            if url.scheme == "file":
                target = Path(unquote(url.path))
                assert target.is_file(), f"{name}: {href}"
                if url.fragment and target.suffix == ".html":
                    assert f'id="{unquote(url.fragment)}"' in target.read_text(), f"{name}: {href}"
    page.close()


def test_formulas_are_drawn(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/book/notation.html", wait_until="networkidle")
    page.wait_for_selector("mjx-container")
    assert page.locator("mjx-container").count() > 10
    assert page.locator("mjx-merror").count() == 0
    page.close()


def test_solutions_are_hidden_until_asked_for(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/book/tour.html", wait_until="networkidle")
    solution = page.get_by_text("Solution 1:")
    assert not solution.is_visible()
    page.locator("details").first.locator("summary").click()
    assert solution.is_visible()
    page.close()


def test_search_finds_a_word(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=residual", wait_until="networkidle")
    page.wait_for_selector("#search-results li a")
    links = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    assert any("tour.html" in link for link in links)
    page.close()
