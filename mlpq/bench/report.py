"""What a record of `compare` says: rows, the front of each family, and ours against its peers at equal recall."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from mlpq.bench.fronts import Comparison, at_equal_recall
from mlpq.bench.store import load
from mlpq.judge.evaluate import markdown_table
from mlpq.judge.tuning import Row, pareto

RECALLS = (0.80, 0.85, 0.90, 0.95, 0.98, 0.99)
WITH_ORIGINALS = 1000  # bytes a vector in all
CODES_ONLY = (43, 81, 125)
OF_IMAGES = 784  # dimension of what keeps bytes
BESIDE_FLOATS, EMBEDDED = 150, (40, 64, 128)  # for other sets, see `budgets`
SHORT = 0.005  # of the best recall that two fronts reach: at its very end a front may pay much for little
SAME_M, SAME_NPROBE = (8, 16, 56), (1, 3, 8)
NOT_REACHED = "not reached"
Table = list[dict[str, str]]


def read(path: str | os.PathLike[str]) -> list[Row]:
    """Return a row for every point of a record of `compare`: what was stored, and what follows from it.

    Returns:
        Rows with "name", "family", "kind", "originals", "params" (arguments and setting), "recall", "same_results" (in
        all runs), "qps" (median run, all queries in one batch), "single_us" and "single_p99_us" (medians over the runs
        of the median and of the 99th percentile of single queries), "build_s" (median, where an interrupted run built
        again), "bytes_per_vector" as serialized, "peak_bytes" beyond the data, "nq", and "seconds" of every run.

    Raises:
        ValueError: no record of `compare`.
        FileNotFoundError: no such file.
    """
    record = load(path)
    try:
        return [_row(point, record["engines"][point["engine"]]) for point in record["points"].values()]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not a record of `compare`: {error!r}") from error


def about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the circumstances of a record: data set, machine, threads, versions, command.

    Raises:
        ValueError, FileNotFoundError: as in `read`.
    """
    found: dict[str, Any] = load(path)["about"]
    return found


def _row(point: dict[str, Any], engine: dict[str, Any]) -> Row:
    builds = engine["builds"]
    nq = builds[-1]["nq"]
    peaks = [build["build_peak_bytes"] for build in builds] + point["search_peak_bytes"]
    return {
        "name": point["engine"], "family": engine["family"], "kind": engine["kind"], "originals": engine["originals"],
        "params": engine["arguments"] | point["setting"],
        "recall": point["recall"][-1], "same_results": len(set(point["ids"])) == 1,
        "qps": nq / median(point["seconds"]),
        "single_us": median(us for us, _ in point["single_us"]),
        "single_p99_us": median(us for _, us in point["single_us"]),
        "build_s": median(build["build_s"] for build in builds),
        "bytes_per_vector": builds[-1]["bytes"] / builds[-1]["n"],
        "peak_bytes": max(peaks), "nq": nq, "seconds": point["seconds"],
    }  # fmt: skip


def report(path: str | os.PathLike[str]) -> str:
    """Return the tables of a record as Markdown.

    Raises:
        ValueError, FileNotFoundError: as in `read`.
    """
    rows, record = read(path), load(path)
    if not rows:
        return f"{os.fspath(path)}: no point is measured yet"
    parts = [", ".join(f"{key} {value}" for key, value in record["about"].items())]
    size, sizes = budgets(record["about"])
    limit = f"{size:,} bytes per vector"
    everyone, small = compared(rows, peers(rows), size), compared(rows, fitting(peers(rows), size), size)
    tables: dict[str, Table] = {
        "Frontier of each family": frontiers(rows),
        f"At equal recall: ours in at most {limit}, against all peers": equal_recall(everyone),
        "The points that these lie between": points(everyone),
        f"At equal recall: ours and peers in at most {limit}": equal_recall(small),
        "The points that those lie between": points(small),
        f"At equal recall: how many times as fast as each family ours is in at most {limit}": families(rows, size),
        "Codes only: just below the best recall that both reach in as many bytes": codes_only(rows, sizes),
        "Same parameters: global codebook, against IVF-PQ": same_parameters(rows),
    }
    parts += [
        f"## {title}\n\n{markdown_table(table) if table else 'No such points.'}" for title, table in tables.items()
    ]
    parts += [f"Left out: {name}: {entry['why']}" for name, entry in record["left_out"].items()]
    parts += [f"Results differ between runs: {words(row)}" for row in rows if not row["same_results"]]
    return "\n\n".join(parts)


