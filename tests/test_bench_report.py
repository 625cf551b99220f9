"""What the records say: rows, fronts at equal recall, tables, growth. Every number here is computed by hand."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mlpq.bench import at_equal_recall, at_recall, figure, fronts, read, report
from mlpq.bench.__main__ import main
from mlpq.bench.store import load
from tests.conftest import ROOT

ABOUT = {"dataset": "tiny", "threads": 2, "n": 100, "nq": 50}
COMPARED = ROOT / "book" / "recorded" / "compare.json"
# Along `CURVE` ten times as slow for every 0.1 of recall; 0.85 is beaten by 0.9 in both respects.
CURVE = [(0.8, 1000.0), (0.85, 90.0), (0.9, 100.0), (1.0, 10.0)]


def rows(points: Iterable[tuple[float, float]]) -> list[dict[str, Any]]:
    return [{"recall": recall, "qps": qps} for recall, qps in points]


def point(engine: str, setting: dict[str, int], recall: float, seconds: list[float]) -> dict[str, Any]:
    runs = len(seconds)
    return {
        "engine": engine, "setting": setting, "seconds": seconds, "recall": [recall] * runs, "ids": ["same"] * runs,
        "single_us": [[100.0 * run, 300.0 * run] for run in range(1, runs + 1)], "search_peak_bytes": [7_000_000] * runs,
    }  # fmt: skip


def engine(
    kind: str, arguments: dict[str, Any], originals: bool, size: int, build_s: float, nq: int = 50
) -> dict[str, Any]:
    build = {"build_s": build_s, "build_peak_bytes": 5_000_000, "bytes": size * 100, "n": 100, "nq": nq}
    family = "mlpq" if kind == "ours" else kind
    return {"family": family, "kind": kind, "originals": originals, "arguments": arguments, "builds": [build]}


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record by hand: ours with and without originals, two Faiss indexes."""
    built = {"m": 8, "nbits": 8, "codebooks": "global", "n_inner": 4}
    content = {
        "about": ABOUT,
        "engines": {
            "mlpq kept": engine("ours", {"m": 16}, True, 900, 1.0),
            "mlpq codes": engine("ours", built, False, 40, 2.0),
            "Faiss HNSW": engine("faiss", {"factory": "HNSW32,Flat"}, True, 3400, 30.0),
            "Faiss PQ": engine("faiss", {"factory": "IVF4,PQ8np"}, False, 42, 20.0, nq=25),
        },
        "points": {
            "a": point("mlpq kept", {"nprobe": 2, "rerank": 4}, 0.96, [1.0, 2.0, 1.0]),
            "b": point("mlpq codes", {"nprobe": 1}, 0.57, [0.5, 0.5, 0.5]),
            "c": point("Faiss HNSW", {"efSearch": 32}, 0.97, [2.0, 3.0, 4.0]),
            "d": point("Faiss PQ", {"nprobe": 1}, 0.56, [1.0, 1.0, 1.0]),
        },
        "left_out": {"ScaNN": {"family": "ScaNN", "why": "No module named 'scann'"}},
    }
    (tmp_path / "record.json").write_text(json.dumps(content))
    return tmp_path / "record.json"


@pytest.mark.parametrize(
    ("recall", "qps", "between"),
    [
        (0.5, 1000.0, (0.8, 0.8)),  # left of the front: its fastest point finds more
        (0.8, 1000.0, (0.8, 0.8)),
        (0.85, 316.2278, (0.8, 0.9)),  # the root of 1000 * 100; the point at 0.85 is beaten
        (0.9, 100.0, (0.9, 0.9)),
        (0.925, 56.23413, (0.9, 1.0)),  # 100 / 10 ** 0.25
        (1.0, 10.0, (1.0, 1.0)),
    ],
)
def test_a_front_is_read_between_its_points(recall: float, qps: float, between: tuple[float, float]) -> None:
    found = at_recall(rows(CURVE[::-1]), recall)
    assert found is not None
    assert found.qps == pytest.approx(qps)
    assert (found.below["recall"], found.above["recall"]) == between


