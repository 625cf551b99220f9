"""Meaning: the ten answers of a search among texts, in words, and what became of the true ten."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import traitlets

from mlpq._check import valid_m
from mlpq.bench import K, levels
from mlpq.data.datasets import Dataset
from mlpq.index import MultiLevelPQ
from mlpq.judge.evaluate import recall_at_k
from mlpq.widgets.base import Control, Explorer, Point

QUERIES = {  # what the reader sees -> which query of wordnet-20k
    "Brie": 257, "boiled": 72, "metalhead": 85, "Kansan": 103, "cardroom": 108, "nosedive": 145, "brandy sling": 156,
    "gate": 160, "georgette": 215, "test range": 221, "rabbit": 282, "headband": 287, "hundred": 296, "Jackson": 307,
    "boatmanship": 311, "catch cold": 324, "moo": 340, "scholar": 386, "bid": 397, "invite": 421, "cream soda": 423,
    "milk": 434, "music teacher": 435, "stockinged": 445, "oyster": 457, "eye": 463, "dresser": 468, "fearlessness": 478,
    "medically": 486, "vacuum": 503, "lock": 522, "match": 527, "foremother": 555, "Bruneian": 567, "mid-March": 572,
    "sale": 576, "guesstimate": 582, "geopolitical": 590, "neck": 603, "piano maker": 605, "grape juice": 609,
    "Latvian monetary unit": 642, "handwear": 668, "goldfield": 687, "shears": 696, "skirl": 704, "cuddy": 715,
    "bottomless": 736, "buzz": 753, "crunch": 758, "troll": 801, "slush": 811, "teth": 844, "New World porcupine": 869,
    "machine wash": 871, "Dalmatian": 877, "fawn": 899, "modulate": 926, "struggle": 974, "fusillade": 995,
}  # fmt: skip


class Meaning(Explorer):
    """A search among texts: each answer right or wrong, each true neighbour found, or lost to a cell or to its code.

    Controls: `query`, `m`, `nbits`, `nprobe`. One codebook for all cells.
    """

    dataset, pooled = "wordnet-20k", "texts"
    title = "Ten answers in words, and what became of the true ten"
    controls = (
        Control("query", "query", tuple(QUERIES)),
        Control("m", "m", (8, 24, 48), tuple(m for m in valid_m(384) if m <= 96)),
        Control("nbits", "nbits", (4, 8), tuple(range(1, 9))),
        Control("nprobe", "nprobe", (1, 3, 8, 16), tuple(range(1, 34))),
    )
    say = (
        "“{asked}” Of the true ten, {found} are found; {coarse} lie in cells not visited, {quantization} are displaced by "
        "their codes. Recall@10 is {mine} here and {recall} over all queries. A vector takes {bytes} bytes, {code} of them "
        "code."
    )
    columns: ClassVar = {
        "places": "place",
        "answers": "answer",
        "marks": "its true place",
        "true": "true neighbour of this place",
        "fates": "what became of it, or its rank by code",
    }
    caption = (
        "Recorded on {dataset}: {n:,} vectors of {d} dimensions, {nq:,} queries, cosine. {n_inner} inner cells, {n_outer} "
        "outer clusters, one codebook for all. Words and meanings: WordNet 3.0, Princeton University."
    )

    query = traitlets.Unicode("Brie").tag(sync=True)
    m = traitlets.Int(8).tag(sync=True)
    nbits = traitlets.Int(8).tag(sync=True)
    nprobe = traitlets.Int(8).tag(sync=True)

    @classmethod
    def compute(cls, ds: Dataset, *, query: str, m: int, nbits: int, nprobe: int) -> Point:
        """Search for one query, and again for all codes scanned, which tells the ranks."""
        index, q = built(ds, m, nbits), QUERIES[query]
        x, true = ds.xq[q : q + 1], ds.gt[q, :K].tolist()
        scanned = int(index.lists.sizes[index.clusters.probe(x, nprobe)].sum())
        ids = index.search(x, scanned, nprobe=nprobe)[1][0].tolist()
        ranks = {id_: rank for rank, id_ in enumerate(ids, 1)}
        places = {id_: place for place, id_ in enumerate(ds.gt[q].tolist(), 1)}
        fates = [fate(ranks.get(id_)) for id_ in true]
        texts, query_texts = ds.texts or [], ds.query_texts or []
        return {
            "asked": query_texts[q], "places": list(range(1, K + 1)),
            "answers": [f"t{id_}" for id_ in ids[:K]], "true": [f"t{id_}" for id_ in true],
            "marks": [str(places.get(id_, f">{ds.gt.shape[1]}")) for id_ in ids[:K]], "fates": fates,
            "found": str(fates.count("found")), "coarse": str(fates.count("not visited")),
            "quantization": str(sum(one.startswith("rank") for one in fates)),
            "mine": f"{fates.count('found') / K:.1f}", "recall": f"{recall(ds, m, nbits, nprobe):.2f}",
            "bytes": f"{index.memory().total / len(ds.xb):,.1f}", "code": str(index.code_size),
            "texts": {f"t{id_}": texts[id_] for id_ in {*ids[:K], *true}},
        }  # fmt: skip

    @classmethod
    def record(cls, ds: Dataset, every: int = 1) -> dict[str, Any]:
        """Compute the grid, and say in how many cells."""
        return super().record(ds, every) | dict(zip(("n_inner", "n_outer"), levels(ds), strict=True))


def fate(rank: int | None) -> str:
    """Say what became of a true neighbour whose code came at `rank` of those scanned (None: it was not scanned)."""
    if rank is None:
        return "not visited"
    return "found" if rank <= K else f"rank {rank:,}"


@lru_cache(maxsize=6)  # as many as the grid needs
def built(ds: Dataset, m: int, nbits: int) -> MultiLevelPQ:
    """Return an index with one codebook."""
    return MultiLevelPQ(ds.d, *levels(ds), m=m, nbits=nbits, metric=ds.metric).train(ds.xb).add(ds.xb)


@lru_cache(maxsize=100)
def recall(ds: Dataset, m: int, nbits: int, nprobe: int) -> float:
    """Return recall over all queries."""
    _, I = built(ds, m, nbits).search(ds.xq, K, nprobe=nprobe)
    return recall_at_k(I, ds.gt, K)
