"""Slow, plain references: each says in loops, in float64, what the package computes in arrays."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def exact(xb: npt.ArrayLike, xq: npt.ArrayLike, k: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The k nearest rows of xb to each query, ties by row."""
    base, queries = np.asarray(xb, float), np.asarray(xq, float)
    D, I = np.full((len(queries), k), np.inf), np.full((len(queries), k), -1)
    for q, query in enumerate(queries):
        distances = [(float(((query - x) ** 2).sum()), i) for i, x in enumerate(base)]
        for rank, (distance, i) in enumerate(sorted(distances)[:k]):
            D[q, rank], I[q, rank] = distance, i
    return D, I


def encode(x: npt.ArrayLike, codebooks: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The nearest codeword in each sub-space, the lowest number among equals: (n, m)."""
    m, _, dsub = codebooks.shape
    vectors = np.asarray(x, float)
    indices = np.zeros((len(vectors), m), np.int64)
    for i, vector in enumerate(vectors):
        for j in range(m):
            sub = vector[j * dsub : (j + 1) * dsub]
            indices[i, j] = np.argmin([((sub - codeword) ** 2).sum() for codeword in codebooks[j].astype(float)])
    return indices


def pack(indices: npt.NDArray[np.int64], nbits: int) -> npt.NDArray[np.uint8]:
    """Each row as one long binary number, the first sub-code in its lowest bits, written out byte by byte."""
    n, m = indices.shape
    size = (m * nbits + 7) // 8
    rows = [sum(int(index) << (j * nbits) for j, index in enumerate(row)) for row in indices]
    return np.array([list(row.to_bytes(size, "little")) for row in rows], np.uint8).reshape(n, size)


def adc(xq: npt.ArrayLike, decoded: npt.ArrayLike, k: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Asymmetric search: the exact query against the decoded vectors."""
    return exact(decoded, xq, k)


def same_up_to_ties(
    D: Floats, I: npt.NDArray[np.int64], D_ref: Floats, I_ref: npt.NDArray[np.int64], rtol: float
) -> bool:
    """Whether results agree: equal distances rank by rank, and other ids only among equally distant vectors."""
    if not np.allclose(D, D_ref, rtol=rtol, atol=rtol):
        return False
    other = I_ref != I
    # An id that differs must stand in a run of equal distances: its neighbour in rank is as far, or it is the last.
    gaps = np.diff(D_ref, axis=1, append=D_ref[:, -1:])
    gaps_before = np.diff(D_ref, axis=1, prepend=-np.inf)
    scale = rtol * (1 + np.abs(D_ref))
    tied = (gaps <= scale) | (gaps_before <= scale)
    return bool(tied[other].all())
