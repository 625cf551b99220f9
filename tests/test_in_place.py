"""Distance tables by Faiss, in place: the same answers as without them, whatever is reduced, level, far away or changed."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import faiss
import numpy as np
import pytest

import mlpq
from mlpq import model
from mlpq.exchange.in_place import InPlace, quicker

pytestmark = pytest.mark.skipif(not hasattr(faiss, "OnDiskInvertedLists"), reason="Faiss has none on this system")
VARIANTS: list[dict[str, Any]] = [
    {"m": 8},
    {"m": 16, "nbits": 4},
    {"m": 4, "nbits": 6},
    {"m": 8, "pca_dim": 16, "codebook_dtype": "uint8"},
    {"m": 8, "metric": "cosine"},
    {"m": 8, "metric": "ip"},
]


@pytest.fixture(scope="module")
def blobs() -> mlpq.Dataset:
    return mlpq.synthetic(4000, 32, nq=40, n_clusters=30)


def built(blobs: mlpq.Dataset, **options: Any) -> mlpq.MultiLevelPQ:
    index = mlpq.MultiLevelPQ(32, 12, 3, keep_originals=True, **{"m": 8, **options})
    return index.train(blobs.xb).add(blobs.xb, 3 * np.arange(len(blobs.xb)))


def both(index: mlpq.MultiLevelPQ, xq: np.ndarray, monkeypatch: pytest.MonkeyPatch, **how: int) -> list[Any]:
    """What is found with tables, and without."""
    found = []
    for answer in (True, False):
        monkeypatch.setattr(model, "quicker", lambda *_, answer=answer: answer)
        found.append(index.search(xq, 10, **how))
    return found


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("nq", [1, 40])
def test_tables_find_what_is_found_without_them(
    blobs: mlpq.Dataset, options: dict[str, Any], nq: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = built(blobs, **options)
    for how in ({"nprobe": 1}, {"nprobe": 5}, {"nprobe": 5, "rerank": 4}, {"nprobe": 6, "n_outer_probe": 1}):
        (D, I), (D_plain, I_plain) = both(index, blobs.xq[:nq], monkeypatch, **how)
        assert np.array_equal(I, I_plain), how
        assert np.array_equal(D, D_plain), how


@pytest.mark.parametrize("offset", [0, 1e4, 1e7])
def test_where_rounding_or_equal_codes_leave_the_order_open_it_is_still_exact(
    offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far from the origin float32 tells little; of forty copies of one vector the ten with the lowest ids are found."""
    x = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    x = np.repeat(x, 40, axis=0) + np.float32(offset)
    order = np.random.default_rng(1).permutation(len(x))
    index = mlpq.MultiLevelPQ(16, 6, 2, m=4, nbits=6).train(x).add(x[order])
    (D, I), (D_plain, I_plain) = both(index, x[::400] + np.float32(0.25), monkeypatch, nprobe=3)
    assert np.array_equal(I, I_plain)
    np.testing.assert_allclose(D, D_plain, rtol=1e-3)