def budgets(about: dict[str, Any]) -> tuple[int, tuple[int, ...]]:
    """Return bytes a vector in all: with originals, and for codes alone. Images keep bytes, embeddings floats."""
    d = about.get("d", OF_IMAGES)
    return (WITH_ORIGINALS, CODES_ONLY) if d == OF_IMAGES else (4 * d + BESIDE_FLOATS, EMBEDDED)


def words(row: Row) -> str:
    """Return an engine's name with its setting."""
    shown = {"nprobe": "nprobe", "rerank": "rerank", "k_factor_rf": "k_factor", "efSearch": "ef", "ef": "ef"}
    shown |= {"expansion": "ef", "window": "window", "reorder": "reorder"}
    if row["kind"] == "scann":
        shown["leaves"] = "searched"
    setting = [f"{shown[key]} {value}" for key, value in row["params"].items() if key in shown]
    return ", ".join([row["name"], *setting])


def frontiers(rows: Sequence[Row]) -> Table:
    """Return the points of each family that no other of the same family beats in recall and speed."""
    table = []
    for family in dict.fromkeys(row["family"] for row in rows):
        front = pareto([row for row in rows if row["family"] == family], large=["recall", "qps"])
        table += [_described(row) for row in sorted(front, key=lambda row: row["recall"])]
    return table


def _described(row: Row) -> dict[str, str]:
    return {
        "index": words(row), "recall@10": f"{row['recall']:.4f}", "queries/s": f"{row['qps']:,.0f}",
        "one query, µs": f"{row['single_us']:,.0f}", "99 %, µs": f"{row['single_p99_us']:,.0f}",
        "build, s": f"{row['build_s']:,.1f}", "bytes/vector": f"{row['bytes_per_vector']:,.0f}",
        "peak, MB": f"{row['peak_bytes'] / 1e6:,.0f}",
    }  # fmt: skip


def fitting(rows: Sequence[Row], size: float) -> list[Row]:
    """Return the rows of at most so many bytes per vector."""
    return [row for row in rows if row["bytes_per_vector"] <= size]


