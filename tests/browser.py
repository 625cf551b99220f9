"""What the browser tests share: the book's pages, and a page that notes what happens on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.conftest import ROOT

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
CHAPTERS = [name for name in PAGES if (ROOT / f"{name}.ipynb").is_file()]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
REPOSITORY = CONFIG["repository"]["url"]
SLUG = REPOSITORY.removeprefix("https://github.com/")

SETTLED = """() => document.fonts.status === "loaded"
    && [...document.querySelectorAll(".mlpq-explorer")].every(one => one.querySelector("[data-control]"))
    && [...document.querySelectorAll(".math")].every(one => one.querySelector("mjx-container"))"""
SHIFTS = """
    window.shifts = [];
    window.watch = new PerformanceObserver(list => window.shifts.push(...list.getEntries()));
    window.watch.observe({ type: "layout-shift", buffered: true });
"""
SHIFTED = """async aside => {
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
    const there = ({ node }) => aside && (node?.nodeType === 1 ? node : node?.parentElement)?.closest(aside);
    return [...window.shifts.splice(0), ...window.watch.takeRecords()]
        .filter(entry => !entry.sources.length || !entry.sources.every(there))
        .reduce((sum, entry) => sum + entry.value, 0);
}"""


class Watched:
    """A page that notes what goes wrong: messages, errors, and requests to other places than `home`."""

    def __init__(self, page: Page, home: str) -> None:
        self.page, self.problems = page, []
        self.urls: set[str] = set()
        page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}"))
        page.on("request", lambda request: self.urls.add(request.url))
        page.on(
            "request", lambda r: None if r.url.startswith((home, "data:", "blob:")) else self.problems.append(r.url)
        )
        page.on("response", lambda r: self.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)


def arrive(page: Page, url: str, **options: Any) -> None:
    """Go to a page of the book, and wait until its formulas are drawn and its explorers alive."""
    page.goto(url, **options)
    page.wait_for_function(SETTLED)


def shifted(page: Page, *, aside: str | None = None) -> float:
    """Return the layout shift since the last call outside a part of the page, that after a reader's input included."""
    return float(page.evaluate(SHIFTED, aside))


def serious_violations(page: Page, *, within: str = "", **options: Any) -> list[tuple[str, list[str]]]:
    """What axe-core, with its options, calls serious or critical in parts of the page, with the markup concerned."""
    context = {"include": [[within]]} if within else None
    found = Axe().run(page, context, {"resultTypes": ["violations"], **options}).response["violations"]
    bad = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], [node["html"][:120] for node in violation["nodes"]]) for violation in bad]


@contextmanager
def traced(browser: Browser, page: Page) -> Iterator[dict[str, list[float]]]:
    """Note how long tasks take on a page's main thread and in workers, in ms of the processor: what else is busy does not count.

    The lists that this gives, "page" and "worker", are filled at the end; tasks of other pages that live in this time are in
    them, too.
    """
    tasks: dict[str, list[float]] = {"page": [], "worker": []}
    threads = {"CrRendererMain": "page", "DedicatedWorker thread": "worker"}
    browser.start_tracing(page=page, categories=["toplevel"])
    try:
        yield tasks
    finally:
        events = json.loads(browser.stop_tracing())["traceEvents"]
        names = {(one["pid"], one["tid"]): one["args"]["name"] for one in events if one["name"] == "thread_name"}
        for one in events:
            where = threads.get(names.get((one["pid"], one["tid"]), ""))
            if where and one["name"].endswith("RunTask") and "tdur" in one:
                tasks[where].append(one["tdur"] / 1000)
