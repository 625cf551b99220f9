"""Drift: kinds of vectors that come one after the other, an index that was trained before, and what it loses where."""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import traitlets

from mlpq._check import Array, IdMatrix, Rows
from mlpq.clustering import KMeans
from mlpq.data.datasets import Dataset
from mlpq.data.groundtruth import ground_truth
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import error_decomposition, recall_interval
from mlpq.widgets.base import Control, Explorer, Point

KINDS, CELLS, K = 10, 32, 10
SEEN = {"on the first 2": 2, "on the first 5": 5, "anew each time": KINDS}  # when trained -> kinds that training saw


class Drift(Explorer):
    """Recall, what is lost to cells and to codes, and the error of codes, of kinds seen in training and of others.

    Controls: `trained`, when; `present`, how many of ten kinds the base holds. Images come class by class, in the order of
    their labels; texts topic by topic, the largest of ten first, where a topic is a cell of k-means.
    """

    title = "A base that outgrows its training"
    controls = (
        Control("trained", "trained", tuple(SEEN)),
        Control("present", "kinds in the base", tuple(range(2, KINDS + 1)), play=True),
    )
    say = (
        "Trained {trained}, {present} kinds in the base: {share} of the vectors are of kinds that training did not see. "
        "Recall@10 is {recall} ± {interval}; lost to cells {coarse}, to codes {quantization}.{apart}"
    )
    columns: ClassVar = {
        "groups": "canary queries", "counts": "queries", "recalls": "recall@10", "coarses": "lost to cells",
        "quantizations": "lost to codes", "errors": "error of the codes",
    }  # fmt: skip
    caption = (
        "Recorded on {dataset}: up to {n:,} vectors of {d} dimensions, {nq:,} queries of the kinds present. 32 cells, codes of 28 "
        "bytes after PCA to 112, 4 cells visited. The kinds are the ten classes. The error of the codes is that of stored "
        "vectors, as a share of their variance; it needs no queries."
    )
    m, dim, nprobe = 28, 112, 4

    trained = traitlets.Unicode("on the first 2").tag(sync=True)
    present = traitlets.Int(6).tag(sync=True)

    @classmethod
    def compute(cls, ds: Dataset, *, trained: str, present: int) -> Point:
        """Train on the first kinds, add those present, and ask queries of all of them."""
        base, asked = kinds(ds)
        rows, queries = np.flatnonzero(base < present), np.flatnonzero(asked < present)
        x, xq, seen = ds.xb[rows], ds.xq[queries], min(SEEN[trained], present)
        index = copy(learned(ds, seen, cls.m, cls.dim)).add(x, ids=rows)
        gt = rows[ground_truth(x, xq, K, metric=ds.metric)[1]]
        lost = np.square(x - index.reconstruct(rows)).sum(axis=1) / np.square(x - x.mean(axis=0)).sum(axis=1).mean()
        new, young = asked[queries] >= seen, base[rows] >= seen
        groups = {"all": (new | True, young | True), "of kinds seen": (~new, ~young), "of kinds not seen": (new, young)}
        found = {
            name: _judged(index, xq[q], gt[q], lost[of], cls.nprobe) for name, (q, of) in groups.items() if q.any()
        }
        whole = found["all"]
        told = {name: whole[name] for name in ("recall", "interval", "coarse", "quantization")}
        return {
            "parts": [round(float(told[name]), 3) for name in ("recall", "coarse", "quantization")],
            "unseen": round(found["of kinds not seen"]["recall"], 3) if new.any() else None,
            "share": f"{young.mean():.0%}", **{name: f"{value:.2f}" for name, value in told.items()},
            "apart": _apart(found), "groups": list(found), "counts": [str(one["queries"]) for one in found.values()],
            **{f"{name}s": [f"{one[name]:.2f}" for one in found.values()] for name in ("recall", "coarse", "quantization")},
            "errors": [f"{one['error']:.2f}" for one in found.values()],
        }  # fmt: skip


class DriftTexts(Drift):
    """The same for texts."""

    dataset = "wordnet-20k"
    caption = (
        "Recorded on {dataset}: up to {n:,} vectors of {d} dimensions, {nq:,} queries of the kinds present, cosine. 32 cells, codes "
        "of 48 bytes after PCA to 192, 8 cells visited. The kinds are ten topics: cells of k-means over all texts, the largest "
        "first. The error of the codes is that of stored vectors, as a share of their variance; it needs no queries."
    )
    m, dim, nprobe = 48, 192, 8


@lru_cache(maxsize=KINDS)
def learned(ds: Dataset, seen: int, m: int, dim: int) -> MultiLevelPQ:
    """Return an index that is trained on the first kinds, and empty."""
    index = MultiLevelPQ(ds.d, CELLS, 6, m=m, pca_dim=dim, metric=ds.metric)
    return index.train(ds.xb[kinds(ds)[0] < seen])


@lru_cache(maxsize=1)
def kinds(ds: Dataset) -> tuple[Array, Array]:
    """Return the kind of each base vector (N,) and of each query (nq,), in the order in which kinds come."""
    if ds.labels is not None and ds.query_labels is not None:
        return ds.labels, ds.query_labels
    topics = KMeans(ds.d, KINDS).train(ds.xb)
    base, asked = topics.assign(Rows(ds.xb)), topics.assign(Rows(ds.xq))
    place = np.argsort(np.argsort(-np.bincount(base, minlength=KINDS), kind="stable"))
    return place[base], place[asked]


def _judged(index: MultiLevelPQ, xq: Array, gt: IdMatrix, lost: Array, nprobe: int) -> dict[str, Any]:
    """Return recall with its interval, what is lost where, and the mean error of some codes."""
    I = index.search(xq, K, nprobe=nprobe)[1]
    recall, interval = recall_interval(I, gt, K)
    parts = error_decomposition(index, xq, gt, K, nprobe)
    return parts | {"recall": recall, "interval": interval, "queries": len(xq), "error": float(lost.mean())}


def _apart(found: dict[str, dict[str, Any]]) -> str:
    if "of kinds not seen" not in found:
        return ""
    old, new = (found[f"of kinds {which}"]["recall"] for which in ("seen", "not seen"))
    return f" Kinds seen in training have {old:.2f}, the others {new:.2f}."
