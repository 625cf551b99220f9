"""What fewer training vectors cost: the error of cells and of codes over the whole base, and seconds.

k-means looks at so many vectors for each centroid at most (`POINTS_PER_CENTROID`); everything else stays as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm.auto import tqdm

from mlpq import clustering
from mlpq._check import FloatMatrix, Rows, nearest_m
from mlpq._parallel import cut
from mlpq.bench.setting import circumstances, levels
from mlpq.bench.store import Record, Store, load, source
from mlpq.clustering import KMeans
from mlpq.codecs import codebooks, pq
from mlpq.codecs.pq import ProductQuantizer
from mlpq.data.datasets import Dataset, load_dataset
from mlpq.judge.evaluate import markdown_table

DATASETS = ("fashion-mnist", "wordnet")
ALL = 10**9  # points for each centroid: more than there are
POINTS = (16, 32, 64, 128, 256, ALL)
MANY = 1000  # cells, beside the usual number
M = 48  # bytes of a code: 256 codewords for each
ROWS = 10_000  # that are decoded at a time
READERS = (clustering, codebooks, pq)  # of the number of points


def training(args: argparse.Namespace) -> None:
    """Measure what the file still lacks.

    Raises:
        ValueError: a file of other circumstances.
        FileNotFoundError: the file of a data set is nowhere.
    """
    sets = {name: load_dataset(name) for name in args.datasets}
    about = {"sets": {name: circumstances(ds, args.threads) for name, ds in sets.items()}, "source": source()}
    about["command"] = " ".join(["python -m mlpq.bench", *args.command_line])
    store = Store(args.output, about, ("points",))
    todo = [(name, what, points, seed) for name, ds in sets.items() for what in kinds(ds) for seed in range(args.runs)
            for points in POINTS]  # fmt: skip
    residuals: dict[str, FloatMatrix] = {}
    with tqdm(todo, unit="training", file=sys.stderr, disable=args.quiet) as bar, threadpool_limits(args.threads):
        for name, what, points, seed in bar:
            key = f"{name} {what} {points} {seed}"
            if key in store.section("points"):
                continue
            if what == "codes" and name not in residuals:
                residuals = {name: residuals_of(sets[name])}
            x = residuals[name] if what == "codes" else sets[name].xb
            row = {"set": name, "what": what, "points": points, "seed": seed}
            store.section("points")[key] = row | trained(x, what, points, seed)
            store.save()


def kinds(ds: Dataset) -> list[str]:
    """Return what is trained: two numbers of cells, and codes."""
    return [f"{levels(ds)[0]} cells", f"{MANY} cells", "codes"]


def residuals_of(ds: Dataset) -> FloatMatrix:
    """Return what is left of the base in the usual cells."""
    cells = KMeans(ds.d, levels(ds)[0]).train(ds.xb)
    left: FloatMatrix = ds.xb - cells.centroids[cells.assign(ds.xb)]
    return left


def trained(x: FloatMatrix, what: str, points: int, seed: int) -> Record:
    """Train on so many points for each centroid; return seconds, and the mean squared error of all of x (n, d)."""
    d = x.shape[1]
    quantizer = (
        ProductQuantizer(d, nearest_m(d, M), seed=seed)
        if what == "codes"
        else KMeans(d, int(what.split()[0]), seed=seed)
    )
    with at_most(points):
        start = time.perf_counter()
        quantizer.train(x)
        seconds = time.perf_counter() - start
    used = min(len(x), points * (quantizer.ksub if isinstance(quantizer, ProductQuantizer) else quantizer.k))
    errors = [float(np.square(x[part] - coded(quantizer, x[part])).sum(dtype=np.float64)) for part in cut(len(x), ROWS)]
    return {"used": used, "seconds": seconds, "error": sum(errors) / len(x)}


def coded(quantizer: ProductQuantizer | KMeans, x: FloatMatrix) -> FloatMatrix:
    """Return what stands for x (n, d): its centroids, or what its codes decode to."""
    if isinstance(quantizer, ProductQuantizer):
        return quantizer.decode(quantizer.encode(x))
    centroids: FloatMatrix = quantizer.centroids[quantizer.assign(Rows(x))]
    return centroids


@contextmanager
def at_most(points: int) -> Iterator[None]:
    """Have k-means look at so many points for each centroid at most."""
    before = clustering.POINTS_PER_CENTROID
    try:
        for module in READERS:
            vars(module)["POINTS_PER_CENTROID"] = points
        yield
    finally:
        for module in READERS:
            vars(module)["POINTS_PER_CENTROID"] = before


def rows(path: str) -> list[Record]:
    """Return a row for each set, what was trained and how many points: means over seeds, and the loss against all points.

    Raises:
        ValueError, FileNotFoundError: no record of `training`.
    """
    groups: dict[tuple[str, str, int], list[Record]] = {}
    try:
        for point in load(path)["points"].values():
            groups.setdefault((point["set"], point["what"], point["points"]), []).append(point)
        found = []
        for (name, what, points), some in groups.items():
            whole = mean(point["error"] for point in groups[name, what, ALL])
            error, seconds = (mean(point[column] for point in some) for column in ("error", "seconds"))
            row = {"set": name, "what": what, "points": points, "used": some[0]["used"], "seconds": seconds}
            found.append(row | {"error": error, "loss": error / whole - 1})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path!r} is not a record of `training`, or not a whole one: {error!r}") from error
    return found


def report(path: str) -> str:
    """Return the losses and seconds as Markdown."""
    table = [
        {
            "set": row["set"], "trained": row["what"], "points": "all" if row["points"] == ALL else str(row["points"]),
            "used": f"{row['used']:,}", "error, beyond that of all": f"{row['loss']:+.2%}", "s": f"{row['seconds']:.1f}",
        }
        for row in rows(path)
    ]  # fmt: skip
    return markdown_table(table)
