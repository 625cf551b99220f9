"""The built book, in a real browser: every page over http and from disk, light and dark, wide and narrow."""

import http.server
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import ROOT

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
FLAGS = "--no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-component-update --disable-sync"


@pytest.fixture(scope="session")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book, built as `make book` does, from what git would hand to a newcomer."""
    folder = tmp_path_factory.mktemp("book")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "book", "_config.yml", "_toc.yml"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    jupyter_book = Path(sys.executable).parent / "jupyter-book"
    command = [str(jupyter_book), "build", str(folder), "-W", "-n", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


@pytest.fixture(scope="session")
def address(html: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=html)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=FLAGS.split())


class Watched:
    """A page that notes what goes wrong."""

    def __init__(self, page: Page, home: str) -> None:
        self.page, self.problems = page, []
        page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}"))
        page.on(
            "request", lambda r: None if r.url.startswith((home, "data:", "blob:")) else self.problems.append(r.url)
        )
        page.on("response", lambda r: self.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)


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
        text = page.locator("article").inner_text()
        for unresolved in ("{glue", "{cite", "[?]", "](", "undefined", "|:--"):
            assert unresolved not in text
        assert watched.problems == []
        if width == 1280:
            assert serious_violations(page) == []


def serious_violations(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core calls serious or critical, with the markup concerned."""
    found = Axe().run(page).response["violations"]
    bad = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], [node["html"][:120] for node in violation["nodes"]]) for violation in bad]


def test_links_inside_the_book_resolve(browser: Browser, html: Path) -> None:
    page = browser.new_page()
    for name in PAGES:
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
