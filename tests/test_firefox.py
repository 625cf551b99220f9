"""The built book in a second browser: every page, and every explorer answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import firefox
from tests.browser import PAGES, SETTLED
from tests.conftest import NARROW, PATIENCE, WIDE

WAIT = f"""async () => {{
    const settled = {SETTLED};
    while (!settled()) await new Promise(done => setTimeout(done, 20));
    window.failed = [];
    await Promise.all([...document.querySelectorAll("article img")].map(one => {{
        one.loading = "eager";
        return one.decode().catch(() => window.failed.push(one.src));
    }}));
    return window.failed;
}}"""
# Each explorer's first control at both ends, as a reader sets it; what it then says, in each setting.
ANSWERS = """async () => {
    const said = [];
    for (const explorer of document.querySelectorAll(".mlpq-explorer:not(.lab)")) {
        const control = explorer.querySelector("[data-control]"), heard = new Set();
        const ends = control.options ? [0, control.options.length - 1] : [control.min, control.max];
        for (const end of ends) {
            control.options ? control.selectedIndex = end : control.value = end;
            for (const kind of ["input", "change"]) control.dispatchEvent(new Event(kind, { bubbles: true }));
            await new Promise(requestAnimationFrame);
            heard.add(explorer.querySelector(".say").textContent);
        }
        said.push([explorer.dataset.explorer, [...heard]]);
    }
    return said;
}"""
SEEN = "() => [document.querySelectorAll('article h1').length, document.documentElement.scrollWidth, innerWidth]"


@pytest.fixture(scope="module")
def browser() -> Iterator[firefox.Firefox]:
    binary = firefox.found()
    if binary is None:
        pytest.skip("needs Firefox: apt-get install firefox-esr")
    with firefox.Firefox(binary, PATIENCE) as browser:
        yield browser


@pytest.mark.parametrize("name", PAGES)
def test_page_and_its_explorers(browser: firefox.Firefox, html: Path, name: str) -> None:
    browser.messages.clear()
    browser.look(**WIDE)
    browser.go((html / f"{name}.html").as_uri())
    assert browser.evaluate(WAIT) == []
    for explorer, said in browser.evaluate(ANSWERS):
        assert len(said) == 2, explorer
        assert "undefined" not in "".join(said)
    for size in (WIDE, NARROW):
        browser.look(**size)
        titles, width, room = browser.evaluate(SEEN)
        assert titles == 1
        assert width <= room == size["width"]
    assert browser.messages == []
