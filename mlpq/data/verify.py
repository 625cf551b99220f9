"""Neighbours that a file holds, verified by meaning: what their distances are, and whether they are the nearest."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlpq._check import FloatMatrix
from mlpq._parallel import cut, in_threads
from mlpq.data.groundtruth import Doubles, Ids, compute
from mlpq.search.distance import exact_to_pairs

CHECKED = 128  # queries searched anew, at least: all of them miss one wrong query in ten in 1 of 700,000 files
CHEAP = 1 << 31  # multiplications for which more queries are searched anew
TOLERANCE = 1e-4  # relative, of a squared distance stored in float32 after a square root
ROUNDING = 4e-6  # relative to squared norms, of a distance that float32 computed as ||x||^2 - 2 x.y + ||y||^2
DUPLICATE = 1e-9  # relative to squared norms: nearer vectors differ by little more than rounding


def stored_metric(xb: Any, xq: Any, gt: Ids, distances: Doubles) -> str | None:
    """Return what stored distances are by their meaning: "l2" (roots) or "cosine" (1 - cos); None if they fit both.

    Looks at the last neighbour of some queries. xb and xq may be HDF5 data sets, of which only those rows are read.

    Raises:
        ValueError: they are neither, or do not fit these vectors in number.
    """
    if len(xb.shape) != 2 or xb.shape[1:] != xq.shape[1:]:
        raise ValueError(f"base vectors {xb.shape} and queries {xq.shape} do not belong together")
    if gt.ndim != 2 or gt.shape != distances.shape or len(gt) != len(xq) or gt.shape[1] < 1:
        raise ValueError(f"neighbors {gt.shape} and distances {distances.shape} do not fit {len(xq)} queries")
    if gt.min() < -1 or gt.max() >= len(xb):
        raise ValueError(f"neighbors must be ids from 0 to {len(xb) - 1}; got {gt.min()} to {gt.max()}")
    count = (gt >= 0).sum(axis=1)
    if (gt[:, 0] < 0).any() or ((gt[:, 1:] >= 0) & (gt[:, :-1] < 0)).any():
        raise ValueError("neighbors may be -1 only after all that were found, of which there must be one")
    q = np.unique(np.linspace(0, len(xq) - 1, 16).astype(int))
    rows, position = np.unique(gt[q, count[q] - 1], return_inverse=True)
    x, y, stored = np.asarray(xq[q], np.float64), np.asarray(xb[rows], np.float64)[position], distances[q, count[q] - 1]
    unit_x, unit_y = (side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-99) for side in (x, y))
    fits = {"l2": _close(stored**2, x, y), "cosine": _close(2 * stored, unit_x, unit_y)}
    if max(fits.values()) == 0:
        raise ValueError("the stored distances are neither the Euclidean ones to the stored neighbors nor 1 - cos")
    return None if fits["l2"] == fits["cosine"] else max(fits, key=lambda metric: fits[metric])


def _close(stored: Doubles, x: Doubles, y: Doubles) -> int:
    """Return how many of the squared distances stored are those of rows x and y."""
    D = ((x - y) ** 2).sum(axis=1)
    return int((np.abs(stored - D) <= TOLERANCE * D + ROUNDING * (x**2).sum(axis=1)).sum())


def verified(
    xb: FloatMatrix, xq: FloatMatrix, gt: Ids, stored: Doubles, rounding: float = 0
) -> tuple[Ids, FloatMatrix]:
    """Return stored neighbours with their exact squared distances, those within rounding of each other in exact order.

    All stored squared distances are compared with the true ones. For `CHECKED` queries drawn at random, and for all
    where that is cheap, the neighbours are compared with an exact search. `rounding` is an absolute error that their kind brings with it: for 1 - cos, which float32 takes from 1.

    Raises:
        ValueError: they are not what they should be.
    """
    absent = gt < 0
    if not np.isfinite(stored[~absent]).all():
        raise ValueError("distances must be finite")
    D = np.full(gt.shape, np.inf)

    def compare(rows: slice) -> None:
        i, columns = np.nonzero(~absent[rows])
        D[rows][i, columns] = exact_to_pairs(xq[rows], xb, i, gt[rows][i, columns].astype(np.int64))

    in_threads(compare, cut(len(xq), 64))
    stored = np.where(absent, 0, stored)
    true = np.where(absent, 0, D)
    scale = _scale(xb, xq)
    allowed = TOLERANCE * true + 2 * ROUNDING * scale + rounding
    if (wrong := (np.abs(stored - true) > allowed).any(axis=1)).any():
        raise ValueError(f"the stored distances of query {np.argmax(wrong)} are not those to its stored neighbors")
    if (stored[:, 1:] < stored[:, :-1] - allowed[:, 1:])[~absent[:, 1:]].any():
        raise ValueError("distances must be ascending")
    order = np.lexsort((gt, D), axis=1)
    gt, D = np.take_along_axis(gt, order, axis=1), np.take_along_axis(D, order, axis=1)
    ids = np.sort(gt, axis=1)
    if (twice := ((ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] >= 0)).any(axis=1)).any():
        raise ValueError(f"the stored neighbors of query {np.argmax(twice)} hold one base vector twice")
    _check_nearest(xb, xq, D, scale, rounding)
    return gt, D.astype(np.float32)


def _scale(xb: FloatMatrix, xq: FloatMatrix) -> Doubles:
    """Return for each query about the squared distances that occur in these data, (nq, 1), wherever they lie."""
    some = xb[:: max(1, len(xb) // 1000)].astype(np.float64)
    centre = np.median(some, axis=0)
    spread = float(np.median(((some - centre) ** 2).sum(axis=1)))
    scale: Doubles = spread + ((xq - centre) ** 2).sum(axis=1, keepdims=True)
    return scale


def _check_nearest(xb: FloatMatrix, xq: FloatMatrix, D: Doubles, scale: Doubles, rounding: float) -> None:
    """Raise ValueError where an exact search finds nearer ones than at D (nq, k), by more than rounding explains.

    That is what may misplace neighbours found by a product in float32: a part of `scale` (nq, 1), but no more than a
    hundredth of their distance, except among duplicates; and what scaling the vectors did, a part of the root.
    """
    count = min(len(xq), max(CHECKED, CHEAP // xb.size))
    chosen = np.sort(np.random.default_rng(0).choice(len(xq), count, replace=False))
    nearest, _ = compute(xb, xq[chosen], min(D.shape[1], len(xb)))
    D = D[chosen, : nearest.shape[1]]
    misplaced = np.minimum(2 * ROUNDING * scale[chosen], nearest / 100 + DUPLICATE * scale[chosen])
    wrong = np.isfinite(D) & (D > (1 + 2 * ROUNDING) * nearest + misplaced + rounding * np.sqrt(nearest))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"the stored neighbors are not the nearest: of {count} queries searched anew, {wrong.any(axis=1).sum()} have "
            f"nearer ones; of query {chosen[row]} number {column + 1} is at squared distance {D[row, column]:.6g} and "
            f"should be at {nearest[row, column]:.6g}. Were they computed for other base vectors, or for a part of these?"
        )
