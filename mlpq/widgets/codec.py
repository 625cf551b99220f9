"""Codec: one image, cut, encoded and rebuilt."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import traitlets

from mlpq import _check
from mlpq.codecs.pq import ProductQuantizer, unpack
from mlpq.data.datasets import Dataset
from mlpq.plots import format_bytes
from mlpq.widgets.base import Control, Explorer, Point, packed

N_TRAIN = 10_000  # the chapter's training vectors
IMAGES = {  # queries, all ten classes among them
    "1": "Jumper with letters", "17": "Patterned coat", "7": "Checked shirt", "35": "Striped T-shirt",
    "59": "Plain T-shirt", "89": "Dotted blouse", "91": "Summer dress", "15": "Jeans",
    "30": "Handbag", "28": "Ankle boot", "36": "Sneaker", "82": "Sandal",
}  # fmt: skip
OTHERS = {str(i): f"Query {i}" for i in range(100) if str(i) not in IMAGES}


class Codec(Explorer):
    """An image beside its reconstruction and the error, with the code below: numbers that name codewords.

    Controls: `image` (a query), `m`, `nbits`. Jégou, Douze & Schmid, Product quantization for nearest neighbor search
    (2011), section II-B.
    """

    title = "The codec: an image, its code, and what comes back"
    controls = (
        Control("image", "image", tuple(IMAGES), (*IMAGES, *OTHERS), IMAGES | OTHERS),
        Control("m", "m", (4, 7, 28, 56, 112), tuple(_check.valid_m(784))),
        Control("nbits", "nbits", (2, 4, 8), tuple(range(1, 9))),
    )
    say = (
        "{image}, m = {m}, nbits = {nbits}: a code of {size}, {smaller} times smaller than the vector. Of the variance, "
        "{lost} is lost in this image, {average} in all queries. The codebook, which all vectors share, takes {codebook}."
    )
    columns: ClassVar = {"size": "one code", "distortion": "squared error", "code": "sub-codes"}

    image = traitlets.Unicode("1").tag(sync=True)
    m = traitlets.Int(7).tag(sync=True)
    nbits = traitlets.Int(8).tag(sync=True)

    @classmethod
    def shared(cls, ds: Dataset) -> dict[str, Any]:
        """Return the recorded images, and the bytes of each."""
        return {"images": {image: packed(ds.xq[int(image)]) for image in IMAGES}, "raw": in_bytes(ds.xq[0].nbytes)}

    @classmethod
    def compute(cls, ds: Dataset, *, image: str, m: int, nbits: int) -> Point:
        """Encode and decode a query; an image that is not recorded comes along."""
        pq, average = trained(ds, m, nbits)
        x = ds.xq[[int(image)]]
        code = pq.encode(x)
        rebuilt = pq.decode(code)
        point = {
            "rebuilt": packed(rebuilt), "code": " ".join(map(str, unpack(code, m, nbits)[0])),
            "size": in_bytes(code.nbytes), "smaller": f"{x.nbytes / code.nbytes:,.0f}",
            "codebook": format_bytes(pq.codebooks.nbytes), "distortion": f"{np.square(x - rebuilt).sum():,.0f}",
            "lost": f"{lost(ds, x, rebuilt):.2f}", "average": f"{average:.2f}",
        }  # fmt: skip
        return point if image in IMAGES else point | {"original": packed(x)}


@lru_cache(maxsize=32)
def trained(ds: Dataset, m: int, nbits: int) -> tuple[ProductQuantizer, float]:
    """Return a quantizer, trained as in the chapter, and what it loses of all queries."""
    pq = ProductQuantizer(ds.d, m, nbits).train(ds.xb[:N_TRAIN])
    return pq, lost(ds, ds.xq, pq.decode(pq.encode(ds.xq)))


@lru_cache(maxsize=1)
def mean(ds: Dataset) -> _check.FloatMatrix:
    """Return the mean of the base, (1, d)."""
    return np.asarray(ds.xb.mean(axis=0, keepdims=True))


def lost(ds: Dataset, x: _check.FloatMatrix, rebuilt: _check.FloatMatrix) -> float:
    """Return the squared error of images (n, d) as a share of their squared distance to the mean of the base."""
    return float(np.square(x - rebuilt).sum() / np.square(x - mean(ds)).sum())


def in_bytes(n: int) -> str:
    return f"{n:,} byte{'s' if n > 1 else ''}"
