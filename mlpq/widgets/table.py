"""Table: the distance table of a query, and the entries that the code of a base vector selects and adds up."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import traitlets

from mlpq import _check
from mlpq.codecs.pq import ProductQuantizer
from mlpq.data.datasets import Dataset
from mlpq.search.distance import squared_l2
from mlpq.widgets.base import Control, Explorer, Point, packed

M, NBITS, NT = 8, 8, 10_000  # NT vectors train the codebooks, as in the chapter
QUERIES = (0, 1, 5, 9, 17, 19, 30, 37)
RANKS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 20_000)
MORE_RANKS = (*range(1, 21), 30, 50, 70, *range(100, 1000, 100), *range(1000, 20_001, 1000))


class Table(Explorer):
    """The entries of a distance table that add up to one estimated distance, beside the exact one.

    Controls: `query`, and `item`, a base vector by its true rank. Tables come from
    `mlpq.ProductQuantizer.distance_table`; see Jégou et al., Product quantization (2011), eq. (13). Entries are rounded
    to integers, so that what is shown adds up exactly.
    """

    title = "One distance from one table"
    controls = (
        Control("query", "query", QUERIES, tuple(range(200))),
        Control("item", "true rank", RANKS, MORE_RANKS, {str(rank): f"{rank:,}" for rank in MORE_RANKS}),
    )
    say = (
        f"The base vector of true rank {{item}}: its code selects {M} entries, which add up to {{sum}}. "
        "The exact squared distance is {exact}: the estimate is {off}. Ranked by estimates, the vector is number {rank}."
    )
    columns: ClassVar = {
        "places": "place", "codewords": "codeword selected", "nearer": "codewords nearer to the query",
        "entries": "entry",
    }  # fmt: skip

    query = traitlets.Int(5).tag(sync=True)
    item = traitlets.Int(1000).tag(sync=True)

    @classmethod
    def shared(cls, ds: Dataset) -> dict[str, Any]:
        """Return what belongs to each recorded query."""
        return {"asked": {query: asked(ds, query) for query in QUERIES}}

    @classmethod
    def compute(cls, ds: Dataset, *, query: int, item: int) -> Point:
        """Look up and add up the entries for one base vector, and compare with its exact distance."""
        pq, codes = train(ds)
        table = pq.distance_table(ds.xq[[query]])[0]
        true = squared_l2(ds.xq[[query]], ds.xb)[0]
        i = true.argsort(kind="stable")[item - 1]
        places = np.arange(M)
        terms = np.rint(table[places, codes[i]]).astype(int)
        total, exact = int(terms.sum()), round(np.square(ds.xq[query].astype(np.float64) - ds.xb[i]).sum())
        estimates = table[places, codes].sum(axis=1)
        rank = 1 + (estimates < estimates[i]).sum()
        off = f"{100 * abs(total / exact - 1):.1f} % too {'small' if total < exact else 'large'}"
        point = {
            "image": packed(ds.xb[i]), "restored": packed(pq.decode(codes[[i]])[0]),
            "terms": terms.tolist(), "length": exact,
            "places": [str(j) for j in places], "codewords": [str(c) for c in codes[i]],
            "nearer": [str(n) for n in (table < table[places, codes[i], None]).sum(axis=1)],
            "entries": [f"{term:,}" for term in terms], "sum": f"{total:,}", "exact": f"{exact:,}",
            "off": off, "rank": f"{rank:,}",
        }  # fmt: skip
        return point if query in QUERIES else point | {"asked": asked(ds, query)}


def asked(ds: Dataset, query: int) -> dict[str, str]:
    """Return the image of a query, and its table as grey values, each row from near (white) to far (black)."""
    table = np.sort(train(ds)[0].distance_table(ds.xq[[query]])[0], axis=1)
    return {"image": packed(ds.xq[query]), "table": packed(255 * (1 - table / table.max()))}


@lru_cache(maxsize=1)
def train(ds: Dataset) -> tuple[ProductQuantizer, _check.Codes]:
    """Return the quantizer of the chapter, and the codes of the base."""
    pq = ProductQuantizer(ds.d, M, NBITS).train(ds.xb[:NT])
    return pq, pq.encode(ds.xb)
