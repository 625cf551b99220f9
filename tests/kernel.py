"""What the explorer Kernel shows where nothing was measured by the reader: `make kernel`.

    python -m tests.kernel FILE

Opens the explorer in Chromium, on a computer with a graphics card, presses the button for every setting, and writes down what
was found. Without a card it ends with an error: Chromium's software adapter, with which the tests run, shows that the kernel
is right, and nothing of a card's speed.
"""

import json
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, sync_playwright

from mlpq import widgets
from mlpq.bench import circumstances
from mlpq.data.datasets import load_dataset
from mlpq.widgets import base
from mlpq.widgets.kernel import describe
from tests.conftest import FLAGS, chromium

SOFTWARE = "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader"  # also beside --disable-gpu
CARD = (  # the developer's features name the card
    "--enable-unsafe-webgpu --enable-webgpu-developer-features --enable-features=Vulkan --use-angle=vulkan"
    " --disable-vulkan-surface"
)
MINUTES = 5  # that one setting may take


def page_of(explorer: widgets.Explorer) -> str:
    """Return a page that holds an explorer and nothing else, as the book does."""
    script = f"(window.mlpqExplorers ??= {{}}).{explorer.explorer} = {json.dumps(base.source(explorer.explorer))};"
    host = (base.FOLDER / "host.js").read_text()
    safe = script.replace("</", "<\\/")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{explorer.title}</title>'
        f"<style>{base.STYLE}</style><main>{explorer.twin()}</main><script>{safe}</script><script>{host}</script></html>"
    )


def choose(explorer: Locator, **values: int) -> None:
    """Set the controls of an explorer that is alive."""
    for control in widgets.Kernel.controls:
        place = explorer.locator(f"[data-control={control.name}]")
        place.evaluate(
            "(input, index) => { input.value = index; input.dispatchEvent(new Event('input')); }",
            control.recorded.index(values[control.name]),
        )


def measured(explorer: Locator) -> dict[str, Any]:
    """Press the button, and return what the page found out."""
    explorer.get_by_role("button", name="Measure here").click()
    ended = explorer.locator(".figure[data-result], .figure:has(.status:text('failed'))")
    ended.wait_for(timeout=60_000 * MINUTES)
    return dict(json.loads(explorer.locator(".figure").get_attribute("data-result") or "{}"))


def check(result: Mapping[str, Any], status: str) -> None:
    """Accept what a card found.

    Raises:
        RuntimeError: no card, as the page's status says; another answer than JavaScript's; a program in place of a card.
    """
    if not result.get("same"):
        raise RuntimeError(f"{status} {dict(result)}")
    if "swiftshader" in result["adapter"].lower():
        raise RuntimeError("Chromium offers no graphics card here, only its software adapter")


def main(arguments: list[str]) -> None:
    """Measure every setting and write the file."""
    ds = load_dataset(widgets.Kernel.dataset)
    record = (
        circumstances(ds, 1)
        | {"command": "python -m tests.kernel " + shlex.join(arguments)}
        | widgets.Kernel.record(ds)
    )
    names = [control.name for control in widgets.Kernel.controls]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        (bare := Path(folder) / "bare.json").write_text(json.dumps(record))
        (page_file := Path(folder) / "page.html").write_text(page_of(widgets.Kernel(bare)))
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=[*CARD.split(), *(flag for flag in FLAGS.split() if flag != "--disable-gpu")],
        )
        page = browser.new_page()
        page.goto(page_file.as_uri())
        explorer = page.locator(".mlpq-explorer")
        explorer.locator("[data-control]").first.wait_for()
        for setting in widgets.Kernel.grid():
            values = dict(zip(names, map(int, setting), strict=True))
            choose(explorer, **values)
            result = measured(explorer)
            check(result, explorer.locator(".status").text_content() or "")
            on = {"processor": record["machine"], "card": f"{result['adapter']} in Chromium {browser.version}"}
            record["points"][base.key(setting)] = describe(**values, result=result, on=on)
            print(values, record["points"][base.key(setting)]["rates"])
    Path(arguments[0]).write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
