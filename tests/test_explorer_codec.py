"""The Codec explorer: its points against codewords chosen by hand, and its figure against its points."""

from base64 import b64decode

import numpy as np
import pytest
from playwright.sync_api import Locator

import mlpq
from mlpq import plots, widgets
from mlpq.widgets.codec import IMAGES, N_TRAIN
from tests.conftest import ROOT, Opened

FILE = ROOT / "book" / "recorded" / "codec.json"
codec = pytest.fixture(lambda: widgets.Codec(FILE))


def decoded(pixels: str) -> np.ndarray:
    return np.frombuffer(b64decode(pixels), np.uint8).astype(int)


def number(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize(("image", "m", "nbits"), [("1", 7, 4), ("2", 16, 3), ("7", 1, 1)])
def test_point_holds_the_nearest_codewords(ds: mlpq.Dataset, image: str, m: int, nbits: int) -> None:
    point = widgets.Codec.compute(ds, image=image, m=m, nbits=nbits)
    books = mlpq.ProductQuantizer(ds.d, m, nbits).train(ds.xb[:N_TRAIN]).codebooks.astype(float)
    x = ds.xq[int(image)].astype(float)
    D = ((x.reshape(m, 1, -1) - books) ** 2).sum(axis=2)  # (m, 2**nbits)
    code = np.array(point["code"].split(), int)
    np.testing.assert_allclose(D[np.arange(m), code], D.min(axis=1), rtol=1e-4)
    assert np.abs(decoded(point["rebuilt"]) - books[np.arange(m), code].ravel()).max() <= 0.501
    assert number(point["distortion"]) == pytest.approx(D.min(axis=1).sum(), rel=1e-4, abs=1)
    variance = ((x - ds.xb.mean(axis=0, dtype=float)) ** 2).sum()
    assert float(point["lost"]) == pytest.approx(D.min(axis=1).sum() / variance, abs=0.0051)
    size = -(-m * nbits // 8)
    assert point["size"] == ("1 byte" if size == 1 else f"{size} bytes")
    assert point["codebook"] == plots.format_bytes(4 * ds.d * 2**nbits)
    assert ("original" in point) == (image not in IMAGES)
    assert np.array_equal(decoded(point.get("original", widgets.Codec.shared(ds)["images"].get(image))), x)


def test_images_are_queries_of_all_classes(ds: mlpq.Dataset, codec: widgets.Codec) -> None:
    assert len(IMAGES) >= 12
    assert set(ds.query_labels[[int(image) for image in IMAGES]]) == set(range(10))
    for image, pixels in codec.data["shared"]["images"].items():
        assert np.array_equal(decoded(pixels), ds.xq[int(image)])


def test_recorded_points_agree_in_themselves(codec: widgets.Codec) -> None:
    """The distortion of every point is that of its pixels, up to their rounding; and its code fits into its bytes."""
    for key, point in codec.data["points"].items():
        image, m, nbits = key.split(",")
        error = decoded(point["rebuilt"]) - decoded(codec.data["shared"]["images"][image])
        assert number(point["distortion"]) == pytest.approx((error**2).sum(), rel=0.02)
        code = np.array(point["code"].split(), int)
        assert len(code) == int(m)
        assert code.max() < 2 ** int(nbits)
        assert point["size"].split()[0] == f"{-(-len(code) * int(nbits) // 8)}"
        assert point["codebook"] == plots.format_bytes(3136 * 2 ** int(nbits))


def test_larger_codes_lose_less(codec: widgets.Codec) -> None:
    _, ms, bits = (control.recorded for control in codec.controls)
    average = np.array([[float(codec.data["points"][f"1,{m},{b}"]["average"]) for b in bits] for m in ms])
    assert (np.diff(average, axis=0) < 0).all()
    assert (np.diff(average, axis=1) < 0).all()


def test_recorded_points_come_out_again(ds: mlpq.Dataset, codec: widgets.Codec) -> None:
    """k-means may end elsewhere on another processor: little changes for all queries, more for one of them."""
    for image, m, nbits in (("17", 4, 4), ("1", 7, 2), ("82", 112, 2)):
        stored = codec.data["points"][f"{image},{m},{nbits}"]
        point = widgets.Codec.compute(ds, image=image, m=m, nbits=nbits)
        assert float(point["average"]) == pytest.approx(float(stored["average"]), rel=0.03, abs=0.01)
        assert float(point["lost"]) == pytest.approx(float(stored["lost"]), abs=0.08)


def drawn(canvas: Locator) -> np.ndarray:
    """The colours of a canvas, (pixels, 3); it must be opaque."""
    flat = canvas.evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
    rgba = np.array(flat).reshape(-1, 4)
    assert (rgba[:, 3] == 255).all()
    return rgba[:, :3]


@pytest.mark.parametrize("m", [4, 28, 112])
def test_figure_shows_the_point(opened: Opened, codec: widgets.Codec, m: int) -> None:
    explorer = opened("product-quantization", "codec")
    explorer.get_by_role("combobox", name="image").select_option("17")
    explorer.get_by_role("slider", name="m", exact=True).press("Home")
    for _ in range(codec.controls[1].recorded.index(m)):
        explorer.get_by_role("slider", name="m", exact=True).press("ArrowRight")
    codec.image, codec.m = "17", m
    point = codec.point()
    x, rebuilt = decoded(codec.data["shared"]["images"]["17"]), decoded(point["rebuilt"])
    original, after, error = (drawn(explorer.locator(f".{name} canvas")) for name in ("original", "rebuilt", "error"))
    assert (original == 255 - x[:, None]).all()
    assert (after == 255 - rebuilt[:, None]).all()
    too_dark, too_pale = rebuilt > x + 2, rebuilt < x - 2
    assert (error[rebuilt == x] == 255).all()
    assert (error[too_dark, 0] > error[too_dark, 2]).all()  # orange
    assert (error[too_pale, 0] < error[too_pale, 2]).all()  # blue
    far = np.abs(rebuilt - x)
    assert (np.diff(error.min(axis=1)[too_dark][far[too_dark].argsort()]) <= 0).all()  # the farther, the fuller
    assert (np.diff(error.min(axis=1)[too_pale][far[too_pale].argsort()]) <= 0).all()
    assert explorer.locator(".chips span").all_inner_texts() == point["code"].split()
    pieces = [drawn(canvas) for canvas in explorer.locator(".chips canvas").all()]
    assert len({len(piece) for piece in pieces}) == 1
    assert np.array_equal(np.concatenate(pieces), after)
    assert explorer.locator(".cuts").get_attribute("d").count("M") == m - 1
    expect = [
        f"original: 3,136 bytes\ncut into {m} pieces",
        f"rebuilt: {point['size']}\n{point['smaller']} times smaller",
    ]
    assert explorer.locator("figcaption").all_inner_texts()[:2] == expect
    assert point["lost"] in explorer.locator(".error figcaption").inner_text()
