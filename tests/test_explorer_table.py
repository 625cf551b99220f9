"""The Table explorer: its sums against decoding and searching, and its figure against its points."""

import base64

import numpy as np
import pytest

import mlpq
from mlpq import widgets
from mlpq.widgets.table import QUERIES, M, asked, train
from tests.conftest import ROOT, Opened

FILE = ROOT / "book" / "recorded" / "table.json"
table = pytest.fixture(lambda: widgets.Table(FILE))
PIXELS = """canvas => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]
    .filter((_, i) => i % 4 === 0)"""


def number(text: str) -> int:
    return int(text.replace(",", ""))


def image(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).astype(int)


@pytest.mark.parametrize(("query", "item"), [(5, 1), (17, 10), (37, 300), (30, 20_000)])
def test_sum_is_the_distance_to_the_reconstruction(ds: mlpq.Dataset, query: int, item: int) -> None:
    point = widgets.Table.compute(ds, query=query, item=item)
    pq, codes = train(ds)
    q, true = ds.xq[query].astype(int), np.square(ds.xb.astype(np.int64) - ds.xq[query].astype(int)).sum(axis=1)
    i = next(i for i in np.flatnonzero(true == number(point["exact"])) if (ds.xb[i] == image(point["image"])).all())
    assert (true < true[i]).sum() < item <= (true <= true[i]).sum()
    assert [int(c) for c in point["codewords"]] == codes[i].tolist()
    restored = pq.decode(codes[[i]])[0]
    np.testing.assert_allclose(image(point["restored"]), restored.round(), atol=0.6)
    assert number(point["sum"]) == pytest.approx(((restored - q) ** 2).sum(), abs=M)
    _, found = pq.search(ds.xq[[query]], codes, number(point["rank"]) + 20)
    assert i in found[0, number(point["rank"]) - 1 :]  # the first of equals
    off = number(point["sum"]) / true[i] - 1
    assert point["off"] == f"{abs(off):.1%}".replace("%", " %") + (" too large" if off > 0 else " too small")


def test_entries_add_up_as_shown(table: widgets.Table) -> None:
    for point in table.data["points"].values():
        assert sum(number(entry) for entry in point["entries"]) == number(point["sum"]) == sum(point["terms"])
        assert number(point["exact"]) == point["length"]


def test_grey_rows_are_sorted_and_hold_the_entries(ds: mlpq.Dataset) -> None:
    codebooks = train(ds)[0].codebooks
    largest = max(((codebooks[j] - ds.xq[5].reshape(M, -1)[j]) ** 2).sum(axis=1).max() for j in range(M))
    rows = image(asked(ds, 5)["table"]).reshape(M, 256)
    assert (np.diff(rows) <= 0).all()
    for item in (1, 1000, 20_000):
        point = widgets.Table.compute(ds, query=5, item=item)
        at = rows[np.arange(M), np.array(point["nearer"], int)]
        np.testing.assert_allclose(at, 255 * (1 - np.array(point["terms"]) / largest), atol=0.6)


def test_a_kernel_sends_the_table_of_other_queries(ds: mlpq.Dataset) -> None:
    assert 100 not in QUERIES
    point = widgets.Table.compute(ds, query=100, item=2)
    assert (image(point["asked"]["image"]) == ds.xq[100]).all()
    assert "asked" not in widgets.Table.compute(ds, query=5, item=2)


def test_recorded_points_come_out_again(ds: mlpq.Dataset, table: widgets.Table) -> None:
    for query, item in ((0, 100), (9, 3000), (37, 1)):
        stored, point = table.data["points"][f"{query},{item}"], widgets.Table.compute(ds, query=query, item=item)
        assert (stored["image"], stored["exact"]) == (point["image"], point["exact"])
        # Another processor may train other codebooks: single entries differ, their sum less.
        assert number(stored["sum"]) == pytest.approx(number(point["sum"]), rel=0.15)
        rows = (image(one["table"]) for one in (table.data["shared"]["asked"][str(query)], asked(ds, query)))
        np.testing.assert_allclose(*rows, atol=25)


def test_figure_shows_the_point(opened: Opened, table: widgets.Table) -> None:
    explorer = opened("distance-tables", "table")
    explorer.get_by_role("slider", name="query").press("End")
    explorer.get_by_role("slider", name="true rank").press("ArrowLeft")
    table.query, table.item = 37, 300
    point, mine = table.point(), table.data["shared"]["asked"]["37"]
    pictures = [np.array(canvas.evaluate(PIXELS)) for canvas in explorer.locator(".pictures canvas").all()]
    for drawn, told in zip(pictures, (mine["image"], point["image"], point["restored"]), strict=True):
        assert (drawn == 255 - image(told)).all()
    strips = [strip.evaluate(PIXELS) for strip in explorer.locator(".strip canvas").all()]
    assert (np.array(strips) == image(mine["table"]).reshape(M, 256)).all()
    for j, strip in enumerate(explorer.locator(".strip").all()):
        box, mark = strip.bounding_box(), strip.locator("i").bounding_box()
        share = (mark["x"] + mark["width"] / 2 - box["x"]) / box["width"]
        assert share * 256 - 0.5 == pytest.approx(int(point["nearer"][j]), abs=0.5)
    numbers = explorer.locator(".sheet .number").all_inner_texts()
    assert numbers == [*point["entries"], point["sum"], point["exact"]]
    widths = [part.bounding_box()["width"] for part in explorer.locator(".bar i").all()]
    longest = max(number(point["sum"]), number(point["exact"]))
    scale = explorer.locator(".bar").first.bounding_box()["width"] / longest
    np.testing.assert_allclose(widths, scale * np.array([*point["terms"], point["length"]]), atol=0.5)
