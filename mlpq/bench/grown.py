"""Vectors of 768 numbers by the million, grown from real texts by a rule with a seed, with exact neighbours.

An item has two texts of one topic, such as a title and a first sentence: its vector is that of the first beside that of
the second. Topics are the cells of k-means over the real texts. So each half is real, and what goes with what is not: an
item is like another where both halves are.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mlpq._check import FloatMatrix, IdMatrix, Rows
from mlpq.bench.store import Record
from mlpq.clustering import KMeans
from mlpq.data.datasets import Dataset
from mlpq.data.groundtruth import ground_truth

TOPIC = 200  # texts of a topic, on average
CHUNK = 50_000  # rows written, or searched, at a time
SEED = 0


def grow(ds: Dataset, n: int, nq: int, sizes: list[int], k: int, folder: Path) -> Record:
    """Write n vectors, nq queries and the exact k nearest of these among the first of each size, unless they are there.

    Args:
        ds: real vectors; the halves of queries are among its queries, those of the base among its base.

    Returns:
        What the set is like: mean squared distances to the first, the k-th and any vector, here and among the real ones.
    """
    done = folder / "grown.json"
    asked = {"of": ds.name, "n": n, "nq": nq, "sizes": sizes, "k": k, "seed": SEED}
    if done.exists() and (found := json.loads(done.read_text())).items() >= asked.items():
        return dict(found)
    rng = np.random.default_rng(SEED)
    topics = KMeans(ds.d, max(1, len(ds.xb) // TOPIC), seed=SEED).train(ds.xb)
    base = pairs(topics.assign(Rows(ds.xb)), n, rng)
    file = np.lib.format.open_memmap(folder / "base.npy", "w+", np.float32, (n, 2 * ds.d))
    for start in range(0, n, CHUNK):
        file[start : start + CHUNK] = beside(ds.xb, base[start : start + CHUNK])
    file.flush()
    xq = beside(ds.xq, pairs(topics.assign(Rows(ds.xq)), nq, rng))
    np.save(folder / "queries.npy", xq)
    for size in sizes:
        D, I = exact(file[:size], xq, k)
        np.save(folder / f"truth-{size}.npy", I)
    found = asked | {"topics": topics.k, "equal": n - len(np.unique(base, axis=0))}
    found |= {"grown": _spread(D[:, [0, -1]], xq, file)}
    real = ground_truth(ds.xb, ds.xq[:nq], k)[0]
    found |= {"real": _spread(real[:, [0, -1]], ds.xq[:nq], ds.xb)}
    done.write_text(json.dumps(found))
    return found


def pairs(topics: IdMatrix, n: int, rng: np.random.Generator) -> IdMatrix:
    """Return n pairs (n, 2) of rows of one topic, each row about as often as any; in random order, the first all different.

    In round t a row stands before the one t + 1 places behind it, in an order of its topic that is drawn once; after the
    last comes the first.
    """
    order = rng.permutation(len(topics))
    order = order[np.argsort(topics[order], kind="stable")]
    sizes = np.bincount(topics)
    starts = (np.cumsum(sizes) - sizes)[topics[order]]
    place, size = np.arange(len(topics)) - starts, sizes[topics[order]]
    rounds = [np.column_stack([order, order[starts + (place + t) % size]]) for t in range(1, 1 + -(-n // len(topics)))]
    made = np.concatenate([rng.permutation(one) for one in rounds])[:n]
    return rng.permutation(made)


def beside(x: FloatMatrix, rows: IdMatrix) -> FloatMatrix:
    """Return the vectors of two rows (n, 2) of x side by side, (n, 2 d), divided by the root of 2."""
    both: FloatMatrix = x[rows].reshape(len(rows), -1) * np.float32(0.5**0.5)
    return both


def exact(base: FloatMatrix, xq: FloatMatrix, k: int) -> tuple[FloatMatrix, IdMatrix]:
    """Return the exact k nearest of a base that is read part by part."""
    D, I = np.empty((len(xq), 0), np.float32), np.empty((len(xq), 0), np.int64)
    for start in range(0, len(base), CHUNK):
        near, ids = ground_truth(base[start : start + CHUNK], xq, k)
        D, I = np.hstack([D, near]), np.hstack([I, ids + start])
        order = np.argsort(D, axis=1, kind="stable")[:, :k]
        D, I = np.take_along_axis(D, order, axis=1), np.take_along_axis(I, order, axis=1)
    return D, I


def _spread(near: FloatMatrix, xq: FloatMatrix, base: FloatMatrix) -> list[float]:
    """Return mean squared distances to the first, the k-th, and to any vector."""
    some = np.asarray(base[:: max(1, len(base) // 1000)], np.float64)
    queries = xq.astype(np.float64)
    any_one = (queries**2).sum(axis=1).mean() + (some**2).sum(axis=1).mean()
    any_one -= 2 * queries.mean(axis=0) @ some.mean(axis=0)
    return [round(float(value), 4) for value in (*near.mean(axis=0), any_one)]