def test_nothing_is_read_beyond_a_front() -> None:
    assert at_recall(rows(CURVE[:3]), 0.9001) is None
    assert at_recall([], 0.1) is None
    for ours, peers in ((CURVE, CURVE[:3]), (CURVE[:3], CURVE), ([], CURVE), ([], [])):
        found = at_equal_recall(rows(ours), rows(peers), 0.95)
        assert (found.ours is None, found.peers is None) == (ours != CURVE, peers != CURVE)
        assert (found.ratio, found.bounds, found.rounds) == (None, None, None)


def test_of_points_of_one_recall_the_fastest_counts_and_twins_do_no_harm() -> None:
    found = at_recall(rows([(0.8, 1000.0), (0.9, 90.0), (0.9, 100.0), (0.9, 100.0), (0.8, 1000.0)]), 0.85)
    assert found is not None
    assert found.qps == pytest.approx(316.2278)


def test_two_fronts_at_equal_recall() -> None:
    ours = rows([(0.86, 400.0), (0.94, 100.0)])  # 200 at 0.9
    found = at_equal_recall(ours, rows(CURVE), 0.9)
    assert found.ratio == pytest.approx(2)
    assert found.bounds == pytest.approx((1, 4))  # from 100 to 400, against 100
    found = at_equal_recall(ours, rows(CURVE), 0.85)
    assert found.ratio == pytest.approx(400 / 316.2278)
    assert found.bounds == pytest.approx((0.4, 4))


def test_rounds_are_compared_within_themselves() -> None:
    seconds = {"nq": 10, "recall": 0.8, "qps": 10.0, "seconds": [1.0, 2.0]}  # 10 and 5 a second
    slower = {"nq": 10, "recall": 1.0, "qps": 2.5, "seconds": [4.0, 4.0, 9.0]}  # 2.5; a round more
    peer = {"nq": 10, "recall": 0.9, "qps": 5.0, "seconds": [2.0, 5.0]}  # 5 and 2
    found = at_equal_recall([seconds, slower], [peer], 0.9)
    assert found.ours is not None
    assert found.ours.rounds == pytest.approx([5, 12.5**0.5])
    assert found.rounds == pytest.approx((1, 12.5**0.5 / 2))


def test_read_computes_what_the_record_says(record: Path) -> None:
    kept, codes, hnsw, pq = read(record)
    assert kept["params"] == {"m": 16, "nprobe": 2, "rerank": 4}
    assert (kept["recall"], kept["qps"], kept["single_us"], kept["single_p99_us"]) == (0.96, 50.0, 200.0, 600.0)
    assert (kept["build_s"], kept["bytes_per_vector"], kept["peak_bytes"], kept["nq"]) == (1.0, 900, 7_000_000, 50)
    assert pq["qps"] == 25.0  # it answers half of the queries
    found = at_equal_recall([kept, codes], [hnsw, pq], 0.96)
    assert found.ours is not None
    assert found.ours.rounds == [50, 25, 50]
    record.write_text(json.dumps({"about": {}, "points": {"a": {"engine": "none"}}, "engines": {}}))
    with pytest.raises(ValueError, match="is not a record of `compare`"):
        read(record)


