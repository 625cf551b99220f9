"""The Frontier explorer: its points against the grid's own numbers, verdicts and fronts found otherwise, its figure read."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator

import mlpq
from mlpq import bench, widgets
from mlpq.widgets import base, frontier
from tests.conftest import ROOT, FullSet, Opened

FULL, SMALL = (ROOT / folder / "recorded" / "frontier.json" for folder in ("book", "tests"))
SETTING = ("m", "nbits", "nprobe")
TEXTS = ROOT / "book" / "recorded" / "frontier-texts.json"
each = pytest.mark.parametrize("file", [FULL, TEXTS, SMALL], ids=["full", "texts", "embedded"])


def load(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    record = json.loads(file.read_text())
    return record, list(record["points"].values())


def values(rows: list[dict[str, Any]]) -> np.ndarray:
    """Recall, speed and bytes (3, n); more is better."""
    return np.array([(row["recall"], row["qps"], -row["bytes"]) for row in rows]).T


def test_point_is_a_row_of_the_grid(ds: mlpq.Dataset) -> None:
    point = widgets.Frontier.compute(ds, m=14, nbits=5, nprobe=7)  # not recorded: as a kernel computes it
    (row,) = mlpq.measure_grid(ds, [{"codebooks": "global", "m": 14, "nbits": 5}], [7], n_inner=33, n_outer=6)
    assert [point[name] for name in (*SETTING, "bytes")] == [row[name] for name in (*SETTING, "bytes")]
    assert point["recall"] == pytest.approx(row["recall"], abs=1e-5)
    assert point["found"] == f"{row['recall']:.2f}"
    assert float(point["each"]) == pytest.approx(row["bytes"] / 20_000, abs=0.05)
    assert float(point["speed"].replace(",", "")) == pytest.approx(point["qps"], rel=0.005)
    assert (point["better"], point["names"]) == (None, ["m=14, nbits=5, nprobe=7"])


@each
def test_recorded_bytes_are_those_foretold(file: Path) -> None:
    record = json.loads(file.read_text())
    sizes = [record[name] for name in ("n", "d", "n_inner", "n_outer")]
    for name, row in record["points"].items():
        assert name == base.key(row[name] for name in SETTING)
        assert row["bytes"] == mlpq.predict_memory(*sizes, m=row["m"], nbits=row["nbits"], codebooks="global").total
        assert 0 < row["recall"] < 1 < row["qps"]


@each
def test_verdicts_and_fronts(file: Path) -> None:
    record, rows = load(file)
    recalls, *others = table = values(rows)
    for row, own in zip(rows, table.T, strict=True):
        beating = (table > own[:, None]).all(axis=0)
        assert bool(row["better"]) == beating.any()
        if row["better"]:
            better = record["points"][row["better"]]
            assert beating[rows.index(better)]
            assert row["verdict"] == f"Better in all three: {better['name']}."
            assert row["names"][:2] == [row["name"], better["name"]]
    for front, other in zip(record["shared"]["fronts"], others, strict=True):
        on, best = set(), -np.inf
        for i in np.lexsort((other, recalls))[::-1]:  # from the best recall downwards
            if other[i] > best:
                best = other[i]
                on.add((recalls[i], best))
        at = [rows.index(record["points"][name]) for name in front]
        assert {(recalls[i], other[i]) for i in at} == on
        assert (np.diff(recalls[at]) >= 0).all()  # in the order of the line


def test_peers_are_those_of_the_comparison() -> None:
    record, rows = load(FULL)
    peers, compared = record["shared"]["peers"], bench.read(FULL.parent / "compare.json")
    kmeans, exact, flat, coded, *best = peers.values()
    assert list(peers) == ["k-means only", *frontier.EVERY, *frontier.BEST]
    assert exact[0][0]["recall"] > 0.999
    assert exact[0][0]["bytes"] == pytest.approx(record["n"] * record["d"] * 4, rel=0.001)
    ours = {row["nprobe"]: row for row in kmeans[0]}
    shared = [row for row in flat[0] if row["nprobe"] in ours]
    assert len(shared) >= 3
    for row in shared:  # the same method as k-means only, with other cells
        assert row["recall"] == pytest.approx(ours[row["nprobe"]]["recall"], abs=0.03)
        assert row["bytes"] == pytest.approx(ours[row["nprobe"]]["bytes"], rel=0.01)
    theirs = {(index[0]["m"], 8, row["nprobe"]): row for index in coded for row in index}
    for row in rows:
        if same := theirs.get(tuple(row[name] for name in SETTING)):  # the same method, with other codebooks
            assert row["recall"] == pytest.approx(same["recall"], abs=0.04)
            assert row["bytes"] + 4 * record["n"] == pytest.approx(same["bytes"], rel=0.05)  # ids are shorter here
            assert same["found"] in row["founds"]
    for family, (line,) in zip(frontier.BEST.values(), best, strict=True):
        own = [row for row in compared if row["family"] in family]
        assert {peer["recall"] for peer in line} <= {round(row["recall"], 5) for row in own}
        for row in own:  # nothing of the family is better than the line
            assert any(
                peer["recall"] >= round(row["recall"], 5) and peer["qps"] >= round(row["qps"], 1) for peer in line
            )
        assert [peer["recall"] for peer in line] == sorted(peer["recall"] for peer in line)


@pytest.mark.parametrize("file", [TEXTS, SMALL], ids=["texts", "embedded"])
def test_other_sets_have_only_what_is_measured_here(file: Path) -> None:
    record, rows = load(file)
    assert list(record["shared"]["peers"]) == ["k-means only"]
    assert all(row["names"][-1] == f"k-means only, nprobe={row['nprobe']}" for row in rows)


def test_recorded_samples_come_out_again(ds: mlpq.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "RUNS", 1)
    record, rows = load(SMALL)
    for row in rows[::2]:
        again = widgets.Frontier.compute(ds, **{name: row[name] for name in SETTING})
        assert again["recall"] == pytest.approx(row["recall"], abs=0.03)
    kmeans = mlpq.KMeansIndex(ds.d, record["n_inner"]).train(ds.xb).add(ds.xb)
    for peer in record["shared"]["peers"]["k-means only"][0]:
        again = frontier.measured(peer["name"], ds, kmeans, peer["nprobe"])
        assert again["recall"] == pytest.approx(peer["recall"], abs=0.01)
        assert again["bytes"] == peer["bytes"]


@pytest.mark.parametrize(("file", "codes"), [(FULL, ((8, 4), (7, 6))), (TEXTS, ((48, 4),))], ids=["images", "texts"])
def test_recorded_samples_come_out_again_on_the_full_sets(
    full_set: FullSet, file: Path, codes: tuple[tuple[int, int], ...]
) -> None:
    record, _ = load(file)
    full = full_set(record["dataset"])
    assert [record[name] for name in ("dataset", "n", "nq")] == [full.name, len(full.xb), len(full.xq)]
    settings = [{"codebooks": "global", "m": m, "nbits": nbits} for m, nbits in codes]
    levels = {"n_inner": record["n_inner"], "n_outer": record["n_outer"]}
    for row in mlpq.measure_grid(full, settings, [1, 8], k=record["k"], **levels):
        recorded = record["points"][base.key(row[name] for name in SETTING)]
        assert row["recall"] == pytest.approx(recorded["recall"], abs=0.01)
        assert row["bytes"] == recorded["bytes"]


TEXTS = "all => all.map(one => [one.textContent, ...['text-anchor', 'x', 'y'].map(name => one.getAttribute(name))])"


def read(chart: Locator, at: np.ndarray) -> list[np.ndarray]:
    """What stands at the places (n, 2) of a chart, by the ticks of its axes."""
    texts = [text for text in chart.locator("text").evaluate_all(TEXTS) if re.fullmatch(r"[\d.]+k?", text[0])]
    ticks = [(float(text.replace("k", "e3")), anchor, float(x), float(y) - 4) for text, anchor, x, y in texts]
    across = np.array([(x, np.log(value)) for value, anchor, x, _ in ticks if anchor == "middle"]).T
    up = np.array([(y, value) for value, anchor, _, y in ticks if anchor == "end"]).T
    return [np.exp(np.polyval(np.polyfit(*across, 1), at[:, 0])), np.polyval(np.polyfit(*up, 1), at[:, 1])]


def test_figure_shows_the_point(opened: Opened) -> None:
    explorer, (record, rows) = opened("choosing", "frontier"), load(FULL)
    recalls, *others = values(rows) * [[1], [1], [-1 / record["n"]]]
    for name, press in (("m", "End"), ("nprobe", "Home"), ("m", "ArrowLeft"), ("nprobe", "End"), ("nbits", "End")):
        explorer.get_by_role("slider", name=name, exact=True).press(press)
        own = [explorer.locator(f"[data-control={control}]").get_attribute("aria-valuetext") for control in SETTING]
        point = record["points"][base.key(own)]
        inside = apart = np.ones(len(rows), bool)
        for chart, other in zip(explorer.locator(".chart").all(), others, strict=True):

            def number(mark: str, *names: str, chart: Locator = chart) -> list[float]:
                return [float(chart.locator(mark).get_attribute(name)) for name in names]

            at = np.array(re.findall(r"M([\d.]+) ([\d.]+)h0", chart.locator(".dots").get_attribute("d")), float)
            np.testing.assert_allclose(read(chart, at), [other, recalls], rtol=0.01, atol=0.002)
            here = number(".here", "cx", "cy")
            assert here == at[rows.index(point)].tolist()
            x, y, width, height = number(".shade", "x", "y", "width", "height")
            inside = inside & (at > (x, y)).all(axis=1) & (at < (x + width, y + height)).all(axis=1)
            apart = apart & (abs(at - here) > 0.15).all(axis=1)  # places are rounded to a tenth
            assert chart.locator(".ring").is_visible() == bool(point["better"])
            if point["better"]:
                assert number(".ring", "cx", "cy") == at[rows.index(record["points"][point["better"]])].tolist()
        assert np.array_equal(inside[apart], (values(rows) > values([point])).all(axis=0)[apart])
