"""The edges of what is accepted: no rows, the largest numbers, and files larger than what is to be held in memory."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest

import mlpq
from mlpq import _check
from mlpq._parallel import quick_training

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 8)).astype(np.float32)
NONE = np.empty((0, 8), np.float32)

INDEXES: dict[str, Callable[[], Any]] = {
    "ExactIndex": lambda: mlpq.ExactIndex(8),
    "KMeansIndex": lambda: mlpq.KMeansIndex(8, 4).train(X),
    "MultiLevelPQ": lambda: mlpq.MultiLevelPQ(8, 4, 2, m=4, nbits=4).train(X),
    "MultiLevelPQ with PCA": lambda: mlpq.MultiLevelPQ(8, 4, 2, m=2, nbits=4, pca_dim=4, keep_originals=True).train(X),
    "Flat": lambda: mlpq.FaissIndex(8, "Flat"),
    "IVF": lambda: mlpq.FaissIndex(8, "IVF4,PQ4x4").train(np.tile(X, (3, 1))),
}


# ---- no rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("n", [0, 300])
def test_no_queries_find_nothing(kind: str, n: int) -> None:
    index = INDEXES[kind]().add(X[:n])
    options = [{}, {"nprobe": 3}] if kind != "ExactIndex" else [{}]
    options += [{"nprobe": 3, "n_outer_probe": 1}] if "MultiLevelPQ" in kind else []
    options += [{"rerank": 2}] if "PCA" in kind else []
    for option in options:
        for none in (NONE, np.empty((0, 8), np.uint8), np.empty((0, 8))):
            D, I = index.search(none, 5, **option)
            assert (D.shape, D.dtype, I.shape, I.dtype) == ((0, 5), np.float32, (0, 5), np.int64)


@pytest.mark.parametrize("kind", INDEXES)
def test_adding_nothing_changes_nothing(kind: str) -> None:
    index, other = INDEXES[kind]().add(X), INDEXES[kind]().add(NONE).add(X).add(NONE)
    assert index.ntotal == other.ntotal == 300
    assert index.memory() == other.memory()
    for found, expected in zip(other.search(X, 5), index.search(X, 5), strict=True):
        assert np.array_equal(found, expected)


def test_no_rows_elsewhere() -> None:
    clusters, pq = mlpq.TwoLevelKMeans(8, 4, 2).train(X), mlpq.ProductQuantizer(8, 4, 4).train(X)
    assert clusters.assign(NONE).shape == clusters.inner.assign(NONE).shape == (0,)
    assert (
        clusters.probe(NONE, 3).shape
        == clusters.probe(NONE, 3, 1).shape
        == clusters.inner.probe(NONE, 3).shape
        == (0, 3)
    )
    assert pq.encode(NONE).shape == (0, 2)
    assert pq.decode(pq.encode(NONE)).shape == (0, 8)
    assert pq.distance_table(NONE).shape == (0, 4, 16)
    D, I = pq.search(NONE, pq.encode(X), 5)
    assert D.shape == I.shape == (0, 5)
    D, I = pq.search(X, pq.encode(NONE), 5)
    assert np.isinf(D).all()
    assert (I == -1).all()


# ---- the largest numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", INDEXES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_numbers_up_to_1e15_are_accepted(kind: str, dtype: type) -> None:
    """The corners of a cube: with few cells, residuals are larger than the vectors themselves."""
    x = np.where(RNG.random((300, 8)) < 0.9, 10**15, -(10**15)).astype(dtype)
    index = INDEXES[kind]()
    if hasattr(index, "train"):
        index.train(np.tile(x, (3, 1)))
    D, I = index.add(x).search(x, 4)
    assert (I >= 0).all()
    assert np.isfinite(D).all()
    if "PQ" not in kind and kind != "IVF":
        assert (D[:, 0] == 0).all()


def test_one_bound_for_all_dtypes() -> None:
    for largest in (np.float32(1e15), 1e15, 10**15, np.uint64(10**15)):
        assert _check.matrix([[largest]], "x")[0, 0] == np.float32(1e15)
    for beyond in (np.nextafter(np.float32(1e15), np.float32(2e15)), np.nextafter(1e15, 2e15), 10**15 + 1):
        for x in ([[beyond]], [[-beyond]]):
            with pytest.raises(ValueError, match=r"x must stay within ±1e\+15"):
                _check.matrix(x, "x")


# ---- files -------------------------------------------------------------------------------------------------------

DTYPES = [np.uint8, np.float16, np.float64]
N, D = 16_000, 64
WHOLE = N * D * 4  # bytes of all vectors in float32


@pytest.fixture(scope="module")
def numbers() -> npt.NDArray[np.int64]:
    """Whole numbers from 0 to 100, in clusters: any dtype here holds them."""
    rng = np.random.default_rng(1)
    return np.clip(rng.integers(0, 100, (20, D))[rng.integers(0, 20, N)] + rng.integers(-9, 9, (N, D)), 0, 100)


@pytest.fixture(params=DTYPES, ids=lambda dtype: dtype.__name__)
def mapped(request: pytest.FixtureRequest, numbers: npt.NDArray[np.int64], tmp_path: Path) -> np.memmap:
    np.save(tmp_path / "x.npy", numbers.astype(request.param))
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def peak(work: Callable[[], object]) -> int:
    """Bytes allocated at most meanwhile."""
    tracemalloc.start()
    work()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def small(owner: str = "global", **options: Any) -> mlpq.MultiLevelPQ:
    return mlpq.MultiLevelPQ(D, 6, 2, m=8, nbits=3, codebooks=owner, niter=3, **options)


def test_conversion_holds_the_result_and_a_chunk(mapped: np.memmap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_check, "CHUNK", 1 << 14)
    assert peak(lambda: _check.matrix(mapped, "x")) < 1.05 * WHOLE
    assert peak(lambda: _check.rows(mapped, "x")) < 0.02 * WHOLE
    damaged = mapped.astype(np.float64)
    damaged[N - 2, 3] = np.nan

    def refused() -> None:
        with pytest.raises(ValueError, match=f"in 1 of {N} rows, first in row {N - 2}"):
            _check.matrix(damaged, "x")

    assert peak(refused) < 0.1 * WHOLE


@pytest.mark.parametrize("owner", ["global", "inner"])
def test_training_from_a_file_holds_what_it_uses(
    owner: str, mapped: np.memmap, numbers: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    """6 cells need 1,536 vectors, a codebook of 8 codewords 2,048; the whole set has 16,000."""
    plain = small(owner).train(numbers.astype(np.float32))
    monkeypatch.setattr(_check, "CHUNK", 1 << 14)
    monkeypatch.setattr("mlpq._parallel.BLOCK", 1 << 16)
    index = small(owner)
    held = peak(lambda: index.train(mapped))
    assert held < 0.75 * WHOLE
    assert all(np.array_equal(a, index._arrays()[name]) for name, a in plain._arrays().items())
    clusters = mlpq.KMeans(D, 6, niter=3)
    assert peak(lambda: clusters.train(mapped)) < 0.25 * WHOLE
    assert np.array_equal(clusters.centroids, mlpq.KMeans(D, 6, niter=3).train(numbers).centroids)
    assert peak(lambda: mlpq.ProductQuantizer(D, 8, 3).train(mapped)) < 0.5 * WHOLE


def test_training_after_pca_from_a_file(mapped: np.memmap, numbers: npt.NDArray[np.int64]) -> None:
    plain, index = small(pca_dim=16).train(numbers.astype(np.float32)), small(pca_dim=16).train(mapped)
    assert all(np.array_equal(a, index._arrays()[name]) for name, a in plain._arrays().items())


@pytest.mark.parametrize("keep", [False, True])
def test_adding_from_a_file_holds_the_index_and_a_chunk(
    keep: bool, mapped: np.memmap, numbers: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = small(keep_originals=keep).train(numbers).add(numbers.astype(np.float32))
    monkeypatch.setattr(_check, "CHUNK", 1 << 14)
    monkeypatch.setattr("mlpq._parallel.BLOCK", 1 << 16)
    index = small(keep_originals=keep).train(mapped)
    held = peak(lambda: index.add(mapped))
    assert held - index.memory().total < 0.25 * WHOLE
    assert all(np.array_equal(a, index._arrays()[name]) for name, a in plain._arrays().items())


@pytest.mark.parametrize("make", [lambda: mlpq.ExactIndex(D), lambda: mlpq.KMeansIndex(D, 6, niter=3)])
def test_uncompressed_indexes_hold_vectors_once(
    make: Callable[[], Any], mapped: np.memmap, numbers: npt.NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    index, plain = make(), make()
    if hasattr(index, "train"):
        index.train(mapped)
        plain.train(numbers)
    monkeypatch.setattr(_check, "CHUNK", 1 << 14)
    monkeypatch.setattr("mlpq._parallel.BLOCK", 1 << 16)
    held = peak(lambda: index.add(mapped))
    cell = int(max(index.lists.sizes)) if hasattr(index, "lists") else 0
    assert held - index.memory().total < 0.25 * WHOLE + cell * D * 4
    for found, expected in zip(index.search(mapped[:9], 5), plain.add(numbers).search(numbers[:9], 5), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(("n", "seed"), [(4096, 0), (4097, 0), (9000, 7)])
def test_codebooks_are_those_that_faiss_trains_on_everything(n: int, seed: int) -> None:
    x = np.random.default_rng(seed).random((n, 12), np.float32)
    theirs = faiss.ProductQuantizer(12, 3, 4)
    theirs.cp.seed = seed
    with quick_training():
        theirs.train(x)
    ours = mlpq.ProductQuantizer(12, 3, 4, seed=seed).train(x).codebooks
    assert np.array_equal(ours.ravel(), faiss.vector_to_array(theirs.centroids))


# ---- originals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([0.0, 255.0], np.uint8), ([-0.0, 7.0], np.uint8), ([0.0, 256.0], np.float32), ([-1.0, 0.0], np.float32),
        ([0.5, 1.0], np.float32), ([2.0**31, 1.0], np.float32), ([2.0**40, -(2.0**63)][:1] * 2, np.float32),
        ([1e15, -1e15], np.float32),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [0, 3])
def test_originals_are_bytes_where_that_loses_nothing(numbers: list[float], dtype: type, before: int) -> None:
    """And without a warning, which these tests take for an error."""
    index = mlpq.MultiLevelPQ(2, 2, 1, m=1, nbits=1, keep_originals=True).train([[0.0, 0], [9, 9], [0, 1]])
    x = np.vstack([np.full((before, 2), 200.0), [numbers]])
    index.add(x[:before]).add(x[before:])
    assert index.lists.originals.dtype == dtype
    assert np.array_equal(index.lists.original(index.lists.rows_of(np.arange(len(x)))), x.astype(np.float32))
