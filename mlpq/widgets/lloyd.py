"""Lloyd: k-means on a map, one iteration at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import traitlets

from mlpq import _check
from mlpq.data.datasets import Dataset
from mlpq.widgets.base import Control, Explorer, Point

N = 1000  # dots on the map


class Lloyd(Explorer):
    """k-means in the two directions of largest variance: centroids move, inertia falls.

    Controls: `k` clusters, `iteration`. Lloyd, Least squares quantization in PCM (1982).
    """

    title = "k-means, one iteration at a time"
    controls = (
        Control("k", "clusters k", (2, 3, 4, 6, 8, 12, 20, 30), tuple(range(2, 41))),
        Control("iteration", "iteration", tuple(range(13)), tuple(range(41)), play=True),
    )
    say = (
        "k = {k}, iteration {iteration}: inertia {inertia} of the start, imbalance {imbalance}. "
        "The largest cluster holds {largest} of the dots."
    )
    columns: ClassVar = {"iterations": "iteration", "inertias": "inertia", "imbalances": "imbalance"}

    k = traitlets.Int(6).tag(sync=True)
    iteration = traitlets.Int(1).tag(sync=True)

    @classmethod
    def shared(cls, ds: Dataset) -> dict[str, Any]:
        """Return the dots: x and y in turn."""
        return {"dots": project(ds).ravel().tolist()}

    @classmethod
    def compute(cls, ds: Dataset, *, k: int, iteration: int) -> Point:
        """Run `iteration` steps from k random dots; paths hold x and y of each centroid, from the start on."""
        x = project(ds).astype(np.float64)
        rng = np.random.default_rng(0)
        centroids = x[rng.choice(N, k, replace=False)]
        paths, inertias, imbalances = [], [], []
        for _ in range(iteration + 1):
            D = ((x[:, None] - centroids) ** 2).sum(axis=2)  # (N, k)
            labels = D.argmin(axis=1)
            sizes = np.bincount(labels, minlength=k)
            paths.append(centroids)
            inertias.append(D.min(axis=1).sum())
            imbalances.append(k * (sizes**2).sum() / N**2)
            sums = np.stack([np.bincount(labels, weights=column, minlength=k) for column in x.T], axis=1)
            centroids = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centroids)
        relative = [f"{value / inertias[0]:.3f}" for value in inertias]
        return {
            "paths": np.stack(paths, axis=1).round(1).reshape(k, -1).tolist(),
            "iterations": list(range(iteration + 1)), "inertias": relative,
            "imbalances": [f"{value:.2f}" for value in imbalances],
            "inertia": relative[-1], "imbalance": f"{imbalances[-1]:.2f}", "largest": f"{sizes.max() / N:.2f}",
        }  # fmt: skip


@lru_cache(maxsize=1)
def project(ds: Dataset) -> _check.FloatMatrix:
    """Return the first N vectors in their two directions of largest variance, (N, 2), rounded to integers."""
    mean, axes = plane(ds.xb[:N])
    return np.ascontiguousarray(((ds.xb[:N] - mean) @ axes).round(), np.float32)


def plane(x: _check.FloatMatrix) -> tuple[_check.FloatMatrix, _check.FloatMatrix]:
    """Return the mean of x (n, d), and its two directions of largest variance, (d, 2)."""
    mean = x.mean(axis=0)
    _, directions = np.linalg.eigh((x - mean).T @ (x - mean))
    axes = directions[:, :-3:-1]
    return mean, axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # which way is up, on any processor
