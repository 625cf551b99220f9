"""Real vectors grown to a set that fills a disk, by a stated rule, in files of one version of the real set each.

Images are shifted, by up to four pixels each way: 81 versions of each, as MNIST was grown to eight million by deformations
(Loosli, Canu & Bottou 2007). Other vectors are mixed with neighbours: within a group c of some 250, x and y become
c + cos(t) (x - c) + sin(t) (y - c), which keeps the mean and the covariance of the group. Version 0 is the real set.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlpq._check import Array, FloatMatrix, IdMatrix
from mlpq.clustering import KMeans
from mlpq.data.datasets import Dataset, load_dataset
from mlpq.data.groundtruth import ground_truth

REACH = 4  # pixels
GROUP = 250  # vectors
ANGLES = np.pi / 6, np.pi / 3  # so that no row is nearly a copy of another
SHIFTS = sorted(product(range(-REACH, REACH + 1), repeat=2), key=lambda shift: (max(map(abs, shift)), shift))

Version = Callable[[int], Array]


class Grown(NamedTuple):
    """A grown set: `files` of `rows` vectors each, queries (nq, d), and the ids (nq, k) of their exact neighbours."""

    ds: Dataset
    files: list[Path]
    rows: int
    xq: FloatMatrix
    gt: IdMatrix

    @property
    def n(self) -> int:
        return self.rows * len(self.files)

    @property
    def metric(self) -> str:
        return self.ds.metric

    def take(self, rows: Array) -> Array:
        """Return some vectors (n, d), read from the files."""
        maps = {number: np.load(self.files[number], mmap_mode="r") for number in np.unique(rows // self.rows).tolist()}
        found = np.empty((len(rows), self.ds.d), next(iter(maps.values())).dtype)
        for number, vectors in maps.items():
            here = np.flatnonzero(rows // self.rows == number)
            found[here] = vectors[rows[here] - number * self.rows]
        return found


def grown(name: str, size: int, queries: int, k: int, folder: Path) -> Grown:
    """Write a data set, grown to at least `size` bytes, into a folder.

    Raises:
        ValueError: no such data set; images that would have to be shifted more than 81 times.
        FileNotFoundError: its file is nowhere.
    """
    ds = load_dataset(name)
    image = bool((ds.xb[:100] == np.rint(ds.xb[:100])).all())
    version = shifted(ds.xb) if image else mixed(ds.xb, ds.metric)
    count = -(-size // version(0).nbytes)
    if image and count > len(SHIFTS):
        most = len(SHIFTS) * version(0).nbytes
        raise ValueError(f"{name} has {len(SHIFTS)} shifts, {most:,} bytes; asked for {size:,}")
    files, xq = [folder / f"part-{number:03}.npy" for number in range(count)], ds.xq[:queries]
    D, I = np.empty((len(xq), 0), np.float32), np.empty((len(xq), 0), np.int64)
    for number, path in enumerate(files):
        np.save(path, part := version(number))
        found = ground_truth(part, xq, k, metric=ds.metric)
        D, I = np.hstack([D, found[0]]), np.hstack([I, found[1] + number * len(part)])
        best = np.lexsort((I, D))[:, :k]
        D, I = np.take_along_axis(D, best, axis=1), np.take_along_axis(I, best, axis=1)
    return Grown(ds, files, len(ds.xb), xq, I)


def shifted(x: FloatMatrix) -> Version:
    """Return what makes version v of square images of bytes: each moved by `SHIFTS[v]`, with zeros where nothing was."""
    side = round(x.shape[1] ** 0.5)
    images = x.astype(np.uint8).reshape(-1, side, side)

    def version(number: int) -> Array:
        padded = np.pad(images, ((0, 0), (REACH, REACH), (REACH, REACH)))
        down, right = SHIFTS[number]
        return padded[:, REACH - down :, REACH - right :][:, :side, :side].reshape(len(images), -1)

    return version


def mixed(x: FloatMatrix, metric: str) -> Version:
    """Return what makes version v of vectors: each mixed with another of its group."""
    groups = KMeans(x.shape[1], max(1, len(x) // GROUP), niter=5).train(x)
    cells = groups.assign(x)
    rows = np.argsort(cells, kind="stable")
    counts = np.bincount(cells, minlength=groups.k)
    centre = np.add.reduceat(x[rows], np.cumsum(counts)[counts > 0] - counts[counts > 0]) / counts[counts > 0, None]
    centre = centre[np.cumsum(counts > 0) - 1].astype(np.float32)  # of each group that has members

    def version(number: int) -> Array:
        if number == 0:
            return x
        rng = np.random.default_rng(number)
        other, t = np.empty(len(x), np.int64), rng.uniform(*ANGLES, (len(x), 1)).astype(np.float32)
        other[rows] = rows[np.lexsort((rng.random(len(x)), cells[rows]))]  # an order by lot within each group
        c = centre[cells]
        y: FloatMatrix = c + np.cos(t) * (x - c) + np.sin(t) * (x[other] - c)
        if metric == "cosine":
            y /= np.linalg.norm(y, axis=1, keepdims=True)
        return y

    return version
