"""From a memory budget to m, nbits and nprobe: bytes before building, measured grids, the Pareto front, a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, get_args

import numpy as np
from tqdm.auto import tqdm

from mlpq import _check
from mlpq._objects import Memory
from mlpq.clustering import TwoLevelKMeans
from mlpq.codecs.codebooks import DTYPES, OWNERS, CodebookDtype, Owner
from mlpq.codecs.pq import ProductQuantizer
from mlpq.data.datasets import Dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import sweep

Row = dict[str, Any]
NPROBES = (1, 2, 3, 5, 8, 16)


def predict_memory(
    n: int,
    d: int,
    n_inner: int = 100,
    n_outer: int = 10,
    *,
    m: int = 8,
    nbits: int = 8,
    codebooks: Owner = "global",
    keep_originals: bool = False,
    pca_dim: int | None = None,
    codebook_dtype: CodebookDtype = "float32",
) -> Memory:
    """Return what `MultiLevelPQ.memory()` will report with n vectors added, without building anything.

    Every owner is taken to have a codebook of its own: where owners borrow (see `MultiLevelPQ`), less is needed.

    Args:
        n: vectors to be added; any size.
        d, n_inner, n_outer, m, nbits, codebooks, keep_originals, pca_dim, codebook_dtype: as in
            `MultiLevelPQ`; originals in float32.

    Returns:
        Bytes by component, with the sum as `.total`.

    Raises:
        ValueError, TypeError: as in `MultiLevelPQ`; n < 0.

    Example:
        >>> predict_memory(10**9, 96, 2**16, 2**8, m=48, codebooks="global").total // 10**9
        56
    """
    n = _check.integer(n, "n", 0)
    d = _check.integer(d, "d", 1)
    dim = d if pca_dim is None else _check.integer(pca_dim, "pca_dim", 1, d)  # of the codes
    pq, clusters = ProductQuantizer(dim, m, nbits), TwoLevelKMeans(dim, n_inner, n_outer)
    owners = {"inner": clusters.n_inner, "outer": clusters.n_outer, "global": 1}
    n_codebooks = owners[_check.one_of(codebooks, "codebooks", OWNERS)]
    itemsize = np.dtype(_check.one_of(codebook_dtype, "codebook_dtype", DTYPES)).itemsize
    sizes = {
        "codes": n * pq.code_size,
        "ids": n * (4 if n <= 2**32 else 8),
        "codebooks": n_codebooks * pq.ksub * dim * itemsize,
        "codebook_ranges": n_codebooks * pq.m * 8 if codebook_dtype == "uint8" else 0,
        "originals": n * d * 4 if keep_originals else 0,
        "mean": d * 4 if pca_dim else 0,
        "axes": d * dim * 4 if pca_dim else 0,
    }
    return Memory({name: size for name, size in (sizes | _bytes_of_cells(clusters)).items() if size})


def _bytes_of_cells(clusters: TwoLevelKMeans) -> dict[str, int]:
    n_inner, n_outer, d = clusters.n_inner, clusters.n_outer, clusters.d
    centroids = {"inner_centroids": n_inner * d * 4, "outer_centroids": n_outer * d * 4}
    return centroids | {
        "list_offsets": (n_inner + 1) * 8,
        "codebook_of_cell": n_inner * 8,
        "inner_to_outer": n_inner * 8,
    }


def measure_grid(
    ds: Dataset,
    settings: Iterable[Mapping[str, Any]],
    nprobes: Sequence[int] = NPROBES,
    *,
    n_inner: int,
    n_outer: int,
    k: int = 10,
    runs: int = 1,
    threads: int | None = None,
    progress: bool = False,
) -> list[Row]:
    """Build an index with each of the settings, search with each nprobe, and return a row for each of both.

    Args:
        ds: its base is trained on and added; its queries and ground truth judge.
        settings: keyword arguments for `MultiLevelPQ`, one mapping per index.
        k: recall is counted for k neighbours.
        runs: counted runs of each search, after one warm-up.
        threads: as in `measure`.
        progress: show a bar on stderr.

    Returns:
        Rows with the settings, nprobe, recall (`recall_at_k`), qps, and bytes (all components).

    Raises:
        ValueError, TypeError: as in `MultiLevelPQ`, `measure` and `recall_at_k`.
    """
    rows = []
    for setting in tqdm(list(settings), desc="indexes", disable=not progress):
        index = MultiLevelPQ(ds.d, n_inner, n_outer, **setting).train(ds.xb).add(ds.xb)
        built = {name: getattr(index, name) for name in setting}
        for row in sweep(index, ds.xq, ds.gt, k, nprobes, threads=threads, runs=runs):
            rows.append(
                built | {name: row[name] for name in ("nprobe", "recall", "qps")} | {"bytes": index.memory().total}
            )
    return rows


def pareto(rows: Iterable[Row], *, small: Sequence[str] = (), large: Sequence[str] = ()) -> list[Row]:
    """Return the rows that no other row beats: none is as good in every respect and better in one.

    Args:
        small: columns where less is better, as bytes.
        large: columns where more is better, as recall and qps.

    Example:
        >>> pareto([{"bytes": 1, "recall": 0.5}, {"bytes": 2, "recall": 0.4}], small=["bytes"], large=["recall"])
        [{'bytes': 1, 'recall': 0.5}]

    Raises:
        ValueError: no column is named.
    """
    if not small and not large:
        raise ValueError("small or large must name the columns to compare")
    rows = list(rows)
    points = [tuple([row[c] for c in small] + [-row[c] for c in large]) for row in rows]
    return [
        row
        for row, point in zip(rows, points, strict=True)
        if not any(other != point and all(a <= b for a, b in zip(other, point, strict=True)) for other in points)
    ]


def recommend(
    ds: Dataset,
    bytes_per_vector: float,
    recall: float,
    *,
    n_inner: int,
    n_outer: int,
    k: int = 10,
    nbits: Sequence[int] = (4, 6, 8),
    owners: Sequence[Owner] = get_args(Owner),
    nprobes: Sequence[int] = NPROBES,
    progress: bool = False,
) -> list[Row]:
    """Measure, for each owner and each nbits, the largest m whose whole index fits the budget.

    An nbits whose codebooks would need more than the base, 2**nbits vectors, is left out.

    Args:
        bytes_per_vector: budget for everything: codes, ids, codebooks, centroids.
        recall: wanted, from 0 to 1, at k.
        ds, n_inner, n_outer, k, nprobes, progress: as in `measure_grid`.

    Returns:
        Rows of `measure_grid` with one more column, "meets", for whether the recall is reached. First those that do,
        fastest first; then the others, best recall first.

    Raises:
        ValueError: recall outside 0..1; no nbits can be trained; nothing fits: the message says what the smallest
            index takes.
    """
    if not 0 <= recall <= 1:
        raise ValueError(f"recall must be from 0 to 1; got {recall}")
    fitting = _largest_fitting(ds, bytes_per_vector, n_inner, n_outer, product(owners, nbits))
    rows = measure_grid(ds, fitting, nprobes, n_inner=n_inner, n_outer=n_outer, k=k, progress=progress)
    rows = [row | {"meets": row["recall"] >= recall} for row in rows]
    return sorted(rows, key=lambda row: (not row["meets"], -row["qps"] if row["meets"] else -row["recall"]))


def _largest_fitting(
    ds: Dataset, budget: float, n_inner: int, n_outer: int, kinds: Iterable[tuple[Owner, int]]
) -> list[Row]:
    """Return, for each (owner, nbits), the settings with the largest m that fits; raise if nothing does."""
    fitting: list[Row] = []
    smallest, n = float("inf"), len(ds.xb)
    for owner, bits in kinds:
        if 2 ** _check.integer(bits, "nbits", 1, _check.MAX_NBITS) > n:
            continue  # a codebook would need more vectors to train on
        for m in reversed(_check.valid_m(ds.d)):
            setting: Row = {"codebooks": owner, "m": m, "nbits": bits}
            needed = predict_memory(n, ds.d, n_inner, n_outer, **setting).total / n
            smallest = min(smallest, needed)
            if needed <= budget:
                fitting.append(setting)
                break
    if smallest == float("inf"):
        raise ValueError(f"nbits must hold one whose 2**nbits is at most the number of vectors, {n}")
    if not fitting:
        raise ValueError(f"bytes_per_vector must be at least {smallest:.1f} for {n} vectors of d={ds.d}; got {budget}")
    return fitting
