"""What a record of `compare` says: rows, the frontier of each family, and how ours stands against its peers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from mlpq.bench.store import load
from mlpq.evaluate import markdown_table
from mlpq.tuning import Row, pareto

RECALLS = (0.90, 0.95, 0.99)
WITH_ORIGINALS = 1000  # bytes a vector that ours may take in all
CODES_ONLY = (43, 76, 125)
SAME_M, SAME_NPROBE = (8, 16, 56), (1, 3, 8)
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
    titles: dict[str, Callable[[list[Row]], Table]] = {
        "Frontier of each family": frontiers,
        f"With originals: ours in at most {WITH_ORIGINALS} bytes a vector, against the fastest peer": with_originals,
        "Codes only: against the Faiss index of best recall in as many bytes": codes_only,
        "Same parameters: global codebook, against IVF-PQ": same_parameters,
    }
    parts += [f"## {title}\n\n{markdown_table(table) if (table := make(rows)) else 'No such points.'}"
              for title, make in titles.items()]  # fmt: skip
    parts += [f"Left out: {name}: {entry['why']}" for name, entry in record["left_out"].items()]
    parts += [f"Results differ between runs: {words(row)}" for row in rows if not row["same_results"]]
    return "\n\n".join(parts)


def words(row: Row) -> str:
    """Return an engine's name with its setting."""
    shown = {"nprobe": "nprobe", "rerank": "rerank", "k_factor_rf": "k_factor", "efSearch": "ef", "ef": "ef"}
    shown |= {"expansion": "ef", "reorder": "reorder"} | ({"leaves": "searched"} if row["kind"] == "scann" else {})
    setting = [f"{shown[key]} {value}" for key, value in row["params"].items() if key in shown]
    return ", ".join([row["name"], *setting])


def ratio(ours: Row, peer: Row) -> float:
    """Return how many times the queries per second of the peer ours answers: the median over the runs, pair by pair."""
    pairs = zip(ours["seconds"], peer["seconds"], strict=False)  # a record of an interrupted run has uneven numbers
    return float(median((ours["nq"] / a) / (peer["nq"] / b) for a, b in pairs))


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


def _fastest(rows: Sequence[Row]) -> Row | None:
    return max(rows, key=lambda row: row["qps"], default=None)


def with_originals(rows: Sequence[Row]) -> Table:
    """Return, for each recall, the fastest of ours and of the peers that reach it."""
    table = []
    for recall in RECALLS:
        reach = [row for row in rows if row["recall"] >= recall]
        ours = _fastest([row for row in reach if _own(row) and row["bytes_per_vector"] <= WITH_ORIGINALS])
        peer = _fastest([row for row in reach if not _own(row)])
        cells = {"recall@10": f"≥ {recall:.2f}", "ours": "none", "queries/s": "", "peer": "none", "its queries/s": ""}
        if ours:
            cells |= {"ours": f"{words(ours)}: {ours['recall']:.4f}", "queries/s": f"{ours['qps']:,.0f}"}
        if peer:
            cells |= {"peer": f"{words(peer)}: {peer['recall']:.4f}", "its queries/s": f"{peer['qps']:,.0f}"}
        table.append(cells | {"ratio": f"{ratio(ours, peer):.2f}" if ours and peer else ""})
    return table


def codes_only(rows: Sequence[Row]) -> Table:
    """Return, for each budget, Faiss's index of best recall without originals, and the fastest of ours that beats it."""
    table = []
    for size in CODES_ONLY:
        fitting = [row for row in rows if row["bytes_per_vector"] <= size and not row["originals"]]
        peer = max((row for row in fitting if row["kind"] == "faiss"), key=lambda row: row["recall"], default=None)
        if peer is None:
            continue
        ours = _fastest([row for row in fitting if _own(row) and row["recall"] > peer["recall"]])
        best = max((row for row in fitting if _own(row)), key=lambda row: row["recall"], default=None)
        chosen = ours or best
        cells = {"bytes/vector": f"≤ {size}", "Faiss": words(peer), "recall@10": f"{peer['recall']:.4f}"}
        cells |= {"queries/s": f"{peer['qps']:,.0f}", "build, s": f"{peer['build_s']:.1f}", "ours": "none"}
        cells |= dict.fromkeys(("our recall@10", "our queries/s", "our build, s", "speed ratio", "build ratio"), "")
        if chosen:
            cells |= {
                "ours": words(chosen) + ("" if ours else " (does not beat it)"),
                "our recall@10": f"{chosen['recall']:.4f}", "our queries/s": f"{chosen['qps']:,.0f}",
                "our build, s": f"{chosen['build_s']:.1f}", "speed ratio": f"{ratio(chosen, peer):.2f}",
                "build ratio": f"{peer['build_s'] / chosen['build_s']:.2f}",
            }  # fmt: skip
        table.append(cells)
    return table


def same_parameters(rows: Sequence[Row]) -> Table:
    """Return ours against `IndexIVFPQ` of the same m, nbits, cells and nprobe."""
    table = []
    for m in SAME_M:
        for nprobe in SAME_NPROBE:
            wanted = {"m": m, "nbits": 8, "codebooks": "global", "nprobe": nprobe}
            ours = next((row for row in rows if _own(row) and row["params"].items() >= wanted.items()), None)
            factory = f"IVF{ours['params']['n_inner']},PQ{m}np" if ours else ""
            same = {"factory": factory, "nprobe": nprobe}
            peer = next((row for row in rows if row["params"].items() >= same.items()), None)
            if ours is None or peer is None:
                continue
            table.append({
                "m": str(m), "nprobe": str(nprobe), "recall@10": f"{ours['recall']:.4f}",
                "difference": f"{ours['recall'] - peer['recall']:+.4f}", "queries/s": f"{ours['qps']:,.0f}",
                "Faiss": f"{peer['qps']:,.0f}", "ratio": f"{ratio(ours, peer):.2f}",
                "one query, µs": f"{ours['single_us']:,.0f}", "Faiss, µs": f"{peer['single_us']:,.0f}",
                "ratio of speed": f"{peer['single_us'] / ours['single_us']:.2f}",
            })  # fmt: skip
    return table


def _own(row: Row) -> bool:
    return bool(row["kind"] == "ours")
