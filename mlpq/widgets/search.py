"""Search: the ten results of a query, as images or in words, and which step lost the true neighbours that are missing."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, ClassVar

import numpy as np
import traitlets

from mlpq._check import Array, valid_m
from mlpq.bench import K, levels
from mlpq.data.datasets import Dataset, load_dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import recall_at_k
from mlpq.search.lists import whole
from mlpq.widgets.base import Control, Explorer, Point, packed
from mlpq.widgets.meaning import QUERIES

CLASSES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot")
MORE = tuple(f"{name} {number}" for number in range(2, 6) for name in CLASSES)
ASKED = ("Brie", "eye", "gate", "lock", "milk", "oyster", "rabbit", "sale")  # of the queries of Meaning
FATES = {"found": "found", "coarse": "cell", "quantization": "code", "shortlist": "shortlist"}  # as `fate` begins


class Search(Explorer):
    """A search step by step: each result right or wrong, each missing neighbour with the step that lost it.

    Controls: `query`, `m`, `nbits`, `nprobe`, `rerank`. One codebook for all cells, as in the chapter. Jégou, Douze,
    Schmid, Product quantization for nearest neighbor search (2011), section IV.
    """

    dataset, pooled = "fashion-mnist", "images"
    form: ClassVar = ",.0f"  # of distances
    title = "Ten results, and what became of the true ten"
    controls = (
        Control("query", "query", CLASSES, CLASSES + MORE),
        Control("m", "m", (8, 16, 56), tuple(m for m in valid_m(784) if m <= 112)),
        Control("nbits", "nbits", (4, 8), tuple(range(1, 9))),
        Control("nprobe", "nprobe", (1, 3, 8), tuple(range(1, 33))),
        Control("rerank", "rerank", (0, 2, 5, 20), tuple(range(51))),
    )
    say = (
        "Of the true ten, {found} are found; {coarse} are lost to cells not visited, {quantization} to the code, "
        "{shortlist} to the shortlist. Recall@10 is {mine} here and {recall} over all queries. {scanned} codes were "
        "scanned. The last result is at squared distance {last}, the true tenth at {tenth}. A vector takes {bytes} "
        "bytes, {code} of them code."
    )
    columns: ClassVar = {
        "places": "place",
        "marks": "result, and its true place",
        "distances": "its squared distance",
        "fates": "true neighbour of this place, and its rank by code",
    }
    caption = (
        "Recorded on {dataset}: {n:,} vectors of {d} dimensions, {nq:,} queries; each shown is the first of its class. "
        "{n_inner} inner cells, {n_outer} outer clusters, one codebook for all. Bytes count all that the index holds, with "
        "rerank also the originals, a byte a number."
    )

    query = traitlets.Unicode(CLASSES[0]).tag(sync=True)
    m = traitlets.Int(8).tag(sync=True)
    nbits = traitlets.Int(8).tag(sync=True)
    nprobe = traitlets.Int(1).tag(sync=True)
    rerank = traitlets.Int(0).tag(sync=True)

    @classmethod
    def compute(cls, ds: Dataset, *, query: str, m: int, nbits: int, nprobe: int, rerank: int) -> Point:
        """Search for one query, and again for all codes scanned, which tells the ranks."""
        index, q = built(ds, m, nbits), cls.query_id(query)
        x, true = ds.xq[q : q + 1], ds.gt[q, :K].tolist()
        (D,), (I,) = index.search(x, K, nprobe=nprobe, rerank=rerank)
        D, ids = D[I >= 0], I[I >= 0].tolist()  # the cells visited may hold fewer than K
        scanned = int(index.lists.sizes[index.clusters.probe(x, nprobe)].sum())
        _, (by_code,) = index.search(x, scanned, nprobe=nprobe)
        ranks = {id_: rank for rank, id_ in enumerate(by_code.tolist(), 1)}
        fates = [fate(ranks.get(id_), id_ in ids, rerank * K) for id_ in true]
        lacking = ["none"] * (K - len(ids))
        places = {id_: place for place, id_ in enumerate(ds.gt[q].tolist(), 1)}
        marks = [cls.mark(places.get(id_), len(places)) for id_ in ids] + lacking
        memory = index.memory()
        size = memory.total - (0 if rerank else memory["originals"])
        return {
            "places": list(range(1, K + 1)), "fates": fates, "marks": marks,
            "distances": [format(distance, cls.form) for distance in D] + lacking,
            "last": f"{D[-1]:{cls.form}} {'exactly' if rerank else 'by its code'}",
            "tenth": format(ds.distances[q, K - 1], cls.form),
            **{name: str(sum(one.startswith(word) for one in fates)) for name, word in FATES.items()},
            "scanned": f"{scanned:,}", "mine": f"{len({*ids} & {*true}) / K:.1f}",
            "recall": f"{recall(ds, m, nbits, nprobe, rerank):.2f}", "bytes": f"{size / len(ds.xb):,.1f}",
            "code": str(index.code_size),
        } | cls.shown(ds, q, ids, true)  # fmt: skip

    @classmethod
    def mark(cls, place: int | None, known: int) -> str:
        """Return right or wrong with the true place of a result; None: it is not among the `known` nearest."""
        return f"{'right' if place and place <= K else 'wrong'}: {place or f'>{known}'}"

    @classmethod
    def query_id(cls, name: str) -> int:
        """Return which query goes by this name: the first of its class, or the one whose number is added."""
        word, _, number = name.partition(" ")
        return int(np.flatnonzero(query_labels() == CLASSES.index(word))[int(number or 1) - 1])

    @classmethod
    def shown(cls, ds: Dataset, q: int, ids: list[int], true: list[int]) -> Point:
        """Return the results and what is missing, as images."""
        return {
            "image": f"q{q}", "ids": ids, "missing": [id_ for id_ in true if id_ not in ids],
            "images": {str(id_): packed(ds.xb[id_]) for id_ in {*ids, *true}} | {f"q{q}": packed(ds.xq[q])},
        }  # fmt: skip

    @classmethod
    def record(cls, ds: Dataset, every: int = 1) -> dict[str, Any]:
        """Compute the grid, and say in how many cells."""
        return super().record(ds, every) | dict(zip(("n_inner", "n_outer"), levels(ds), strict=True))


class SearchTexts(Search):
    """The same among texts, in words."""

    dataset, pooled = "wordnet", "texts"
    form = ".2f"
    controls = (
        Control("query", "query", ASKED, tuple(QUERIES)),
        Control("m", "m", (8, 24, 48), tuple(m for m in valid_m(384) if m <= 96)),
        Control("nbits", "nbits", (4, 8), tuple(range(1, 9))),
        Control("nprobe", "nprobe", (1, 8, 32), tuple(range(1, 65))),
        Control("rerank", "rerank", (0, 2, 5, 20), tuple(range(51))),
    )
    say = "“{asked}” " + Search.say
    columns: ClassVar = {
        "places": "place",
        "answers": "answer",
        "marks": "its true place",
        "distances": "its squared distance",
        "true": "true neighbour of this place",
        "fates": "what became of it, and its rank by code",
    }
    caption = (
        "Recorded on {dataset}: {n:,} vectors of {d} dimensions, {nq:,} queries, cosine. {n_inner} inner cells, {n_outer} "
        "outer clusters, one codebook for all. Bytes count all that the index holds, with rerank also the originals in "
        "float32. Words and meanings: WordNet 3.0, Princeton University."
    )

    @classmethod
    def mark(cls, place: int | None, known: int) -> str:
        """Return the true place of a result."""
        return str(place or f">{known}")

    @classmethod
    def query_id(cls, name: str) -> int:
        """Return the number of the query that explains this word."""
        return QUERIES[name]

    @classmethod
    def shown(cls, ds: Dataset, q: int, ids: list[int], true: list[int]) -> Point:
        """Return the results and the true neighbours, as texts."""
        texts, query_texts = ds.texts or [], ds.query_texts or []
        return {
            "asked": query_texts[q], "answers": [f"t{id_}" for id_ in ids] + ["none"] * (K - len(ids)), "true": [f"t{id_}" for id_ in true],
            "texts": {f"t{id_}": texts[id_] for id_ in {*ids, *true}},
        }  # fmt: skip


def fate(rank: int | None, found: bool, shortlist: int) -> str:
    """Say what became of a true neighbour whose code came at `rank` of those scanned (None: it was not scanned).

    As `mlpq.error_decomposition` counts: not scanned is coarse; beyond a shortlist, if there is one, is shortlist; else
    quantization.
    """
    if rank is None:
        return "cell not visited"
    lost = "shortlist" if shortlist and rank > shortlist else "code"
    return f"{'found' if found else lost}: rank {rank:,}"


@cache
def query_labels() -> Array:
    """Return the classes of the first 1,000 queries: a file of the full set may lack them, but begins as the embedded."""
    return np.asarray(load_dataset("fashion-mnist-20k").query_labels)


@lru_cache(maxsize=6)  # as many as the grid needs
def built(ds: Dataset, m: int, nbits: int) -> MultiLevelPQ:
    """Return an index with one codebook; all share the originals, which would be most of its bytes."""
    index = MultiLevelPQ(ds.d, *levels(ds), m=m, nbits=nbits, metric=ds.metric).train(ds.xb).add(ds.xb)
    index.keep_originals, index.lists.originals = True, originals(ds)
    index.lists.places = index.lists.ids.astype(np.int64)
    return index


@lru_cache(maxsize=1)
def originals(ds: Dataset) -> Array:
    """Return the vectors as an index keeps them: as bytes where they are whole numbers from 0 to 255."""
    return ds.xb.astype(np.uint8) if whole(ds.xb) else ds.xb


@lru_cache(maxsize=100)
def recall(ds: Dataset, m: int, nbits: int, nprobe: int, rerank: int) -> float:
    """Return recall over all queries, for one index after another."""
    _, I = built(ds, m, nbits).search(ds.xq, K, nprobe=nprobe, rerank=rerank)
    return recall_at_k(I, ds.gt, K)