def own(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of ours."""
    return [row for row in rows if row["kind"] == "ours"]


def peers(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of other libraries; the plain loop is ours, written as one would at first."""
    return [row for row in rows if row["kind"] not in ("ours", "loop")]


def compared(rows: Sequence[Row], peers: Sequence[Row], size: int = WITH_ORIGINALS) -> list[Comparison]:
    """Return ours in at most so many bytes per vector against some peers, at each of `RECALLS`."""
    ours = fitting(own(rows), size)
    return [at_equal_recall(ours, peers, recall) for recall in RECALLS]


def equal_recall(comparisons: Iterable[Comparison]) -> Table:
    """Return the speeds on both sides and their ratio: that of the two numbers beside it.

    "single rounds" is the least and the largest ratio within one round, "finer grids" what the ratio can at least and
    at most become with more settings between the same points.
    """
    table = []
    for found in comparisons:
        speeds = [f"{side.qps:,.0f}" if side else NOT_REACHED for side in (found.ours, found.peers)]
        cells = {"recall@10": f"{found.recall:.2f}", "ours, queries/s": speeds[0], "peers, queries/s": speeds[1]}
        cells["ratio"] = f"{found.ratio:.2f}" if found.ratio else ""
        for name, ends in (("single rounds", found.rounds), ("finer grids", found.bounds)):
            cells[name] = f"{ends[0]:.2f} to {ends[1]:.2f}" if ends else ""
        table.append(cells)
    return table


def points(comparisons: Iterable[Comparison]) -> Table:
    """Return the points that the speeds of `equal_recall` lie between, one a row; one where a front begins further right."""
    table = []
    for found in comparisons:
        for side, reading in (("ours", found.ours), ("peers", found.peers)):
            ends = [reading.below, reading.above] if reading else []
            for row in ends[1:] if ends and ends[0] is ends[1] else ends:
                table.append({
                    "at": f"{found.recall:.2f}", "side": side, "point": words(row), "recall@10": f"{row['recall']:.4f}",
                    "queries/s": f"{row['qps']:,.0f}", "bytes/vector": f"{row['bytes_per_vector']:,.0f}",
                })  # fmt: skip
    return table


def families(rows: Sequence[Row], size: int = WITH_ORIGINALS) -> Table:
    """Return, for each family of peers, its bytes and the ratio of ours, in at most `size`, to it at each recall."""
    table = []
    for family in dict.fromkeys(row["family"] for row in peers(rows)):
        members = [row for row in rows if row["family"] == family]
        held = [row["bytes_per_vector"] for row in members]
        cells = {"peer": family, "bytes/vector": f"{min(held):,.0f} to {max(held):,.0f}"}
        ratios = {f"{found.recall:.2f}": found.ratio for found in compared(rows, members, size)}
        table.append(cells | {at: f"{ratio:.2f}" if ratio else NOT_REACHED for at, ratio in ratios.items()})
    return table


def codes_only(rows: Sequence[Row], sizes: Sequence[int] = CODES_ONLY) -> Table:
    """Return, for each budget, ours and Faiss without originals, their best recall, and their speeds just short of it.

    Speeds are read at `SHORT` below the best recall that both reach; "build, s" is of the index on each front that finds as
    much.
    """
    table = []
    for size in sizes:
        coded = [row for row in fitting(rows, size) if not row["originals"]]
        ours, faiss = own(coded), [row for row in coded if row["kind"] == "faiss"]
        if not ours or not faiss:
            continue
        best = [max(row["recall"] for row in side) for side in (ours, faiss)]
        at = min(best) - SHORT
        found = at_equal_recall(ours, faiss, at)
        assert found.ours
        assert found.peers
        index, peer = found.ours.above, found.peers.above
        table.append({
            "bytes/vector": f"≤ {size}", "ours": words(index), "best recall@10": f"{best[0]:.4f}", "Faiss": words(peer),
            "its best recall@10": f"{best[1]:.4f}", "at": f"{at:.4f}", "queries/s": f"{found.ours.qps:,.0f}",
            "its queries/s": f"{found.peers.qps:,.0f}", "ratio": f"{found.ours.qps / found.peers.qps:.2f}",
            "build, s": f"{index['build_s']:.2f}", "its build, s": f"{peer['build_s']:.2f}",
            "build ratio": f"{peer['build_s'] / index['build_s']:.1f}",
        })  # fmt: skip
    return table


def same_parameters(rows: Sequence[Row]) -> Table:
    """Return ours against `IndexIVFPQ` of the same m, nbits, cells and nprobe."""
    table = []
    same = {"nbits": 8, "codebooks": "global"}
    plain = [row for row in own(rows) if row["params"].items() >= same.items() and "pca_dim" not in row["params"]]
    for ours in sorted(plain, key=lambda row: (row["params"]["m"], row["params"]["nprobe"])):
        m, nprobe, cells = (ours["params"][name] for name in ("m", "nprobe", "n_inner"))
        wanted = {"factory": f"IVF{cells},PQ{m}np", "nprobe": nprobe}
        peer = next((row for row in rows if row["params"].items() >= wanted.items()), None)
        if peer is not None:
            table.append({
                "m": str(m), "nprobe": str(nprobe), "recall@10": f"{ours['recall']:.4f}",
                "difference": f"{ours['recall'] - peer['recall']:+.4f}", "queries/s": f"{ours['qps']:,.0f}",
                "Faiss": f"{peer['qps']:,.0f}", "ratio": f"{ours['qps'] / peer['qps']:.2f}",
                "one query, µs": f"{ours['single_us']:,.0f}", "Faiss, µs": f"{peer['single_us']:,.0f}",
                "ratio of speed": f"{peer['single_us'] / ours['single_us']:.2f}",
            })  # fmt: skip
    return table
