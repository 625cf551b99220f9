"""Dark pages: nothing stands in a bright box; figures keep their hues and can be read."""

import colorsys
import io
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from playwright.sync_api import Browser, Page

from mlpq._style import NEUTRAL, PALETTE, RIGHT, WRONG
from mlpq.bench.figure import COLORS
from tests.browser import PAGES, arrive
from tests.conftest import ROOT

Pixels = npt.NDArray[np.uint8]  # (height, width, 3)
BRIGHT = 0.25  # luminance; that of a grey midway between black and white is 0.21
SCALE = 2  # pixels of the page, either way, for one of the picture: areas count here, not strokes
TALL = 16_000 * SCALE  # pixels of the page in one picture: more than 16,384 of the picture's are not drawn
READY = "images => Promise.all(images.map(one => { one.loading = 'eager'; return one.decode(); }))"
BLOCKS = "article :is(img, .mlpq-explorer, .cell_output .output, pre, table)"
PLACES = """blocks => blocks.map(one => [one.outerHTML.slice(0, 200), one.getBoundingClientRect()]).map(
    ([what, { left, top, right, bottom }]) => [what, top + scrollY, bottom + scrollY, left, right])"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    size = {"width": 1280, "height": 900}
    with browser.new_context(color_scheme="dark", viewport=size, device_scale_factor=1 / SCALE) as context:
        yield context.new_page()


def luminance(colours: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the relative luminance, from 0 to 1, of sRGB colours (..., 3) from 0 to 255."""
    shares = np.asarray(colours, float) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ (0.2126, 0.7152, 0.0722))


def contrast(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return the contrast of two colours as WCAG defines it."""
    low, high = sorted([float(luminance(one)), float(luminance(other))])
    return (high + 0.05) / (low + 0.05)


def test_luminance_and_contrast() -> None:
    assert luminance([[0, 0, 0], [255, 255, 255], [255, 0, 0]]) == pytest.approx([0, 1, 0.2126])
    assert contrast([255, 255, 255], [0, 0, 0]) == pytest.approx(21)
    assert contrast([118, 118, 118], [255, 255, 255]) == pytest.approx(4.54, abs=0.01)


def seen(page: Page) -> Pixels:
    """Return the pixels of the whole page."""
    width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    parts = []
    for top in range(0, height, TALL):
        clip = {"x": 0, "y": top, "width": width, "height": min(TALL, height - top)}
        with Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))) as picture:
            parts.append(np.asarray(picture.convert("RGB")))
    return np.concatenate(parts)


def main_colour(part: Pixels) -> npt.NDArray[np.float64]:
    """Return the colour that fills most of it, in steps of 8."""
    number = np.bincount(((part // 8) @ np.array([1024, 32, 1])).ravel()).argmax()
    return np.array([number // 1024, number // 32 % 32, number % 32]) * 8.0 + 4


def bright(whole: Pixels, blocks: list[list[Any]]) -> list[str]:
    """Return what stands in a bright box, or cannot be read, in the picture of a page."""
    found = [] if luminance(main_colour(whole[::2, ::2])) < BRIGHT else ["the page"]
    for what, *edges in blocks:
        top, bottom, left, right = (max(round(edge / SCALE), 0) for edge in edges)
        part = whole[top:bottom, left:right]
        if not part.size:  # without outlines, or out of sight at the side
            continue
        areas = (part, part[:1], part[-1:], part[:, :1], part[:, -1:])
        lightest = part.reshape(-1, 3)[part.sum(axis=-1, dtype=int).argmax()]
        if (
            any(luminance(main_colour(area)) >= BRIGHT for area in areas)
            or contrast(lightest, main_colour(part)) <= 4.5
        ):
            found.append(what)
    return found


@pytest.mark.parametrize(
    ("name", "width"),
    [(name, 1280) for name in [*PAGES, "search", "genindex"]]
    + [("book/tour", 390), ("book/product-quantization", 390)],
)
def test_nothing_stands_in_a_bright_box(page: Page, html: Path, name: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    arrive(page, (html / f"{name}.html").as_uri())
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    page.locator("article img").evaluate_all(READY)
    for _ in range(10):  # a busy machine may show what was there before, or move while it is looked at
        whole, blocks = seen(page), page.locator(BLOCKS).evaluate_all(PLACES)
        found = bright(whole, blocks)
        if not found:
            break
    assert not found
    assert blocks or not (ROOT / f"{name}.ipynb").is_file()


def shown(page: Page, html: Path, colours: list[str], *, media: Literal["screen", "print"]) -> list[list[int]]:
    """Return the colours that fields of these colours in a figure have on a page, and that of the page itself."""
    fields = [[round(255 * share) for share in to_rgb(colour)] for colour in colours]
    file = io.BytesIO()
    with Image.fromarray(np.array([fields], np.uint8)) as row:
        row.resize((20 * len(colours), 20), Image.Resampling.NEAREST).save(file, "png")
    page.goto((html / "book" / "tour.html").as_uri())
    page.emulate_media(media=media)
    figure = page.locator("article .cell_output img").first
    source = "data:image/png;base64," + b64encode(file.getvalue()).decode()
    figure.evaluate("(image, source) => { image.src = source; }", source)
    figure.evaluate_all(READY)
    figure.evaluate("image => { image.width = image.naturalWidth; }")
    with Image.open(io.BytesIO(figure.screenshot())) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert pixels.shape[1] == 20 // SCALE * len(colours)
    middle, step = 10 // SCALE, 20 // SCALE
    return [*pixels[middle, middle::step].tolist(), ground]


def test_figures_keep_their_hues_and_stand_out(page: Page, html: Path) -> None:
    colours = list(dict.fromkeys([*PALETTE, RIGHT, WRONG, NEUTRAL, *COLORS.values()]))
    white, *fields, ground = shown(page, html, ["white", *colours], media="screen")
    assert white == pytest.approx(ground, abs=1)  # the page shows through
    for colour, field in zip(colours, fields, strict=True):
        assert contrast(field, ground) >= 3, colour
        hue, saturation, _ = colorsys.rgb_to_hsv(*to_rgb(colour))
        if saturation:
            turned = abs(hue - colorsys.rgb_to_hsv(*np.array(field) / 255)[0])
            assert min(turned, 1 - turned) < 15 / 360, colour
    assert contrast(fields[colours.index("#000000")], ground) > 15


def test_paper_shows_figures_as_they_are(page: Page, html: Path) -> None:
    fields = shown(page, html, ["white", "black", PALETTE[0]], media="print")[:3]
    assert fields == [[255] * 3, [0] * 3, [0, 114, 178]]
