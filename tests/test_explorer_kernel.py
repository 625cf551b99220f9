"""The Kernel explorer: the card's ids and JavaScript's against NumPy's, by Chromium's software adapter, and without WebGPU."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, expect

import mlpq
from mlpq import widgets
from mlpq.widgets.kernel import MS, NBITS, NS, SEED, byte_table, describe
from tests.browser import SHIFTS, Watched, arrive, serious_violations, shifted
from tests.conftest import FLAGS, NARROW, ROOT, WIDE, Fresh, chromium, patient_page
from tests.kernel import SOFTWARE, check, choose, measured

FILE = ROOT / "book" / "recorded" / "kernel.json"
RECORD = json.loads(FILE.read_text())
PAGE = "registers.html"


def table_of(m: int, nbits: int) -> np.ndarray:
    stored = RECORD["shared"]["tables"][f"{m},{nbits}"]
    return np.frombuffer(base64.b64decode(stored), np.uint8).reshape(m, 2**nbits)


def nearest(N: int, m: int, nbits: int) -> list[list[int]]:
    """What the page should find: the ten smallest (sum, id) over the codes that it makes from the seed."""
    words = m * nbits // 32
    x = np.arange(N * words, dtype=np.uint32) + np.uint32(SEED)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x = (x ^ (x >> np.uint32(16))).reshape(words, N)
    places = [x[place * nbits // 32] >> np.uint32(place * nbits % 32) & np.uint32(2**nbits - 1) for place in range(m)]
    sums = sum(row.astype(int)[at] for row, at in zip(table_of(m, nbits), places, strict=True))
    ids = np.argsort(sums, kind="stable")[:10]
    return [[int(sums[i]), int(i)] for i in ids]


@pytest.fixture(scope="module")
def software(browser: Browser) -> Iterator[Browser]:
    """Chromium with an adapter that needs no card."""
    other = browser.browser_type.launch(executable_path=chromium(), args=[*FLAGS.split(), *SOFTWARE.split()])
    yield other
    other.close()


def opened(watched: Watched, url: str) -> Locator:
    arrive(watched.page, url)
    return watched.page.locator('.mlpq-explorer[data-explorer="kernel"]')


def test_tables_come_out_again(words: mlpq.Dataset) -> None:
    for m, nbits in ((8, 8), (32, 4)):
        mine, stored = byte_table(words, m, nbits), table_of(m, nbits)
        assert mine.max() == stored.max() == 255
        assert (mine.min(axis=1) == 0).all()
        # Another processor may train other codebooks, with codewords in another order.
        np.testing.assert_allclose(np.sort(mine).mean(axis=1), np.sort(stored).mean(axis=1), atol=25)


def test_all_that_is_recorded_was_the_same_on_both() -> None:
    assert RECORD["command"] == "python -m tests.kernel book/recorded/kernel.json"
    assert len(RECORD["points"]) == len(NS) * len(MS) * len(NBITS)
    for point in RECORD["points"].values():
        card = point["adapters"][-1]
        assert point["said"].startswith(f"Recorded on {card}: ")
        assert "swiftshader" not in card.lower()
        assert all(rate > 0 for rate in point["rates"].values())


def test_only_what_a_card_found_is_recorded() -> None:
    check({"same": True, "adapter": "NVIDIA H200"}, "")
    for result, said in (
        ({"same": True, "adapter": "SwiftShader Device (Subzero)"}, "offers no graphics card"),
        ({"same": False, "adapter": "NVIDIA H200"}, "THE IDS DIFFER"),
        ({"js": 1.0}, "THE IDS DIFFER"),
    ):
        with pytest.raises(RuntimeError, match=said):
            check(result, "THE IDS DIFFER: please report your card.")


def test_words() -> None:
    blank = describe(4_000_000, 32, 8, None, {})
    assert (blank["codes"], blank["sums"], blank["said"]) == ("128 MB", "128,000,000", "Not measured.")
    result = {"js": 80.0, "memory": 16.0, "card": {"scan": 2.0, "once": 8.0, "copy": 0.5}}
    point = describe(1_000_000, 16, 8, result, {"processor": "P", "card": "C"})
    assert point["rates"] == {"js": 0.2, "memory": 2, "scan": 8, "once": 2, "copy": 64}
    assert point["adapters"] == ["P", "P", "C", "C", "C"]
    assert point["times"] == ["80", "16", "2", "8", "0.5"]


@pytest.mark.parametrize("home", ["http", "disk"])
@pytest.mark.parametrize(("m", "nbits"), [(8, 4), (16, 8)])
def test_card_and_javascript_find_what_numpy_finds(
    software: Browser, html: Path, address: str, home: str, m: int, nbits: int
) -> None:
    start = address if home == "http" else html.as_uri()
    with patient_page(software, viewport=WIDE) as page:
        watched = Watched(page, start)
        explorer = opened(watched, f"{start}/book/{PAGE}")
        choose(explorer, N=NS[0], m=m, nbits=nbits)
        result = measured(explorer)
        assert result["same"] is True
        assert result["found"] == result["card"]["found"] == nearest(NS[0], m, nbits)
        assert "swiftshader" in result["adapter"]
        said = explorer.locator(".status")
        expect(said).to_contain_text("The same ten ids from both. google swiftshader scans ")
        expect(explorer.locator("circle.own")).to_have_count(5)  # one in the legend
        choose(explorer, N=NS[1], m=m, nbits=nbits)
        expect(said).to_contain_text("Nothing has run yet.")
        choose(explorer, N=NS[0], m=m, nbits=nbits)
        expect(said).to_contain_text("The same ten ids")  # what was measured is kept
        assert watched.problems == []


def test_a_wrong_answer_of_the_card_is_told(software: Browser, html: Path) -> None:
    with patient_page(software, viewport=WIDE) as page:
        page.add_init_script("""
            const make = Worker.prototype.postMessage;
            Worker.prototype.postMessage = function (asked) {
                const shader = asked.shader.replace("& 255u;", "& 127u;");
                make.call(this, { ...asked, shader });
            };
        """)
        explorer = opened(Watched(page, html.as_uri()), (html / "book" / PAGE).as_uri())
        choose(explorer, N=NS[0], m=8, nbits=8)
        assert measured(explorer)["same"] is False
        expect(explorer.locator(".status")).to_contain_text("THE IDS DIFFER")


def test_a_program_that_the_card_refuses_is_told(software: Browser, html: Path) -> None:
    with patient_page(software, viewport=WIDE) as page:
        page.add_init_script("""
            const make = Worker.prototype.postMessage;
            Worker.prototype.postMessage = function (asked) { make.call(this, { ...asked, shader: "nonsense" }); };
        """)
        explorer = opened(Watched(page, html.as_uri()), (html / "book" / PAGE).as_uri())
        choose(explorer, N=NS[0], m=8, nbits=8)
        assert "card" not in measured(explorer)
        expect(explorer.locator(".status")).to_contain_text("The card refused: ")


def test_without_webgpu(fresh: Fresh, html: Path) -> None:
    """As `tests.conftest.FLAGS` leave Chromium; and a browser that does not know WebGPU at all."""
    for known, said in ((True, "offers no card to it."), (False, "This browser has no WebGPU")):
        page = fresh(viewport=WIDE)
        if not known:
            page.add_init_script("""
                const Old = Blob;
                Blob = class extends Old {
                    constructor(parts, options) {
                        super(["globalThis.WorkerNavigator && delete WorkerNavigator.prototype.gpu;\\n", ...parts], options);
                    }
                };
            """)
        explorer = opened(Watched(page, html.as_uri()), (html / "book" / PAGE).as_uri())
        choose(explorer, N=NS[0], m=8, nbits=8)
        result = measured(explorer)
        assert result["found"] == nearest(NS[0], 8, 8)
        assert "card" not in result
        expect(explorer.locator(".status")).to_contain_text(said)
        expect(explorer.locator(".status")).to_contain_text("For cards there are the recorded figures.")
        expect(explorer.locator("circle.recorded")).to_have_count(5)
        expect(explorer.locator("circle.own")).to_have_count(3)


def test_nothing_runs_before_the_button_and_all_ends_when_the_reader_leaves(fresh: Fresh, html: Path) -> None:
    page = fresh(viewport=WIDE)
    page.add_init_script("""
        window.workers = { begun: 0, ended: 0 };
        const [Made, end] = [Worker, Worker.prototype.terminate];
        Worker = function (url) { window.workers.begun++; return new Made(url); };
        Made.prototype.terminate = function () { window.workers.ended++; end.call(this); };
    """)
    explorer = opened(Watched(page, html.as_uri()), (html / "book" / PAGE).as_uri())
    assert page.evaluate("window.workers") == {"begun": 0, "ended": 0}
    choose(explorer, N=NS[-1], m=32, nbits=8)
    for number, leave in enumerate(
        (
            lambda: explorer.get_by_role("button", name="Stop").press("Enter"),
            lambda: choose(explorer, N=NS[-1], m=32, nbits=4),
            lambda: page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))"),
            lambda: page.set_viewport_size(NARROW),
        ),
        1,
    ):
        explorer.get_by_role("button", name="Measure here").press("Enter")
        expect(explorer.locator(".status")).to_contain_text("…")
        assert page.evaluate("new Promise(requestAnimationFrame).then(() => window.workers.ended)") == number - 1
        leave()
        expect(explorer.get_by_role("button", name="Measure here")).to_be_visible()
        assert page.evaluate("window.workers") == {"begun": number, "ended": number}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_measuring_moves_nothing_and_is_accessible(software: Browser, html: Path, scheme: str) -> None:
    with patient_page(software, viewport=NARROW, color_scheme=scheme, has_touch=True) as page:
        page.add_init_script(SHIFTS)
        explorer = opened(Watched(page, html.as_uri()), (html / "book" / PAGE).as_uri())
        explorer.scroll_into_view_if_needed()
        choose(explorer, N=NS[0], m=8, nbits=4)
        height = explorer.evaluate("one => one.offsetHeight")
        shifted(page)
        explorer.get_by_role("button", name="Measure here").tap()
        explorer.locator(".figure[data-result]").wait_for()
        assert shifted(page) == 0
        assert explorer.evaluate("one => one.offsetHeight") == height
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert serious_violations(page, without="section > section:not(:has([data-explorer=kernel]))") == []


def test_recorded_figures_are_drawn_in_place(fresh: Fresh, html: Path) -> None:
    explorer = opened(Watched(fresh(viewport=WIDE), html.as_uri()), (html / "book" / PAGE).as_uri())
    rates = widgets.Kernel(FILE).point()["rates"]
    ticks = explorer.locator("svg path[d$='V168']").evaluate_all("all => all.map(one => one.getBBox().x)")
    low, high = ticks[0], ticks[-1]
    dots = explorer.locator("svg[viewBox] > circle.recorded").evaluate_all(
        "all => all.map(one => one.cx.baseVal.value)"
    )
    for name, at in zip(("js", "memory", "scan", "copy"), dots, strict=True):
        assert 10 ** (6 * (at - low) / (high - low) - 3) == pytest.approx(rates[name], rel=0.03)
