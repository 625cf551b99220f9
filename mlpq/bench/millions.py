"""Real texts grown to ten million vectors of 96 bytes, in one file, with the exact neighbours of real queries.

The vectors of the texts are reduced to principal components, grown as `versions.mixed` does, and rounded to whole numbers
from 0 to 255. The first are the real ones. Queries are real, and not among them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlpq._check import Array, FloatMatrix, IdMatrix
from mlpq.bench.store import Record
from mlpq.bench.versions import mixed
from mlpq.codecs.rotation import Rotation
from mlpq.data.datasets import Dataset
from mlpq.data.groundtruth import ground_truth

D_BYTES = 96
MIDDLE, HALF, WITHIN = 128, 127, 0.9999  # where 0 goes, the widest from it, and the share of numbers that fit
CHUNK = 100_000  # rows that are searched at a time


def million(ds: Dataset, sizes: list[int], nq: int, k: int, folder: Path) -> Record:
    """Write base.npy, queries.npy and truth-SIZE.npy, the exact k nearest among the first SIZE, unless they are there.

    Returns:
        What was made of what, and which share of the true neighbours is real, at every size.
    """
    done = folder / "millions.json"
    asked: Record = {
        "of": ds.name,
        "real": len(ds.xb),
        "d": min(D_BYTES, ds.d),
        "nq": nq,
        "k": k,
        "sizes": sorted(sizes),
    }
    if done.exists() and (found := json.loads(done.read_text())).items() >= asked.items():
        return dict(found)
    rotation = Rotation(ds.d, asked["d"], kind="pca", m=1).train(ds.xb)
    base, n = rotation(ds.xb), max(sizes)
    scale = np.float32(HALF / np.quantile(np.abs(base), WITHIN))
    xq = in_bytes(rotation(ds.xq[:nq]), scale)
    np.save(folder / "queries.npy", xq)
    file = np.lib.format.open_memmap(folder / "base.npy", "w+", np.uint8, (n, asked["d"]))
    version = mixed(base, "l2")
    for number, start in enumerate(range(0, n, len(base))):
        file[start : start + len(base)] = in_bytes(version(number), scale)[: n - start]
    file.flush()
    shares = {}
    for size, I in truths(file, xq, sorted(sizes), k):
        np.save(folder / f"truth-{size}.npy", I)
        shares[str(size)] = float((I < len(base)).mean())
    found = asked | {"shares": shares}
    done.write_text(json.dumps(found))
    return found


def in_bytes(x: FloatMatrix, scale: np.float32) -> Array:
    """Return x times a scale, in whole numbers around 128."""
    whole: Array = np.clip(np.rint(x * scale) + MIDDLE, 0, 255).astype(np.uint8)
    return whole


def truths(base: Array, xq: Array, sizes: list[int], k: int) -> Iterator[tuple[int, IdMatrix]]:
    """Yield each of the sizes, which rise, and the exact k nearest among so many first vectors: read once, part by part."""
    D, I = np.empty((len(xq), 0), np.float32), np.empty((len(xq), 0), np.int64)
    start = 0
    for size in sizes:
        while start < size:
            part = base[start : min(start + CHUNK, size)]
            near, ids = ground_truth(part, xq, min(k, len(part)))
            D, I = np.hstack([D, near]), np.hstack([I, ids + start])
            order = np.argsort(D, axis=1, kind="stable")[:, :k]
            D, I = np.take_along_axis(D, order, axis=1), np.take_along_axis(I, order, axis=1)
            start += len(part)
        yield size, I
