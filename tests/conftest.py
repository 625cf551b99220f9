"""Fixtures shared by the tests; with MLPQ_FORBID_SKIPS=1 a skipped test is a failed one."""

import gc
import http.server
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

import mlpq
from mlpq.data import named

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
UNWANTED = (  # what Playwright turns off as well, since a later list takes the place of its own; then Chromium's address bar,
    # for which every new context loads two pages: as much work as one of the book's
    "AvoidUnnecessaryBeforeUnloadCheckSync,DestroyProfileOnBrowserClose,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,"
    "LensOverlay,MediaRouter,PaintHolding,ThirdPartyStoragePartitioning,AvoidCorsURLLoaderRestartOnRedirect,"
    "OptimizationHints,NetworkTimeServiceQuerying,AimEnabled,PreconnectToSearch,"
    "WebUIOmniboxPopup,WebUIOmniboxAimPopup"
)
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-component-update --disable-sync"
    f" --disable-features={UNWANTED}"
)
PATIENCE = 120  # seconds that a test waits for what is sure to come, however busy the machine is

Fresh = Callable[..., Page]
Opened = Callable[[str, str], Locator]
FullSet = Callable[[str], mlpq.Dataset]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 900}

expect.set_options(timeout=1000 * PATIENCE)


LONGEST = [
    "test_book", "test_notebooks", "test_lab", "test_engine", "test_bench", "test_dark", "test_explorers", "test_lab_full", "test_recommend",
    "choosing", "test_site", "test_full", "residuals", "what-to-use", "tour", "machines", "comparison", "test_distributed", "test_index",
    "test_explorer_frontier", "test_bench_disk", "multi-level-search", "test_explorer_kernel", "test_download", "embeddings", "graphs",
    "test_explorer_bytes", "test_explorer_search", "rotations", "sums-of-codewords", "kmeans", "test_bench_plan", "two-levels",
    "distance-tables", "registers", "disk", "bytes", "test_metrics", "test_exact", "production", "product-quantization", "test_copies",
    "test_exchange", "test_fuzz", "test_live", "codes-without-training", "test_interrupts", "test_texts", "exact-search",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that the workers end together."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_xdist_auto_num_workers() -> int:
    """Twice as many as processors, up to --maxprocesses: workers often wait, for a page, a kernel or a server."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    """Keep what stays until the end out of every garbage collection: with thousands of tests, one takes half a second."""
    gc.freeze()


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
    monkeypatch.setattr(named, "cache_folder", lambda: tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture(scope="session")
def ds() -> mlpq.Dataset:
    """The embedded data set."""
    return mlpq.load_dataset("fashion-mnist-20k")


@pytest.fixture(scope="session")
def words() -> mlpq.Dataset:
    """The embedded texts."""
    return mlpq.load_dataset("wordnet-20k")


@pytest.fixture(scope="session")
def full_folder() -> Path:
    """The folder with the full sets, whose tests take a minute more: only where MLPQ_DATA_DIR asks for them."""
    folder = Path(os.environ.get("MLPQ_DATA_DIR", "/nonexistent"))
    file = named.HDF5_FILES["fashion-mnist"]
    if (folder / file).is_file() or all((folder / idx).is_file() for idx in named.IDX_SHA256):
        return folder
    pytest.skip("needs the full Fashion-MNIST in the folder that MLPQ_DATA_DIR names")


@pytest.fixture(scope="session")
def full_set(full_folder: Path, shared: Path) -> FullSet:
    """Read one of the full sets by its name, whose neighbours are verified once in a run."""

    def load(name: str) -> mlpq.Dataset:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLPQ_DATA_DIR", str(full_folder))
            return mlpq.load_dataset(name)

    return lambda name: once(shared / f"{name}.pickle", partial(load, name))


@pytest.fixture(scope="session")
def trained(ds: mlpq.Dataset, shared: Path) -> dict[str, mlpq.MultiLevelPQ]:
    """One index for each codebook owner over the embedded data set, as in the tour."""

    def build(owner: str) -> mlpq.MultiLevelPQ:
        index = mlpq.MultiLevelPQ(ds.d, 32, 6, codebooks=owner, keep_originals=True)  # type: ignore[arg-type]
        return index.train(ds.xb).add(ds.xb)

    return {
        owner: once(shared / f"trained-{owner}.pickle", partial(build, owner)) for owner in ("global", "outer", "inner")
    }


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(file: Path, make: Callable[[], T]) -> T:
    """Return what one worker of a run has made, and put down in a file for all."""
    with FileLock(f"{file}.lock"):
        if not file.exists():
            file.write_bytes(pickle.dumps(make()))
    with file.open("rb") as stream:
        found: T = pickle.load(stream)
    return found


@pytest.fixture(scope="session")
def html(shared: Path) -> Path:
    """The book, built as `make book` does, from what git would hand to a newcomer: once for all workers of a run."""
    folder = shared / "book-as-built"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "complete").exists():
            build(folder)
            (folder / "complete").touch()
    return folder / "_build" / "html"


def build(folder: Path) -> None:
    wanted = ["book", "_config.yml", "_toc.yml", "CHANGELOG.md"]
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *wanted]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    jupyter_book = Path(sys.executable).parent / "jupyter-book"
    command = [str(jupyter_book), "build", str(folder), "-W", "-n", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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


@contextmanager
def patient_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page in a context of its own, as a new visitor has it."""
    with browser.new_context(**options) as context:
        context.set_default_timeout(1000 * PATIENCE)
        yield context.new_page()


@pytest.fixture
def fresh(browser: Browser) -> Iterator[Fresh]:
    """Open pages, each in a context of its own, for the time of a test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(patient_page(browser, **options))


@pytest.fixture
def opened(fresh: Fresh, html: Path) -> Opened:
    """Open a chapter from disk and return one of its explorers, alive."""

    def open_explorer(chapter: str, name: str) -> Locator:
        page = fresh(viewport=WIDE)
        page.goto((html / "book" / f"{chapter}.html").as_uri())
        explorer = page.locator(f'.mlpq-explorer[data-explorer="{name}"]')
        explorer.locator("[data-control]").first.wait_for()
        return explorer

    return open_explorer
