"""Fixtures shared by the tests; with MLPQ_FORBID_SKIPS=1 a skipped test is a failed one."""

import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, sync_playwright

import mlpq
from mlpq import datasets

ROOT = Path(__file__).parent.parent
FLAGS = "--no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-component-update --disable-sync"

Opened = Callable[[str, str], Locator]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("MLPQ_FORBID_SKIPS") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, which MLPQ_FORBID_SKIPS forbids: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the user's cache."""
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture(scope="session")
def ds() -> mlpq.Dataset:
    """The embedded data set."""
    return mlpq.load_dataset("fashion-mnist-20k")


@pytest.fixture(scope="session")
def full_folder() -> Path:
    """The folder with the full Fashion-MNIST, whose tests take a minute more: only where MLPQ_DATA_DIR asks for them."""
    folder = Path(os.environ.get("MLPQ_DATA_DIR", "/nonexistent"))
    file = datasets.HDF5_FILES["fashion-mnist"]
    if (folder / file).is_file() or all((folder / idx).is_file() for idx in datasets.IDX_SHA256):
        return folder
    pytest.skip("needs the full Fashion-MNIST in the folder that MLPQ_DATA_DIR names")


@pytest.fixture(scope="session")
def trained(ds: mlpq.Dataset) -> dict[str, mlpq.MultiLevelPQ]:
    """One index for each codebook owner over the embedded data set, as in the tour."""
    return {
        owner: mlpq.MultiLevelPQ(ds.d, 32, 6, codebooks=owner, keep_originals=True).train(ds.xb).add(ds.xb)
        for owner in ("global", "outer", "inner")
    }


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


def chromium() -> str | None:
    """Where the system's Chromium is."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium(), args=FLAGS.split())


@pytest.fixture
def opened(browser: Browser, html: Path) -> Iterator[Opened]:
    """Open a chapter from disk and return one of its explorers, alive."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:

        def open_explorer(chapter: str, name: str) -> Locator:
            page = context.new_page()
            page.goto((html / "book" / f"{chapter}.html").as_uri())
            explorer = page.locator(f'.mlpq-explorer[data-explorer="{name}"]')
            explorer.locator("[data-control]").first.wait_for()
            return explorer

        yield open_explorer
