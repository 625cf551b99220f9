"""Bytes before building, measured grids, and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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

    Codes are those of product quantization; axes are counted where `pca_dim` is given. Every owner is taken to have a
    codebook of its own: where owners borrow (see `MultiLevelPQ`), less is needed.

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
        52
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

    Example:
        >>> import mlpq
        >>> ds = mlpq.synthetic(2000, 16, nq=10)
        >>> rows = measure_grid(ds, [{"m": 4, "nbits": 4}, {"m": 8, "nbits": 4}], [1, 4], n_inner=8, n_outer=2)
        >>> [(row["m"], row["nprobe"]) for row in rows]
        [(4, 1), (4, 4), (8, 1), (8, 4)]

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