def test_fewer_candidates_than_asked_for_are_padded(blobs: mlpq.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    index = mlpq.MultiLevelPQ(32, 12, 3, m=8, nbits=4).train(blobs.xb).add(blobs.xb[:20])
    (D, I), (_, I_plain) = both(index, blobs.xq, monkeypatch, nprobe=2)
    assert (I == -1).any()
    assert np.isposinf(D[I == -1]).all()
    assert np.array_equal(I, I_plain)


def test_codes_are_scanned_where_they_are(blobs: mlpq.Dataset) -> None:
    index = built(blobs)
    index.search(blobs.xq[:1], 10)
    assert index._in_place is not None
    for cell in range(12):
        there = index._in_place._lists.get_codes(cell)
        assert int(there) == index.lists.rows[index.lists.cell(cell)].ctypes.data
    assert index._in_place._faiss.precomputed_table.size() == 12 * 8 * 256  # what `memory` says comes on top
    assert index._in_place._faiss.quantizer.ntotal == 0


def test_what_changes_is_seen_and_copies_have_their_own(blobs: mlpq.Dataset) -> None:
    index = mlpq.MultiLevelPQ(32, 12, 3, m=8).train(blobs.xb).add(blobs.xb[:2000])
    index.search(blobs.xq[:1], 10, nprobe=12)
    twins = [copy.copy(index), copy.deepcopy(index), pickle.loads(pickle.dumps(index))]
    before = index.search(blobs.xq, 10, nprobe=12)
    for number, changed in enumerate([index, *twins]):
        changed.add(blobs.xb[2000:])
        fresh = pickle.loads(pickle.dumps(changed))
        for x in (blobs.xq[:1], blobs.xq):
            assert np.array_equal(changed.search(x, 10, nprobe=12)[1], fresh.search(x, 10, nprobe=12)[1])
        for twin in twins[number:]:
            assert np.array_equal(twin.search(blobs.xq, 10, nprobe=12)[1], before[1])
    index.remove(np.arange(2000))
    assert index.search(blobs.xq[:1], 10, nprobe=12)[1].min() >= 2000


def test_tables_serve_few_queries_and_short_codes(blobs: mlpq.Dataset) -> None:
    lists = built(blobs).lists
    short, long = mlpq.ProductQuantizer(256, 8), mlpq.ProductQuantizer(256, 128)
    few, many = np.zeros((1, 8), np.int64), np.zeros((4000, 8), np.int64)
    assert quicker(short, few, lists, 10)
    assert quicker(long, few, lists, 10)
    assert quicker(short, many, lists, 10)
    assert not quicker(long, many, lists, 10)
    middle, some = mlpq.ProductQuantizer(256, 32), np.zeros((len(lists.sizes) * 3, 8), np.int64)
    assert quicker(middle, some, lists, 10)  # 24 queries a cell share its decoding
    assert not quicker(middle, many, lists, 10)
    assert not quicker(short, few, lists, 10**6)  # more than Faiss's heap is quick with


def test_memory_that_is_not_faiss_s_is_not_given_back() -> None:
    """Faiss would unmap it, and say that it could not."""
    program = """
import numpy as np, mlpq
x = np.random.default_rng(0).random((3000, 16), np.float32)
for _ in range(3):
    index = mlpq.MultiLevelPQ(16, 4, 2, m=4, nbits=4).train(x).add(x)
    index.search(x[:1], 5)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_it_says_how_far_rounding_reaches(blobs: mlpq.Dataset) -> None:
    """Distances in float64 lie within the error of those that Faiss finds."""
    index = built(blobs)
    z, centroids = blobs.xq, index.clusters.inner_centroids
    tables = InPlace(index.lists, centroids, index.quantizers[0], False)
    near, probes = index._probe(z, 4, None)
    D, rows, error = tables._candidates(z, near, probes, 20)
    cells = index.lists.cells_of(rows.ravel())
    stored = centroids[cells].astype(float) + index.quantizers.decode(cells, index.lists.rows[rows.ravel()])
    exact = np.square(np.repeat(z, 20, axis=0) - stored).sum(axis=1).reshape(D.shape)
    assert (np.abs(D - exact) <= error).all()
    assert (error < 1e-2 * exact[:, :1]).all()


@pytest.mark.parametrize("outer", [None, 1, 3])
def test_one_query_looks_into_the_nearest_cells_where_rounding_lets_tell(outer: int | None) -> None:
    x = np.random.default_rng(0).normal(size=(400, 16)).astype(np.float32)
    clusters = mlpq.TwoLevelKMeans(16, 40, 4).train(x)
    told = 0
    for query in x[:50, None]:
        probes = clusters.probe(query, 5, outer)[0]
        if found := model.cells_of_one(clusters, query, 5, outer):
            told += 1
            assert np.array_equal(found[1][0], probes)
            exact = np.square(query.astype(float) - clusters.inner_centroids[probes]).sum(axis=1)
            np.testing.assert_allclose(found[0][0], exact, rtol=1e-5)
        else:
            assert (probes < 0).any()
    assert told
    clusters.inner.centroids[1] = clusters.inner.centroids[0]  # as near, so that nobody can tell which one to leave out
    assert model.cells_of_one(clusters, clusters.inner_centroids[:1], 1, None) is None
