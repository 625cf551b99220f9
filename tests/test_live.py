"""Explorers with a kernel: in JupyterLab and in Notebook 7, driven by the browser."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from mlpq import widgets
from tests.conftest import PATIENCE, ROOT, Fresh

LLOYD = ROOT / "book" / "recorded" / "lloyd.json"
CELLS = [
    f"from mlpq import widgets\nlloyd = widgets.Lloyd({str(LLOYD)!r})\nlloyd",
    "print('Python sees', lloyd.values)",
    "lloyd.k = 20",
    """import os, time
def slow(ds, **values):
    while not os.path.exists("seen"):
        time.sleep(0.01)
    raise ValueError(f"no such k: {values['k']}")
widgets.Lloyd.compute = slow""",
    "widgets.Lab()",
    f"widgets.Welcome({str(LLOYD.with_name('welcome.json'))!r})",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jupyter")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """A Jupyter server with nothing of the user's."""
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    env = os.environ | own | {"JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": str(folder / "ipython")}
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"]
    options += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={folder}"]
    command = [sys.executable, "-m", "notebook", *options]
    with (folder / "log").open("w") as log, subprocess.Popen(command, env=env, stdout=log, stderr=log) as process:
        yield address_of(process, folder)
        process.terminate()


def address_of(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Return where the server listens, once it answers; it chose the port, and wrote it down."""
    about = folder / "runtime" / f"jpserver-{process.pid}.json"
    for _ in range(5 * PATIENCE):
        assert process.poll() is None, (folder / "log").read_text()
        try:
            url = str(json.loads(about.read_text())["url"]).rstrip("/")
            requests.get(url + "/api", timeout=PATIENCE).raise_for_status()
        except (OSError, ValueError):  # not written yet, or not whole, or no answer: a RequestException is an OSError
            time.sleep(0.2)
        else:
            return url
    raise AssertionError((folder / "log").read_text())


@pytest.fixture(params=["lab/tree", "notebooks"])
def page(request: pytest.FixtureRequest, fresh: Fresh, server: str) -> Page:
    """A notebook, open, its kernel ready."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    name = request.param.replace("/", "-") + ".ipynb"
    content = {"type": "notebook", "format": "json", "content": notebook}
    requests.put(f"{server}/api/contents/{name}", json=content, timeout=PATIENCE).raise_for_status()
    page = fresh(viewport={"width": 1280, "height": 1000})
    # Until it connects, a notebook shows "idle" and has no kernel.
    with page.expect_websocket(lambda socket: "/api/kernels/" in socket.url):
        page.goto(f"{server}/{request.param}/{name}")
    expect(page.locator(".jp-Toolbar-kernelName")).to_contain_text("Python 3")
    return page


def run(page: Page, number: int) -> Locator:
    """Run one cell, once the kernel has nothing else to do, and return it."""
    cell = page.locator(".jp-CodeCell").nth(number)
    expect(page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')).to_be_visible()
    cell.locator(".cm-content").press("Control+Enter")
    expect(cell.locator(".jp-InputPrompt")).to_contain_text(str(number + 1))
    return cell


def words(**values: int) -> str:
    return widgets.Lloyd(LLOYD, **values).words()


def test_explorer_with_a_kernel(page: Page, folder: Path) -> None:
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
    (folder / "seen").unlink(missing_ok=True)
    run(page, 3)
    k.focus()
    page.keyboard.press("ArrowRight")
    expect(say).to_have_text("Computing …")
    explorer = cell.locator(".mlpq-explorer")
    expect(explorer).to_have_attribute("aria-busy", "true")
    (folder / "seen").touch()
    expect(say).to_have_text("ValueError: no such k: 21")
    expect(explorer.locator(".figure")).to_have_css("opacity", "0.35")  # it still shows 20 clusters
    page.keyboard.press("ArrowLeft")
    expect(say).to_have_text(words(k=20, iteration=2))
    metric = run(page, 4).locator(".lab [data-control=metric]")
    metric.focus()
    page.keyboard.press("ArrowDown")
    expect(metric).to_have_value("cosine")
    welcome = run(page, 5)
    welcome.locator("[data-control=nprobe]").focus()
    page.keyboard.press("ArrowRight")
    expect(welcome.locator(".status")).to_contain_text("Scanned 16 of 128 cells")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(welcome.locator(".examples button").first).to_have_attribute("aria-pressed", "true")
