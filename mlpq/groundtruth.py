"""Exact nearest neighbours: computed in float64, ties broken by id, kept once computed, verified when stored."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from mlpq._check import FloatMatrix
from mlpq._hdf5 import numbers
from mlpq.storage import replacing

log = logging.getLogger(__name__)

K = 100  # neighbours per query, as in ann-benchmarks
ROWS, QUERIES = 8192, 512  # of one block: 32 MB of float64 distances
SAMPLED_QUERIES = 16
TOLERANCE = 1e-4  # relative, of a squared distance stored in float32 after a square root

Ids = npt.NDArray[np.int32]


def compute(xb: FloatMatrix, xq: FloatMatrix, *, progress: bool = False) -> tuple[Ids, FloatMatrix]:
    """Return ids (nq, min(100, N)) int32 and squared distances float32 of the nearest base vectors.

    Float64 makes this exact for vectors of small integers, such as pixels: every product and sum is then an integer
    below 2**53.
    """
    k = min(K, len(xb))
    best_D = np.full((len(xq), k), np.inf)
    best_I = np.full((len(xq), k), len(xb), np.int64)
    for start in tqdm(range(0, len(xb), ROWS), desc="exact neighbours", disable=not progress):
        base = xb[start : start + ROWS].astype(np.float64)
        base_norms = np.einsum("ij,ij->i", base, base)
        for q in range(0, len(xq), QUERIES):
            rows = slice(q, q + QUERIES)
            queries = xq[rows].astype(np.float64)
            D = base_norms - 2 * (queries @ base.T) + np.einsum("ij,ij->i", queries, queries)[:, None]
            I = np.broadcast_to(np.arange(start, start + len(base)), D.shape)
            # The best so far stand first and have lower ids, so a stable selection breaks ties by id.
            best_D[rows], best_I[rows] = _smallest(np.hstack([best_D[rows], D]), np.hstack([best_I[rows], I]), k)
    return best_I.astype(np.int32), np.maximum(best_D, 0).astype(np.float32)


def _smallest(
    D: npt.NDArray[np.float64], I: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the k smallest of each row in order; among equals, those that stand first."""
    if k < D.shape[1]:
        kth = np.partition(D, k - 1, axis=1)[:, k - 1 : k]
        # All below the k-th value, then of those equal to it the first, up to k.
        rank = np.where(kth > D, 0, np.where(kth == D, 1, 2)).astype(np.int8)
        columns = np.sort(np.argsort(rank, axis=1, kind="stable")[:, :k], axis=1)
        D, I = np.take_along_axis(D, columns, axis=1), np.take_along_axis(I, columns, axis=1)
    order = np.argsort(D, axis=1, kind="stable")
    return np.take_along_axis(D, order, axis=1), np.take_along_axis(I, order, axis=1)


def cached(xb: FloatMatrix, xq: FloatMatrix, folder: Path) -> tuple[Ids, FloatMatrix]:
    """Return what `compute` returns, from `folder` if it was computed before for the same vectors."""
    digest = hashlib.sha256(repr((xb.shape, xq.shape, K)).encode())
    for x in (xb, xq):
        digest.update(x.data)
    path = folder / f"neighbors-{digest.hexdigest()[:32]}.hdf5"
    try:
        with h5py.File(path, "r") as file:
            gt, distances = numbers(file, "neighbors")[...], numbers(file, "distances")[...]
        verify(xb, xq, gt, distances)
    except Exception:  # absent, or damaged in a way that h5py does not foresee: compute
        gt, distances = compute(xb, xq, progress=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as part, h5py.File(part, "w") as file:
                file["neighbors"], file["distances"] = gt, distances
        except OSError as error:
            log.warning("the neighbours computed are not kept: %s", error)
    return gt, distances


def verify(xb: Any, xq: Any, gt: Ids, distances: FloatMatrix) -> None:
    """Verify stored neighbours by meaning: shapes, ids, order, and the distances of some queries recomputed.

    xb and xq are arrays, or HDF5 data sets of which only the rows needed are read.

    Raises:
        ValueError: they do not belong to these vectors.
    """
    if gt.ndim != 2 or gt.shape != distances.shape or len(gt) != len(xq) or gt.shape[1] < 1:
        raise ValueError(f"neighbors {gt.shape} and distances {distances.shape} do not fit {len(xq)} queries")
    if gt.min() < 0 or gt.max() >= len(xb):
        raise ValueError(f"neighbors must be ids from 0 to {len(xb) - 1}; got {gt.min()} to {gt.max()}")
    if not np.isfinite(distances).all() or (np.diff(distances, axis=1) < 0).any():
        raise ValueError("distances must be finite and ascending")
    for q in np.linspace(0, len(xq) - 1, SAMPLED_QUERIES).astype(int):
        rows, position = np.unique(gt[q], return_inverse=True)
        difference = (np.asarray(xb[rows], np.float64) - np.asarray(xq[q], np.float64))[position]
        if not np.allclose(np.einsum("ij,ij->i", difference, difference), distances[q], rtol=TOLERANCE, atol=TOLERANCE):
            raise ValueError(f"the stored distances of query {q} are not the Euclidean ones to its stored neighbors")
