"""How good, and where the loss is: recall three ways, sweeps, error decomposition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mlpq import _check
from mlpq._check import Array, FloatMatrix, IdMatrix
from mlpq._parallel import blocks
from mlpq.index import MultiLevelPQ
from mlpq.judge.timing import measure


def recall_at_k(I: npt.ArrayLike, gt: npt.ArrayLike, k: int) -> float:
    """Return the share of the true k nearest that stand anywhere among the first k found: k-recall@k.

    The order within the k does not matter; an id found twice counts once; -1 finds nothing, and in `gt` is not found.

    Args:
        I: (nq, >= k) ids found.
        gt: (nq, >= k) ids of the true nearest, nearest first.

    Example:
        >>> recall_at_k([[2, 7, 1]], [[1, 2, 3]], k=3) == 2 / 3
        True

    Raises:
        TypeError, ValueError: not ids, other numbers of queries, fewer than k columns, k < 1.
    """
    k = _check.integer(k, "k", 1)
    return float(_found(I, gt, k, k).mean())


def recall_interval(I: npt.ArrayLike, gt: npt.ArrayLike, k: int) -> tuple[float, float]:
    """Return `recall_at_k` and the half-width of its 95 % confidence interval.

    The queries are taken for a sample of those to come; the neighbours of one query stand or fall together, so the
    spread is that of the recall of single queries: 1.96 standard errors of their mean.

    Args:
        I, gt, k: as in `recall_at_k`, for at least two queries.

    Example:
        >>> recall_interval([[1], [2], [3], [9]], [[1], [2], [3], [4]], k=1)
        (0.75, 0.49)

    Raises:
        TypeError, ValueError: as in `recall_at_k`; fewer than two queries.
    """
    k = _check.integer(k, "k", 1)
    single = _found(I, gt, k, k).mean(axis=1)
    if len(single) < 2:
        raise ValueError("an interval needs at least two queries; got 1")
    return float(single.mean()), float(1.96 * single.std(ddof=1) / len(single) ** 0.5)


def recall_1_at_r(I: npt.ArrayLike, gt: npt.ArrayLike, r: int) -> float:
    """Return the share of queries whose one true nearest stands among the first r found: 1-recall@r.

    This is the recall of Jégou, Douze & Schmid (2011, section V-B); at equal r it is usually the larger number.

    Args:
        I: (nq, >= r) ids found.
        gt: (nq, >= 1) ids of the true nearest, nearest first.

    Example:
        >>> recall_1_at_r([[2, 7, 1]], [[1, 2, 3]], r=3)
        1.0

    Raises:
        TypeError, ValueError: as in `recall_at_k`.
    """
    return float(_found(I, gt, 1, _check.integer(r, "r", 1)).mean())


def recall_by_distance(D: npt.ArrayLike, distances: npt.ArrayLike, k: int, *, rtol: float = 1e-5) -> float:
    """Return the share of the first k found that are no farther than the true k-th nearest: fair where there are ties.

    As ann-benchmarks does. D must hold true distances: those of an exact search, of rerank, or recomputed; the
    distances to codes say nothing here. No k vectors are nearer than the true k nearest, place by place: what is, is
    refused. Beside `rtol`, one millionth of the true k-th distance counts as rounding; where that is 0, of the row's
    largest, or of the median row's.

    Args:
        D: (nq, >= k) squared L2 distances of the ids found, in any order; +inf for none.
        distances: (nq, >= k) squared L2 distances of the true nearest; +inf where there are fewer.
        rtol: relative rounding error of D.

    Example:
        >>> recall_by_distance([[1.0, 4.0]], [[1.0, 4.0, 4.0]], k=2)
        1.0

    Raises:
        TypeError: not numbers.
        ValueError: other numbers of queries, fewer than k columns, k < 1, rtol not from 0 to 1, NaN, negative
            `distances`, or D below them.
    """
    k = _check.integer(k, "k", 1)
    if not 0 <= rtol < 1:
        raise ValueError(f"rtol must be at least 0 and below 1; got {rtol}")
    found, true = _distances(D, "D"), _distances(distances, "distances")
    _check_columns(found, "D", true, "distances", k, k)
    if true.min() < 0:
        raise ValueError(f"distances must be squared L2 distances, at least 0; got {true.min():.6g}")
    found, true = np.sort(found[:, :k], axis=1), np.sort(true, axis=1)
    rounding = 1e-6 * _scales(true, k)
    low = np.argwhere(found < true[:, :k] * (1 - rtol) - rounding)
    if len(low):
        q, i = low[0].tolist()
        raise ValueError(
            f"D must hold true squared L2 distances, to k different vectors; in row {q}, sorted, place {i + 1} is "
            f"{found[q, i]:.6g}, nearer than the true {true[q, i]:.6g}: recompute distances to codes, square roots, drop "
            "copies, or raise rtol if it is rounding"
        )
    return float((np.isfinite(found) & (found <= true[:, k - 1 : k] * (1 + rtol) + rounding)).mean())


def _distances(D: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    array = _check.array(D, name)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold distances; got dtype {array.dtype}")
    if np.isnan(array).any():
        raise ValueError(f"{name} must not hold NaN; +inf stands for none")
    return array.astype(np.float64)


def _scales(true: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.float64]:
    """Return, for each row of ascending distances, the k-th; where that says nothing, the row's largest, or others'."""
    finite = np.where(np.isinf(true), 0, true)
    scales = np.where(finite[:, k - 1] > 0, finite[:, k - 1], finite.max(axis=1))
    known = scales[scales > 0]
    return np.where(scales > 0, scales, np.median(known) if len(known) else 1.0)[:, None]


def _found(I: npt.ArrayLike, gt: npt.ArrayLike, k: int, r: int) -> npt.NDArray[np.bool_]:
    """Return whether each of the true k nearest is among the first r found: (nq, k)."""
    found, true = _check.ids(I, "I"), _check.ids(gt, "gt")
    _check_columns(found, "I", true, "gt", r, k)
    hits = np.empty((len(true), k), bool)
    for rows in blocks(len(true), k * r):
        hits[rows] = (true[rows, :k, None] == found[rows, None, :r]).any(axis=2) & (true[rows, :k] >= 0)
    return hits


def _check_columns(found: Array, found_name: str, true: Array, true_name: str, r: int, k: int) -> None:
    for array, name, columns in ((found, found_name, r), (true, true_name, k)):
        if array.ndim != 2 or array.shape[1] < columns:
            raise ValueError(f"{name} must have shape (nq, {columns} or more); got shape {array.shape}")
    if len(found) != len(true) or len(found) == 0:
        raise ValueError(f"{found_name} and {true_name} must hold the same queries; got {len(found)} and {len(true)}")


class SearchesByCell(Protocol):
    """An index with inverted lists: `KMeansIndex` or `MultiLevelPQ`."""

    def search(self, xq: npt.ArrayLike, k: int, *, nprobe: int) -> tuple[FloatMatrix, IdMatrix]: ...


def sweep(
    index: SearchesByCell,
    xq: npt.NDArray[Any],
    gt: npt.ArrayLike,
    k: int,
    nprobes: Sequence[int],
    *,
    threads: int | None = None,
    runs: int = 5,
) -> list[dict[str, Any]]:
    """Search with each nprobe in turn and return a row for each: nprobe, recall (`recall_at_k`), qps, timing.

    Example:
        >>> import mlpq
        >>> ds = mlpq.synthetic(1000, 8, nq=10)
        >>> index = mlpq.KMeansIndex(8, n_clusters=10).train(ds.xb).add(ds.xb)
        >>> [(row["nprobe"], row["recall"]) for row in sweep(index, ds.xq, ds.gt, 10, [10], runs=1)]
        [(10, 1.0)]

    Raises:
        TypeError, ValueError, RuntimeError: as in the index's `search`, in `recall_at_k` and in `measure`.
    """
    rows = []
    for nprobe in (_check.integer(nprobe, "nprobe", 1) for nprobe in nprobes):
        search = partial(index.search, xq, k, nprobe=nprobe)
        (_, I), timing = measure(search, len(xq), threads=threads, runs=runs)
        rows.append({"nprobe": nprobe, "recall": recall_at_k(I, gt, k), "qps": timing.qps, "timing": timing})
    return rows


def error_decomposition(
    index: MultiLevelPQ, xq: npt.ArrayLike, gt: npt.ArrayLike, k: int, nprobe: int, *,
    n_outer_probe: int | None = None, rerank: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Say why true neighbours are missing: the shares of the true k nearest that were found, and lost at each step.

    Args:
        xq: (nq, d) queries.
        gt: (nq, >= k) ids of the true nearest, nearest first, all of them in the index.

    Returns:
        Four shares that add up to 1. "recall" was found; "coarse" is lost because the cell was not probed;
        "quantization" is in a probed cell, yet displaced by others; "shortlist", with `rerank`, is in a probed cell,
        yet not among the rerank * k best by code, so that no exact distance was computed.

    Example:
        >>> import mlpq
        >>> ds = mlpq.synthetic(1000, 8, nq=10)
        >>> index = mlpq.MultiLevelPQ(8, n_inner=4, n_outer=2, m=4, nbits=4).train(ds.xb).add(ds.xb)
        >>> shares = error_decomposition(index, ds.xq, ds.gt, 10, nprobe=4)
        >>> shares["coarse"], round(sum(shares.values()), 6)
        (0.0, 1.0)

    Raises:
        TypeError, ValueError, RuntimeError: as in `MultiLevelPQ.search` and `recall_at_k`.
    """
    k, rerank = _check.integer(k, "k", 1), _check.integer(rerank, "rerank", 0)
    nprobe = min(_check.integer(nprobe, "nprobe", 1), index.clusters.n_inner)
    x, true = _check.matrix(xq, "xq", index.d, metric=index.metric), _check.ids(gt, "gt")[:, :k]
    visited, _ = in_sight(index, x, true, nprobe, n_outer_probe)
    search = partial(index.search, x, nprobe=nprobe, n_outer_probe=n_outer_probe)
    _, I = search(k, rerank=rerank)
    found = _found(I, true, k, k)
    listed = visited
    if rerank:
        r = min(rerank * k, index.ntotal)
        listed = _found(search(r)[1], true, k, r)
    return {
        "recall": float(found.mean()),
        "coarse": float((~visited).mean()),
        "quantization": float((listed & ~found).mean()),
        "shortlist": float((visited & ~listed).mean()),
    }


def in_sight(
    index: MultiLevelPQ, x: FloatMatrix, true: IdMatrix, nprobe: int, n_outer_probe: int | None = None
) -> tuple[npt.NDArray[np.bool_], IdMatrix]:
    """Return whether the cells of true neighbours (nq, k) are probed by queries x (nq, d), and the probes (nq, nprobe)."""
    rows = index.lists.rows_of(true.ravel())
    if (rows < 0).any():
        raise ValueError(f"gt must hold ids of the index; {true.ravel()[rows < 0][0]} is none")
    _, probes = index._probe(index._turned(x), nprobe, n_outer_probe)
    return (index.lists.cells_of(rows).reshape(true.shape)[:, :, None] == probes[:, None, :]).any(axis=2), probes


def markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows with the same keys as a Markdown table; the first column is aligned left, the others right.

    Example:
        >>> print(markdown_table([{"method": "exact", "recall": "1.00"}]))
        | method | recall |
        |:--|--:|
        | exact | 1.00 |
    """
    header = list(rows[0])
    lines = [header, *([row[column] for column in header] for row in rows)]
    text = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([text[0], "|:--" + "|--:" * (len(header) - 1) + "|", *text[1:]])
