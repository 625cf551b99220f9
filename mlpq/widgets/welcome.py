"""Welcome: a search that runs in the page, over 20,000 images that it holds as codes only."""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import traitlets
from PIL import Image

from mlpq._check import Array, Codes, FloatMatrix, IdMatrix
from mlpq.bench import K
from mlpq.clustering import KMeans
from mlpq.codecs.pq import ProductQuantizer
from mlpq.data.datasets import Dataset
from mlpq.judge.evaluate import recall_interval
from mlpq.plots import format_bytes
from mlpq.widgets.base import Control, Explorer, Point, packed
from mlpq.widgets.search import CLASSES

DIM, M, CELLS, SIDE = 96, 32, 128, 28
MS, NPROBES = (1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32)
FIRST = 9  # the example that is shown at first, by its class
STEPS = 255  # between the least and the largest number of a component, in a byte
TABLES = {"axes": SIDE * SIDE, "centroids": CELLS, "books": 256}  # rows, each of DIM numbers


class Held(NamedTuple):
    """What the page holds, one byte a number, and what follows from it; images are numbered as their codes stand.

    Attributes:
        stored: the bytes of each of TABLES, (rows, DIM) u1, and `mean` (784,) u1.
        ranges: by table, what 0 stands for in each component, and the step to the next: two lists of DIM numbers.
        sizes: (CELLS,) codes in each cell.
        codes: (n, M) u1, cell by cell.
        labels: (n,) u1, class of each image.
    """

    stored: Mapping[str, Codes]
    ranges: Mapping[str, tuple[list[float], list[float]]]
    sizes: Array
    codes: Codes
    labels: Codes


