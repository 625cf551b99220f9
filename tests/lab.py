"""How long the Lab takes, and how much memory: `make lab`.

    python -m tests.lab FILE

Gives the Lab, opened from disk in Chromium, a file of 20,000 rows of 128 numbers in float32, and notes in seconds from the
choice of the file: when it says what was read, when the first curve stands there, and when all is done; then the most memory
that the page's process held, worker included, and its longest task on the main thread. A file of 2 GB, sparse on the disk,
is read as well; its measurement is cancelled, and it is noted when the page says so, from when on nothing more comes, and
when the worker is gone: to one that is busy Chromium gives two seconds.
"""

import json
import platform
import shlex
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from mlpq import widgets
from mlpq.bench import circumstances
from mlpq.data.datasets import load_dataset
from tests.browser import traced
from tests.conftest import FLAGS, chromium
from tests.kernel import page_of

MINUTES = 3  # that a measurement may take on a busy machine
N, D = 20_000, 128
MOMENTS = (
    "Reading",
    "Finding the principal axes",
    "Turning",
    "Comparing each query",
    "Placing",
    "Codes of 8 bytes, 8",
    "Codes of 16 bytes, 8",
)

CANCEL = """(lab, moment) => {
    const status = lab.querySelector(".status");
    window.cancelled = new Promise((resolve) => {
        const watcher = new MutationObserver(() => {
            if (status.textContent.startsWith("Done")) resolve(`${moment} never came`);
            if (!status.textContent.startsWith(moment)) return;
            watcher.disconnect();
            [...lab.querySelectorAll("button")].find((button) => button.textContent === "Cancel").click();
            resolve(status.textContent);
        });
        watcher.observe(status, { childList: true });
    });
}"""


def vectors(n: int, d: int, dtype: str = "<f4") -> np.ndarray:
    """Clusters with directions of their own, so that codes and cells have something to find."""
    rng = np.random.default_rng(d)
    centres, axes = rng.normal(size=(40, d)), rng.normal(size=(min(d, 20), d))
    x = centres[rng.integers(40, size=n)] + rng.normal(size=(n, len(axes))) @ axes / 8 + rng.normal(size=(n, d)) / 8
    if dtype in ("u1", "i1"):
        x = np.rint(100 * (x - x.min()) / np.ptp(x)) - (50 if dtype == "i1" else 0)
    return np.ascontiguousarray(x, dtype)


def sparse(path: Path, n: int = 5_000_000, d: int = 100) -> Path:
    """Write a file of 2 GB that takes 8 MB of the disk: every so often a thousand vectors, and zeros between them."""
    with path.open("wb") as file:
        file.write(struct.pack("<II", n, d))
        for row in range(0, n, n // 20):
            file.seek(8 + row * d * 4)
            file.write(vectors(1000, d).tobytes())
        file.truncate(8 + n * d * 4)
    return path


def chosen(lab: Locator, path: Path) -> None:
    """Give the Lab a file."""
    lab.locator("input[type=file]").set_input_files(path)


def ended(lab: Locator) -> str:
    """Wait until the Lab has nothing more to do; return what it says."""
    lab.locator("progress").wait_for(state="hidden", timeout=60_000 * MINUTES)
    return lab.locator(".status").inner_text()


def report_of(page: Page) -> dict[str, Any]:
    """Download what was measured."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download report.json").click()
    return dict(json.loads(Path(download.value.path()).read_text()))


QUERIES = "xq = xb[:5]  # here your queries, a row each"


def built(lines: str, xq: np.ndarray, **given: Any) -> dict[str, Any]:
    """Run lines that the Lab shows where they are, with queries in the place of those; return what they leave."""
    assert QUERIES in lines
    exec(lines.replace(QUERIES, ""), found := {"xq": xq} | given)
    return found


def largest(browser: Browser) -> int:
    """Return the most memory in bytes that any process of a page held at once, by Linux."""
    session = browser.new_browser_cdp_session()
    pages = [one["id"] for one in session.send("SystemInfo.getProcessInfo")["processInfo"] if one["type"] == "renderer"]
    lines = [line for pid in pages for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return max(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def whole(browser: Browser, page: Page, path: Path) -> dict[str, Any]:
    """Measure what a file takes from its choice to the end."""
    lab = page.locator(".lab")
    with traced(browser, page) as tasks:
        start = time.monotonic()
        chosen(lab, path)
        lab.get_by_text("What was read").wait_for(timeout=60_000 * MINUTES)
        read = time.monotonic() - start
        lab.locator("figure").first.wait_for(timeout=60_000 * MINUTES)
        first = time.monotonic() - start
        said = ended(lab)
        done = time.monotonic() - start
    if not said.startswith("Done"):
        raise RuntimeError(said)
    seconds = {"read": read, "first curve": first, "done": done}
    row = {"seconds": {name: round(value, 1) for name, value in seconds.items()}}
    return row | {"megabytes": round(largest(browser) / 1e6), "longest task, ms": round(max(tasks["page"]), 1)}


def stopped(page: Page, path: Path) -> dict[str, Any]:
    """Measure how long a large file takes to read, and the Lab to cancel."""
    lab = page.locator(".lab")
    start = time.monotonic()
    chosen(lab, path)
    lab.get_by_text("What was read").wait_for(timeout=60_000 * MINUTES)
    read = time.monotonic() - start
    (worker,) = page.workers
    start = time.monotonic()
    with worker.expect_event("close"):
        lab.get_by_role("button", name="Cancel").click()
        lab.get_by_text("Cancelled").wait_for()
        said = time.monotonic() - start
    seconds = {"read": read, "cancelled": said, "worker gone": time.monotonic() - start}
    return {"seconds": {name: round(value, 2) for name, value in seconds.items()}}


def cancelled(lab: Locator, path: Path, moment: str) -> tuple[str, float]:
    """Give the Lab a file, and press Cancel when it says what it does; return what it says then, and when the worker is gone."""
    lab.evaluate(CANCEL, moment)
    chosen(lab, path)
    said = lab.page.evaluate("window.cancelled")
    start = time.monotonic()
    while lab.page.workers:
        lab.page.wait_for_timeout(5)
    return str(said), time.monotonic() - start


def main(arguments: list[str]) -> None:
    """Measure, and write the file."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (page_file := folder / "lab.html").write_text(page_of(widgets.Lab()))
        np.save(folder / "vectors.npy", vectors(N, D))
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS.split())
        page = browser.new_page()
        page.goto(page_file.as_uri())
        found = {
            f"{N} x {D}": whole(browser, page, folder / "vectors.npy"),
            "2 GB": stopped(page, sparse(folder / "sparse.fbin")),
        }
        version = browser.version
    machine = circumstances(load_dataset("fashion-mnist-20k"), 1)["machine"]
    record = {"machine": machine, "system": platform.system(), "chromium": version}
    record |= {"command": "python -m tests.lab " + shlex.join(arguments), "files": found}
    Path(arguments[0]).write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
