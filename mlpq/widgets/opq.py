"""Opq: optimized product quantization at work, step by step: what each sub-vector holds and loses, from three starts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import faiss
import numpy as np
import traitlets

from mlpq._check import FloatMatrix
from mlpq._parallel import quick_training
from mlpq.codecs.rotation import deal, distortion, nearest_turn, orthonormal
from mlpq.data.datasets import Dataset
from mlpq.widgets.base import Control, Explorer, Point
from mlpq.widgets.rotation import principal, rounded

STARTS = ("random", "PCA in order", "PCA dealt out")
M, DIM, NT = 8, 64, 5000  # sub-vectors, components, vectors
STEPS, LLOYD = 8, 25  # steps; those of k-means before the first


class Opq(Explorer):
    """Variance and loss of each sub-vector after every step of optimized product quantization, and the loss step by step.

    Controls: `start`, the axes it begins with; `step`. Ge, He, Ke, Sun, Optimized product quantization (2013), algorithm 1.
    """

    title = "Codes, codebooks and axes in turn"
    controls = (
        Control("start", "start", STARTS),
        Control("step", "step", tuple(range(STEPS + 1)), play=True),
    )
    say = (
        "From {start}, after {step} steps: {lost} of the variance is lost, and {unseen} of that of queries, which the axes have "
        "not seen. One sub-vector holds {most} of the variance, the poorest {least}."
    )
    columns: ClassVar = {"places": "sub-vector", "holds": "variance", "loses": "lost"}
    caption = (
        f"Recorded on {{dataset}}: the first {NT:,} vectors, reduced to {DIM} principal components, in {M} sub-vectors of 8 bits. A "
        "step moves the codebooks once, encodes, and turns the axes. Shares are of the variance that the components hold."
    )

    start = traitlets.Unicode("random").tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)

    @classmethod
    def compute(cls, ds: Dataset, *, start: str, step: int) -> Point:
        """Read one step of the path from a start."""
        at = path(ds, start)[step]
        return {
            "variance": rounded(at.variance), "loss": rounded(at.loss), "whole": round(float(at.loss.sum()), 4),
            "lost": f"{at.loss.sum():.3f}", "unseen": f"{at.unseen:.3f}",
            "most": f"{at.variance.max():.2f}", "least": f"{at.variance.min():.2f}",
            "places": [str(j + 1) for j in range(M)], "holds": [f"{value:.3f}" for value in at.variance],
            "loses": [f"{value:.3f}" for value in at.loss],
        }  # fmt: skip


class OpqTexts(Opq):
    """The same for texts."""

    dataset = "wordnet-20k"


class Step(NamedTuple):
    """What is shown of a step: shares of the variance that each sub-vector holds (M,) and loses (M,), and of queries' lost."""

    variance: FloatMatrix
    loss: FloatMatrix
    unseen: float


@lru_cache(maxsize=len(STARTS))
def path(ds: Dataset, start: str) -> list[Step]:
    """Return what is shown before and after each step from one start."""
    mean, directions = ds.xb.mean(axis=0), principal(ds)[:, :DIM]
    x, xq = ((np.float32(rows) - mean) @ directions for rows in (ds.xb[:NT], ds.xq))
    whole = np.square(x).sum()
    steps = []
    for turn, pq in alternated(x, beginning(x, start)):
        y = x @ turn
        held, lost = (
            np.square(part).reshape(len(x), M, -1).sum(axis=(0, 2)) / whole
            for part in (y, y - pq.decode(pq.compute_codes(y)))
        )
        unseen = distortion(pq, np.ascontiguousarray(xq @ turn)) / np.square(xq).sum(axis=1).mean()
        steps.append(Step(held, lost, float(unseen)))
    return steps


def beginning(x: FloatMatrix, start: str) -> FloatMatrix:
    """Return the turn (DIM, DIM) of principal components x (n, DIM) from which to begin."""
    if start == "random":
        return orthonormal(DIM, 0)
    eye = np.eye(DIM, dtype=np.float32)
    return eye if start == "PCA in order" else eye[:, deal(x.var(axis=0), M)]


def alternated(x: FloatMatrix, turn: FloatMatrix) -> Iterator[tuple[FloatMatrix, Any]]:
    """Yield the turn (DIM, DIM) of x (n, DIM) and Faiss's quantizer on these axes, before and after each step."""
    pq = faiss.ProductQuantizer(DIM, M, 8)
    pq.cp.niter, pq.cp.min_points_per_centroid = LLOYD, 1
    with quick_training():
        for _ in range(STEPS + 1):
            pq.train(y := np.ascontiguousarray(x @ turn))
            yield turn, pq
            pq.train_type, pq.cp.niter = faiss.ProductQuantizer.Train_hot_start, 1
            turn = nearest_turn(x, pq.decode(pq.compute_codes(y)))