class Tables:
    """The numbers that bytes stand for, and the search by them in NumPy: what the page must find, too."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.mean = held.stored["mean"].astype(np.float32)
        self.axes, self.centroids, self.books = (restored(held.stored[name], *held.ranges[name]) for name in TABLES)
        self.cells = np.repeat(np.arange(CELLS), held.sizes)

    @classmethod
    def read(cls, shared: Mapping[str, Any]) -> Self:
        """Return what a record holds."""
        byte = {name: np.frombuffer(b64decode(shared[name]), np.uint8) for name in (*TABLES, "mean", "codes", "labels")}
        stored = {name: byte[name].reshape(rows, DIM) for name, rows in TABLES.items()} | {"mean": byte["mean"]}
        return cls(
            Held(stored, shared["ranges"], np.array(shared["sizes"]), byte["codes"].reshape(-1, M), byte["labels"])
        )

    @cached_property
    def quantizer(self) -> ProductQuantizer:
        """The quantizer with these codebooks."""
        return ProductQuantizer.from_codebooks(self.books.reshape(256, M, DIM // M).transpose(1, 0, 2))

    def turned(self, x: FloatMatrix) -> FloatMatrix:
        """Return images (n, 784) on the axes: (n, DIM) float32."""
        y: FloatMatrix = ((x - self.mean).astype(np.float64) @ self.axes).astype(np.float32)
        return y

    def decoded(self, cells: Array, codes: Codes, m: int) -> FloatMatrix:
        """Return what the first m sub-codes stand for, with the centroid for the rest: (n, DIM)."""
        y = self.quantizer.decode(codes)
        y[:, m * (DIM // M) :] = 0
        y += self.centroids[cells]
        return y

    def images(self, y: FloatMatrix) -> FloatMatrix:
        """Return vectors (n, DIM) as images (n, 784)."""
        return y @ self.axes.T + self.mean

    def search(self, y: FloatMatrix, k: int, m: int, nprobe: int) -> tuple[FloatMatrix, IdMatrix]:
        """Return squared distances and numbers of the k nearest to vectors (nq, DIM), each (nq, k), ties by number."""
        base = self.decoded(self.cells, self.held.codes, m).astype(np.float64)
        wide, centroids = y.astype(np.float64), self.centroids.astype(np.float64)
        ranks = squares(wide, centroids).argsort(axis=1, kind="stable").argsort(axis=1)
        about = np.where(ranks[:, self.cells] < nprobe, squares(wide, base), np.inf)
        D, I = np.full((len(y), k), np.inf), np.full((len(y), k), -1)
        for i, (one, last) in enumerate(zip(about, np.partition(about, k - 1)[:, k - 1], strict=True)):
            near = np.flatnonzero(one <= min(last * (1 + 1e-9), np.finfo(float).max))
            exact = np.square(wide[i] - base[near]).sum(axis=1)  # equal for equal codes
            first = np.argsort(exact, kind="stable")[:k]
            D[i, : len(first)], I[i, : len(first)] = exact[first], near[first]
        return D, I


def squares(x: Array, y: Array) -> Array:
    """Return the squared distances (n, k) of rows in float64."""
    return np.asarray(np.square(x).sum(axis=1)[:, None] - 2 * x @ y.T + np.square(y).sum(axis=1))


def restored(stored: Codes, low: list[float], step: list[float]) -> FloatMatrix:
    """Return the numbers (rows, DIM) that bytes stand for, rounded once."""
    return (np.asarray(low) + np.asarray(step) * stored).astype(np.float32)


def rounded(x: npt.NDArray[Any]) -> tuple[Codes, tuple[list[float], list[float]]]:
    """Return numbers (rows, DIM) as bytes, with what 0 stands for and the step of each column."""
    low, step = ([float(f"{value:.6g}") for value in values] for values in (x.min(axis=0), np.ptp(x, axis=0) / STEPS))
    return np.rint((x - low) / step).clip(0, STEPS).astype(np.uint8), (low, step)


def principal(x: FloatMatrix, mean: FloatMatrix) -> npt.NDArray[np.float64]:
    """Return the DIM directions in which x (n, 784) varies most, largest first: (784, DIM), the largest entry positive."""
    away = x.astype(np.float64) - mean
    directions = np.linalg.eigh(away.T @ away)[1][:, : -DIM - 1 : -1]
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(DIM)])
    return np.asarray(directions * signs)


@lru_cache(maxsize=1)
def built(ds: Dataset) -> tuple[Tables, Array]:
    """Return what the page is to hold of a base, and the row of each image there; each table is rounded before the next."""
    stored, ranges = {"mean": np.rint(ds.xb.mean(axis=0)).astype(np.uint8)}, {}
    mean = stored["mean"].astype(np.float32)
    stored["axes"], ranges["axes"] = rounded(principal(ds.xb, mean))
    y = ((ds.xb - mean).astype(np.float64) @ restored(stored["axes"], *ranges["axes"])).astype(np.float32)
    stored["centroids"], ranges["centroids"] = rounded(KMeans(DIM, CELLS).train(y).centroids.astype(np.float64))
    centroids = restored(stored["centroids"], *ranges["centroids"])
    cells = squares(y.astype(np.float64), centroids.astype(np.float64)).argmin(axis=1)
    order = np.argsort(cells, kind="stable")
    residuals = y[order] - centroids[cells[order]]
    books = ProductQuantizer(DIM, M, 8).train(residuals).codebooks.transpose(1, 0, 2).reshape(256, DIM)
    stored["books"], ranges["books"] = rounded(books.astype(np.float64))
    sizes = np.bincount(cells, minlength=CELLS)
    labels = np.asarray(ds.labels)[order].astype(np.uint8)
    bare = Tables(Held(stored, ranges, sizes, np.empty((0, M), np.uint8), labels))
    return Tables(bare.held._replace(codes=bare.quantizer.encode(residuals))), order


@lru_cache(maxsize=len(MS) * len(NPROBES))
def recall(ds: Dataset, m: int, nprobe: int) -> tuple[float, float]:
    """Return recall@10 over all queries, against the nearest of the images themselves, and its interval."""
    tables, order = built(ds)
    found = [order[tables.search(tables.turned(part), K, m, nprobe)[1]] for part in np.array_split(ds.xq, 10)]
    return recall_interval(np.concatenate(found), ds.gt[:, :K], K)


class Welcome(Explorer):
    """Draw, and the nearest of 20,000 images are found in the page, which holds codes and no image.

    Controls: `m`, the number of sub-codes used of 32, and `nprobe` of 128 cells. Sub-vectors hold principal components of
    the residuals' space in order of variance, so that the first m of them are a code of m bytes. The engine is
    `engine.js`. Recall is measured here, on queries of the data set.
    """

    title = "Draw something to wear"
    controls = (
        Control("m", "m: bytes", MS),
        Control("nprobe", "nprobe: cells", NPROBES),
    )
    say = (
        "At m = {m} and nprobe = {nprobe}, recall@10 is {recall} ± {interval}, measured with {nq} images that are not among "
        "these. Codes at this m take {size}. All that the page holds takes {held}; the images came in {raw}."
    )
    columns: ClassVar = {"settings": "m", "sizes": "codes", "recalls": "recall@10 at this nprobe"}
    caption = (
        "{n:,} images of {dataset} in {cells} cells; PCA to {dim} components, cut in order of variance into {most} sub-vectors "
        "of 8 bits; one codebook for the residuals of all cells; axes, centroids and codebooks in bytes. All pictures but your "
        "strokes are decoded from codes. The time is from the stroke to the last picture. Nothing is sent anywhere."
    )

    m = traitlets.Int(16).tag(sync=True)
    nprobe = traitlets.Int(8).tag(sync=True)

    @classmethod
    def about(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the front end needs beside a record: here also what it begins with."""
        return super().about(record) | {"first": FIRST}

    @classmethod
    def shared(cls, ds: Dataset) -> dict[str, Any]:
        """Return all that the page holds, and a query of each class by its code."""
        tables, _ = built(ds)
        held = tables.held
        y = tables.turned(ds.xq[[int(np.flatnonzero(ds.query_labels == label)[0]) for label in range(len(CLASSES))]])
        cells = squares(y.astype(np.float64), tables.centroids.astype(np.float64)).argmin(axis=1)
        codes = tables.quantizer.encode(y - tables.centroids[cells])
        return {
            **{name: packed(stored) for name, stored in held.stored.items()}, "ranges": held.ranges,
            "sizes": held.sizes.tolist(), "codes": packed(held.codes), "labels": packed(held.labels), "classes": list(CLASSES),
            "examples": {"cells": cells.tolist(), "codes": packed(codes)},
        }  # fmt: skip

    @classmethod
    def compute(cls, ds: Dataset, *, m: int, nprobe: int) -> Point:
        """Return what this setting finds, beside the other m at the same nprobe."""
        tables, _ = built(ds)
        held, n = tables.held, len(ds.xb)
        all_bytes = sum(one.nbytes for one in (*held.stored.values(), held.codes, held.labels)) + 4 * (
            CELLS + 2 * 3 * DIM
        )
        found = {each: recall(ds, each, nprobe) for each in MS}
        return {
            "recall": f"{found[m][0]:.2f}", "interval": f"{found[m][1]:.2f}", "nq": f"{len(ds.xq):,}",
            "size": format_bytes(n * m), "held": format_bytes(all_bytes), "raw": format_bytes(ds.xb.size),
            "settings": [str(each) for each in MS], "sizes": [format_bytes(n * each) for each in MS],
            "recalls": [f"{value:.2f} ± {interval:.2f}" for value, interval in found.values()],
        }  # fmt: skip

    @classmethod
    def record(cls, ds: Dataset, every: int = 1) -> dict[str, Any]:
        """Compute the grid, and say of what."""
        return super().record(ds, every) | {"cells": CELLS, "dim": DIM, "most": M}

    def twin(self) -> str:
        """Return the explorer as HTML; without scripts, a picture of a search stands in it."""
        name, picture = self.picture()
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "png", optimize=True)
        height, width = picture.shape
        image = (
            f'<img class="still" width="{width}" height="{height}" alt="{name}, and the ten nearest of the images, all decoded '
            f'from codes" src="data:image/png;base64,{b64encode(file.getvalue()).decode()}">'
        )
        return super().twin().replace("</p>", f"</p>{image}", 1)

    def picture(self, example: int = FIRST) -> tuple[str, Codes]:
        """Return the name of an example, and it with its ten results in a row, dark on white: u1."""
        shared = self.data["shared"]
        tables = Tables.read(shared)
        codes = np.frombuffer(b64decode(shared["examples"]["codes"]), np.uint8).reshape(-1, M)[[example]]
        asked = tables.images(tables.decoded(np.array(shared["examples"]["cells"])[[example]], codes, M))
        I = tables.search(tables.turned(asked.clip(0, 255)), K, self.m, self.nprobe)[1][0]
        found = tables.images(tables.decoded(tables.cells[I], tables.held.codes[I], self.m))
        tiles = 255 - np.concatenate([asked, found]).round().clip(0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
        row = np.pad(tiles, ((0, 0), (2, 2), (2, 2)), constant_values=255).transpose(1, 0, 2)
        return shared["classes"][example], row.reshape(SIDE + 4, -1).repeat(2, axis=0).repeat(2, axis=1)
