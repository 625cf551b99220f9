"""Explorers with a kernel: in JupyterLab and in Notebook 7, driven by the browser."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from mlpq import widgets
from tests.conftest import ROOT

LLOYD = ROOT / "book" / "recorded" / "lloyd.json"
CELLS = [
    f"from mlpq import widgets\nlloyd = widgets.Lloyd({str(LLOYD)!r})\nlloyd",
    "print('Python sees', lloyd.values)",
    "lloyd.k = 20",
    """import time
def slow(ds, **values):
    time.sleep(2)
    raise ValueError(f"no such k: {values['k']}")
lloyd.compute = slow""",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Jupyter server with nothing of the user's, and one notebook."""
    folder = tmp_path_factory.mktemp("jupyter")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    env = os.environ | own | {"JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": str(folder / "ipython")}
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"]
    options += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={folder}"]
    command = [sys.executable, "-m", "notebook", *options]
    with (folder / "log").open("w") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as process:
        address = f"http://127.0.0.1:{port}"
        wait_for(address + "/api", process, folder / "log")
        yield address
        process.terminate()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            requests.get(url, timeout=5).raise_for_status()
        except requests.RequestException:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text())


@pytest.fixture(params=["lab/tree", "notebooks"])
def page(request: pytest.FixtureRequest, browser: Browser, server: str) -> Iterator[Page]:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    name = request.param.replace("/", "-") + ".ipynb"
    content = {"type": "notebook", "format": "json", "content": notebook}
    requests.put(f"{server}/api/contents/{name}", json=content, timeout=30).raise_for_status()
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        page.goto(f"{server}/{request.param}/{name}")
        yield page


def run(page: Page, number: int) -> Locator:
    """Run one cell, and return it."""
    cell = page.locator(".jp-CodeCell").nth(number)
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-InputPrompt")).to_contain_text(str(number + 1), timeout=60_000)
    return cell


def words(**values: int) -> str:
    return widgets.Lloyd(LLOYD, **values).words()


def test_explorer_with_a_kernel(page: Page) -> None:
    cell = run(page, 0)
    say, k = cell.locator(".say"), cell.get_by_role("slider", name="clusters k")
    expect(say).to_have_text(words())
    k.focus()
    page.keyboard.press("ArrowRight")  # 7 clusters: not recorded
    expect(say).to_have_text(words(k=7))
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(say).to_have_text(words(k=7, iteration=2))
    expect(run(page, 1).locator(".jp-OutputArea-output")).to_have_text("Python sees {'k': 7, 'iteration': 2}")
    run(page, 2)
    expect(say).to_have_text(words(k=20, iteration=2))
    expect(k).to_have_attribute("aria-valuetext", "20")
    run(page, 3)
    k.focus()
    page.keyboard.press("ArrowRight")
    expect(say).to_have_text("Computing …")
    explorer = cell.locator(".mlpq-explorer")
    expect(explorer).to_have_attribute("aria-busy", "true")
    expect(say).to_have_text("ValueError: no such k: 21", timeout=10_000)
    expect(explorer.locator(".figure")).to_have_css("opacity", "0.35")  # it still shows 20 clusters
    page.keyboard.press("ArrowLeft")
    expect(say).to_have_text(words(k=20, iteration=2))
