"""Rotation: what lies in each sub-vector, and what is lost there, on axes as they are, drawn, principal, or optimized."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import traitlets

from mlpq._check import FloatMatrix, valid_m
from mlpq.codecs.pq import ProductQuantizer
from mlpq.codecs.rotation import Rotation as Turn
from mlpq.data.datasets import Dataset
from mlpq.judge.evaluate import recall_at_k
from mlpq.widgets.base import Control, Explorer, Point

AXES = ("as they are", "shuffled", "random", "PCA in order", "PCA dealt out", "OPQ")
KINDS = {"random": "random", "PCA dealt out": "pca", "OPQ": "opq"}
NQ, K = 1000, 10  # queries, true neighbours


class Rotation(Explorer):
    """Variance and loss of each sub-vector, and recall, for axes to choose from. Codes have 8 bits per sub-vector.

    Controls: `axes`, `m`. Ge, He, Ke, Sun, Optimized product quantization (2013).
    """

    title = "The same vectors on other axes"
    controls = (
        Control("axes", "axes", AXES),
        Control("m", "m", (8, 16, 28), tuple(m for m in valid_m(784) if 4 <= m <= 56)),
    )
    say = (
        "{axes}, {m} bytes: {lost} of the variance is lost, recall@10 is {recall}. One sub-vector holds {most} of the variance, "
        "the poorest {least}."
    )
    columns: ClassVar = {"places": "sub-vector", "holds": "variance", "loses": "lost", "shares": "lost of its own"}
    caption = (
        f"Recorded on {{dataset}}: product quantizers of 8 bits trained on {{n:,}} vectors of {{d}} dimensions, which are then "
        f"searched by code. Variance and loss are those of the first {NQ:,} queries, as shares of their whole variance. The "
        "lowest bars show the recall on all axes at the same m."
    )

    axes = traitlets.Unicode("as they are").tag(sync=True)
    m = traitlets.Int(8).tag(sync=True)

    @classmethod
    def compute(cls, ds: Dataset, *, axes: str, m: int) -> Point:
        """Turn base and queries, train on the base, and search its codes."""
        base, queries = turned(ds, axes, m)
        pq = ProductQuantizer(ds.d, m).train(base)
        error = queries - pq.decode(pq.encode(queries))
        variance, loss = (np.square(x).reshape(len(x), m, -1).sum(axis=2).mean(axis=0) for x in (queries, error))
        variance, loss = variance / (whole := variance.sum()), loss / whole
        recall = recall_at_k(pq.search(queries, pq.encode(base), K)[1], ds.gt[:NQ], K)
        return {
            "variance": rounded(variance), "loss": rounded(loss), "found": round(recall, 4),
            "lost": f"{loss.sum():.2f}", "recall": f"{recall:.2f}",
            "most": f"{variance.max():.2f}", "least": f"{variance.min():.4f}",
            "places": [str(j + 1) for j in range(m)], "holds": [f"{value:.3f}" for value in variance],
            "loses": [f"{value:.3f}" for value in loss], "shares": [f"{value:.2f}" for value in loss / variance],
        }  # fmt: skip


class RotationTexts(Rotation):
    """The same for texts."""

    dataset = "wordnet-20k"
    controls = (
        Rotation.controls[0],
        replace(
            Rotation.controls[1], recorded=(8, 16, 32), possible=tuple(m for m in valid_m(384) if 4 <= m <= 64)
        ),
    )  # fmt: skip


def turned(ds: Dataset, axes: str, m: int) -> tuple[FloatMatrix, FloatMatrix]:
    """Return base and queries less the mean of the base, on other axes."""
    if axes in KINDS:
        turn = Turn(ds.d, kind=KINDS[axes], m=m).train(ds.xb)  # type: ignore[arg-type]
        return turn(ds.xb), turn(ds.xq[:NQ])
    mean = ds.xb.mean(axis=0)
    base, queries = ds.xb - mean, ds.xq[:NQ] - mean
    if axes == "shuffled":
        order = np.random.default_rng(0).permutation(ds.d)
        return base[:, order], queries[:, order]
    if axes == "PCA in order":
        return base @ (directions := principal(ds)), queries @ directions
    return base, queries


@lru_cache(maxsize=1)
def principal(ds: Dataset) -> FloatMatrix:
    """Return the directions of largest variance, largest first: (d, d)."""
    centred = ds.xb - ds.xb.mean(axis=0)
    directions: FloatMatrix = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]
    return directions


def rounded(values: FloatMatrix) -> list[float]:
    """Return numbers (n,) to four decimals."""
    return [round(float(value), 4) for value in values]
