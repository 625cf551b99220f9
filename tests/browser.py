"""What the browser tests share: the book's pages, and a page that notes what goes wrong."""

import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.conftest import ROOT

TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


class Watched:
    """A page that notes what goes wrong: messages, errors, and requests to other places than `home`."""

    def __init__(self, page: Page, home: str) -> None:
        self.page, self.problems = page, []
        page.on("console", lambda m: self.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}"))
        page.on(
            "request", lambda r: None if r.url.startswith((home, "data:", "blob:")) else self.problems.append(r.url)
        )
        page.on("response", lambda r: self.problems.append(f"{r.status}: {r.url}") if r.status >= 400 else None)


def serious_violations(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core calls serious or critical, with the markup concerned."""
    found = Axe().run(page).response["violations"]
    bad = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], [node["html"][:120] for node in violation["nodes"]]) for violation in bad]