def test_report_compares_at_equal_recall_and_bytes(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", "--report", "--output", str(record), "--figure", str(record.with_suffix(".svg"))])
    _, everyone, small = capsys.readouterr().out.split("## At equal recall: ours")[:3]
    # Ours falls from 100 at 0.57 to 50 at 0.96; the peers from 25 to 50 / 3, from 0.56 to 0.97. 0.95 is 38/39 and 39/41
    # of the way: 100 / 2 ** (38 / 39) = 50.90, 25 * (2 / 3) ** (39 / 41) = 17.00.
    assert "\n| 0.95 | 51 | 17 | 2.99 | " in everyone
    assert " | 2.00 to 6.00 |\n" in everyone  # finer grids: from 50 / 25 to 100 / (50 / 3)
    assert "\n| 0.98 | not reached | not reached |  |  |  |\n" in everyone
    assert "\n| 0.95 | ours | mlpq codes, nprobe 1 | 0.5700 | 100 | 40 |\n" in everyone
    assert "\n| 0.95 | peers | Faiss HNSW, ef 32 | 0.9700 | 17 | 3,400 |\n" in everyone
    assert "\n| 0.95 | 51 | not reached |  |  |  |\n" in small  # the graph takes more than 1,000 bytes
    assert "| 0.95 | peers |" not in small
    assert "<svg" in record.with_suffix(".svg").read_text()
    lines = report.report(record).splitlines()
    assert "| faiss | 42 to 3,400 | 3.37 | 3.24 | 3.11 | 2.99 | not reached | not reached |" in lines
    # Both reach 0.56, and are read below it: ours with its fastest point, which finds more, Faiss with its only one.
    assert (
        "| ≤ 43 | mlpq codes, nprobe 1 | 0.5700 | Faiss PQ, nprobe 1 | 0.5600 | 0.5550 | 100 | 25 | 4.00 | 2.00 | 20.00 | 10.0 |"
        in lines
    )
    assert "| 8 | 1 | 0.5700 | +0.0100 | 100 | 25 | 4.00 | 200 | 200 | 1.00 |" in lines
    assert "Left out: ScaNN: No module named 'scann'" in lines


def test_ratios_agree_with_the_numbers_beside_them() -> None:
    """In the record that the book shows."""
    found = read(COMPARED)
    for peers in (report.peers(found), report.fitting(report.peers(found), report.WITH_ORIGINALS)):
        table = report.equal_recall(report.compared(found, peers))
        assert [row["recall@10"] for row in table] == ["0.80", "0.85", "0.90", "0.95", "0.98", "0.99"]
        for row in table:
            ours, theirs = (float(row[name].replace(",", "")) for name in ("ours, queries/s", "peers, queries/s"))
            assert float(row["ratio"]) == pytest.approx(ours / theirs, abs=0.006)
    for row in report.codes_only(found):
        ours, theirs = (float(row[name].replace(",", "")) for name in ("queries/s", "its queries/s"))
        assert float(row["ratio"]) == pytest.approx(ours / theirs, abs=0.006)
    for row in report.same_parameters(found):
        ours, theirs = (float(row[name].replace(",", "")) for name in ("queries/s", "Faiss"))
        assert float(row["ratio"]) == pytest.approx(ours / theirs, abs=0.006)


def test_every_speed_in_the_record_lies_between_its_points() -> None:
    found = read(COMPARED)
    for comparison in report.compared(found, report.peers(found)):
        for side in (comparison.ours, comparison.peers):
            assert isinstance(side, fronts.Reading)
            assert side.below["recall"] <= comparison.recall <= side.above["recall"]
            assert side.above["qps"] <= side.qps <= side.below["qps"]


def test_report_says_when_runs_differ(record: Path) -> None:
    content = load(record)
    content["points"]["a"]["ids"][1] = "other"
    record.write_text(json.dumps(content))
    assert "Results differ between runs: mlpq kept, nprobe 2, rerank 4" in report.report(record)


def test_figure_needs_points(record: Path) -> None:
    record.write_text(json.dumps({"about": {}, "engines": {}, "points": {}, "left_out": {}}))
    with pytest.raises(ValueError, match="holds no points"):
        figure.save(record, record.with_suffix(".png"))


def test_embeddings_have_budgets_of_their_own() -> None:
    assert report.budgets({"d": 784}) == report.budgets({}) == (1000, (43, 81, 125))
    size, codes = report.budgets({"d": 384})
    assert 1536 < size < 1536 + 4 * 64  # floats and codes fit, floats and the links of a graph do not
    assert codes == (40, 64, 128)
