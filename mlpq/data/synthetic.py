"""Vectors made up: clusters of low intrinsic dimension, any number of them, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlpq import _check
from mlpq._check import FloatMatrix
from mlpq.data import groundtruth
from mlpq.data.datasets import Dataset

SYNTHETIC_BLOCK = 1 << 14  # rows generated from one seed: the same row for any chunk size


def synthetic_chunks(
    n: int, d: int, *, n_clusters: int = 100, intrinsic_dim: int = 16, seed: int = 0, skip_blocks: int = 0
) -> Iterator[FloatMatrix]:
    """Return an iterator over n vectors of dimension d in blocks of at most 16,384 rows: clusters of low intrinsic dimension.

    A vector is a cluster's centre, plus a Gaussian in that cluster's own `intrinsic_dim`-dimensional subspace, plus a
    little noise in all d. Same arguments, same vectors; `skip_blocks` starts that many blocks later.

    Example:
        >>> [block.shape for block in synthetic_chunks(20_000, 8)]
        [(16384, 8), (3616, 8)]

    Raises:
        TypeError, ValueError: a size that is not a whole number of at least 1, or a negative seed.
    """
    sizes = {"n": n, "d": d, "n_clusters": n_clusters, "intrinsic_dim": intrinsic_dim}
    n, d, n_clusters, intrinsic_dim = (_check.integer(value, name, 1) for name, value in sizes.items())
    seed = _check.integer(seed, "seed", 0)
    skip_blocks = _check.integer(skip_blocks, "skip_blocks", 0)
    model = np.random.default_rng([seed, 0])
    centres = model.standard_normal((n_clusters, d), np.float32)
    bases = model.standard_normal((n_clusters, intrinsic_dim, d), np.float32) / np.float32(intrinsic_dim**0.5)

    def block(number: int) -> FloatMatrix:
        rng = np.random.default_rng([seed, 1 + skip_blocks + number])
        cluster = rng.integers(0, n_clusters, SYNTHETIC_BLOCK)
        inner = rng.standard_normal((SYNTHETIC_BLOCK, intrinsic_dim), np.float32)
        x = 0.05 * rng.standard_normal((SYNTHETIC_BLOCK, d), np.float32) + centres[cluster]
        for c in np.unique(cluster):
            x[cluster == c] += inner[cluster == c] @ bases[c]
        return x[: n - number * SYNTHETIC_BLOCK]

    return (block(number) for number in range(-(-n // SYNTHETIC_BLOCK)))


def synthetic(
    n: int, d: int, *, nq: int = 1000, n_clusters: int = 100, intrinsic_dim: int = 16, seed: int = 0
) -> Dataset:
    """Return a data set of n vectors and nq queries from `synthetic_chunks`, with exact ground truth.

    Example:
        >>> synthetic(500, 8, nq=10).gt.shape
        (10, 100)

    Raises:
        TypeError, ValueError: as in `synthetic_chunks`; nq < 1.
    """
    nq = _check.integer(nq, "nq", 1)
    model = {"n_clusters": n_clusters, "intrinsic_dim": intrinsic_dim, "seed": seed}
    xb = np.concatenate(list(synthetic_chunks(n, d, **model)))
    xq = np.concatenate(list(synthetic_chunks(nq, d, skip_blocks=-(-len(xb) // SYNTHETIC_BLOCK), **model)))
    D, I = groundtruth.compute(xb, xq, min(groundtruth.K, len(xb)))
    return Dataset(f"synthetic-{n}x{d}", xb, xq, I.astype(np.int32), D.astype(np.float32))
