"""How long an explorer takes from an input event to the changed figure: `make latency`.

    python -m tests.latency FILE

Opens every explorer of the book in `_build/html` from disk, and moves its controls to random values, 200 times.

- `changed`: from dispatching the input event until script, style and layout are done and the figure has changed.
- `painted`: from a real key press to the next frame on the screen, by the browser's Event Timing, which rounds to 8 ms
  and includes the wait for that frame: up to 17 ms at 60 frames a second.
- `stroke`: where one draws, from a stroke to the ten results on their canvases, without the wait for a frame.
"""

import json
import platform
import random
import shlex
import sys
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Page, sync_playwright

from mlpq.bench import circumstances
from mlpq.data.datasets import load_dataset
from tests.conftest import FLAGS, ROOT, chromium
from tests.test_explorers import HOMES

STEPS = 200
MOVE = """async (explorer, moves) => {
    const times = [];
    for (const [which, share] of moves) {
        const inputs = explorer.querySelectorAll("[data-control]"); // others with another data set
        const input = inputs[which % inputs.length];
        const choices = input.options ? input.options.length : Number(input.max) + 1;
        const to = Math.floor(share * choices);
        input.options ? (input.selectedIndex = to) : (input.value = to);
        await new Promise(requestAnimationFrame);
        const start = performance.now();
        input.dispatchEvent(new Event("input", { bubbles: true }));
        explorer.getBoundingClientRect();
        times.push(performance.now() - start);
    }
    return times;
}"""
DRAW = """async (explorer, places) => {
    const paper = explorer.querySelector(".paper");
    const { left, top, width, height } = paper.getBoundingClientRect();
    const times = [];
    const at = (name, [x, y]) => paper.dispatchEvent(new PointerEvent(name, {
        clientX: left + x * width, clientY: top + y * height, pointerId: 1, isPrimary: true, bubbles: true, cancelable: true,
    }));
    paper.setPointerCapture = () => {}; // which needs a pointer that exists
    for (const [from, to] of places) {
        const answered = new Promise((resolve) => explorer.addEventListener("answer", resolve, { capture: true, once: true }));
        at("pointerdown", from);
        at("pointermove", to);
        at("pointerup", to);
        times.push((await answered).detail.took);
        await new Promise(requestAnimationFrame);
    }
    return times;
}"""
WATCH = """() => {
    window.painted = [];
    const note = (list) => list.getEntries().filter(({ name }) => name === "keydown")
        .forEach(({ duration }) => window.painted.push(duration));
    new PerformanceObserver(note).observe({ type: "event", durationThreshold: 16 });
}"""


def milliseconds(times: list[float]) -> dict[str, float]:
    return {"median": round(median(times), 1), "worst": round(max(times), 1)}


def measure(page: Page, chapter: str, name: str) -> dict[str, Any]:
    """Drive one explorer by events, then by keys."""
    page.goto((ROOT / "_build" / "html" / "book" / f"{chapter}.html").as_uri(), wait_until="networkidle")
    explorer = page.locator(f'.mlpq-explorer[data-explorer="{name}"]')
    controls = explorer.locator("[data-control]")
    controls.first.wait_for()
    rng = random.Random(0)
    moves = [(rng.randrange(controls.count()), rng.random()) for _ in range(STEPS)]
    changed = explorer.evaluate(MOVE, moves)
    page.evaluate(WATCH)
    presses = 0
    for control in controls.all():
        control.focus()
        for press in ("Home", *["ArrowRight"] * 6, "End", *["ArrowLeft"] * 6):
            page.keyboard.press(press)
            page.wait_for_timeout(50)
            presses += 1
    # Presses that took less than 16 ms are not reported.
    painted = page.evaluate("window.painted")
    painted += [16.0] * (presses - len(painted))
    row = {"chapter": chapter, "explorer": name, "changed": milliseconds(changed), "painted": milliseconds(painted)}
    if explorer.locator(".paper").count():
        strokes = [[(rng.random(), rng.random()) for _ in range(2)] for _ in range(STEPS)]
        row["stroke"] = milliseconds(explorer.evaluate(DRAW, strokes))
    return row


def main(arguments: list[str]) -> None:
    """Measure all explorers and write the file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS.split())
        rows = [measure(browser.new_page(), chapter, name) for chapter, name in HOMES]
        version = browser.version
    found = circumstances(load_dataset("fashion-mnist-20k"), 1)
    record = {"machine": found["machine"], "system": platform.system(), "chromium": version, "steps": STEPS}
    record |= {"command": "python -m tests.latency " + shlex.join(arguments), "unit": "ms", "rows": rows}
    Path(arguments[0]).write_text(json.dumps(record, indent=1) + "\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main(sys.argv[1:])
