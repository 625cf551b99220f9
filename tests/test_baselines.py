"""ExactIndex and KMeansIndex: against a plain reference, against Faiss, and where rounding and ties could mislead."""

import faiss
import numpy as np
import pytest

import mlpq
from tests import reference

RNG = np.random.default_rng(11)


def test_exact_search_against_plain_reference() -> None:
    xb, xq = RNG.standard_normal((200, 7)), RNG.standard_normal((15, 7))
    D, I = mlpq.ExactIndex(7).add(xb[:150]).add(xb[150:]).search(xq, 20)
    assert reference.same_up_to_ties(D, I, *reference.exact(xb.astype(np.float32), xq.astype(np.float32), 20), 1e-5)


def test_exact_search_is_the_ground_truth(ds: mlpq.Dataset) -> None:
    D, I = mlpq.ExactIndex(ds.d).add(ds.xb).search(ds.xq, 100)
    assert mlpq.recall_at_k(I, ds.gt, 100) > 0.9999
    assert mlpq.recall_by_distance(D, ds.distances, 100) == 1.0
    np.testing.assert_allclose(D, ds.distances, rtol=1e-5)


def test_exact_search_is_that_of_faiss(ds: mlpq.Dataset) -> None:
    index = faiss.IndexFlatL2(ds.d)
    index.add(ds.xb)
    D, I = mlpq.ExactIndex(ds.d).add(ds.xb).search(ds.xq, 10)
    assert reference.same_up_to_ties(D, I, *index.search(ds.xq, 10), 1e-4)


def test_equal_vectors_are_found_at_distance_zero_lowest_id_first() -> None:
    x = np.repeat(RNG.standard_normal((20, 50)) * 1000, 3, axis=0)  # large norms: rounding must not hide the zeros
    D, I = mlpq.ExactIndex(50).add(x).search(x[::3], 3)
    assert (D == 0).all()
    assert np.array_equal(I, np.arange(60).reshape(20, 3))


def test_padding_and_empty() -> None:
    D, I = mlpq.ExactIndex(3).search(np.zeros((2, 3)), 4)
    assert (I == -1).all()
    assert np.isinf(D).all()
    D, I = mlpq.ExactIndex(3).add(np.eye(3)).search(np.zeros((2, 3)), 5)
    assert I.tolist() == [[0, 1, 2, -1, -1]] * 2
    assert D.tolist() == [[1, 1, 1, np.inf, np.inf]] * 2
    index = mlpq.KMeansIndex(3, 2).train(np.eye(3))
    assert (index.search(np.zeros((2, 3)), 4)[1] == -1).all()
    assert index.add(np.eye(3)).search(np.zeros((2, 3)), 4, nprobe=2)[1].tolist() == [[0, 1, 2, -1]] * 2


def test_added_vectors_are_copied() -> None:
    x = np.zeros((4, 2), np.float32)
    exact, clustered = mlpq.ExactIndex(2).add(x), mlpq.KMeansIndex(2, 1).train(x).add(x)
    x += 100
    for index in (exact, clustered):
        assert (index.search([[0, 0]], 1)[0] == 0).all()


def test_kmeans_index_is_ivf_flat_of_faiss(ds: mlpq.Dataset) -> None:
    index = mlpq.KMeansIndex(ds.d, 32).train(ds.xb).add(ds.xb[:7000]).add(ds.xb[7000:])
    quantizer = faiss.IndexFlatL2(ds.d)
    quantizer.add(index.clusters.centroids)
    theirs = faiss.IndexIVFFlat(quantizer, ds.d, 32)
    theirs.is_trained = True
    theirs.add(ds.xb)
    for nprobe in (1, 3, 32):
        theirs.nprobe = nprobe
        D, I = index.search(ds.xq, 10, nprobe=nprobe)
        assert reference.same_up_to_ties(D, I, *theirs.search(ds.xq, 10), 1e-4)


def test_probing_every_cluster_is_exact_search(ds: mlpq.Dataset) -> None:
    x = ds.xb[:3000]
    exact = mlpq.ExactIndex(ds.d).add(x).search(ds.xq[:50], 20)
    clustered = mlpq.KMeansIndex(ds.d, 12).train(x).add(x).search(ds.xq[:50], 20, nprobe=12)
    assert np.array_equal(exact[1], clustered[1])
    np.testing.assert_allclose(exact[0], clustered[0], rtol=1e-6)


def test_bytes() -> None:
    x = RNG.standard_normal((100, 5))
    assert mlpq.ExactIndex(5).add(x).memory() == {"originals": 100 * 5 * 4}
    memory = mlpq.KMeansIndex(5, 4).train(x).add(x).memory()
    assert memory == {"originals": 2000, "ids": 400, "list_offsets": 40, "centroids": 80}
    assert memory.total == 2520


@pytest.mark.parametrize("k", [1, 7, 300])
def test_kmeans_index_against_plain_reference(k: int) -> None:
    xb, xq = RNG.standard_normal((250, 4)).astype(np.float32), RNG.standard_normal((9, 4)).astype(np.float32)
    index = mlpq.KMeansIndex(4, 10).train(xb).add(xb)
    cells = index.clusters.assign(xb)
    D, I = index.search(xq, k, nprobe=3)
    for q in range(9):
        members = np.flatnonzero(np.isin(cells, index.clusters.probe(xq[q : q + 1], 3)))
        D_ref, rows = reference.exact(xb[members], xq[q : q + 1], k)
        assert np.array_equal(I[q], np.where(rows[0] < 0, -1, members[rows[0]]))
        np.testing.assert_allclose(D[q], D_ref[0], rtol=1e-5)


def test_vectors_far_from_the_origin() -> None:
    xb, xq = RNG.standard_normal((1500, 16)) + 1000, RNG.standard_normal((40, 16)) + 1000
    xb, xq = xb.astype(np.float32), xq.astype(np.float32)
    gt = reference.exact(xb, xq, 10)[1]
    assert mlpq.recall_at_k(mlpq.ExactIndex(16).add(xb).search(xq, 10)[1], gt, 10) == 1.0
    index = mlpq.KMeansIndex(16, 8).train(xb).add(xb)
    assert mlpq.recall_at_k(index.search(xq, 10, nprobe=8)[1], gt, 10) == 1.0
    pq = mlpq.ProductQuantizer(16, 4, 6).train(xb)
    D, I = pq.search(xq, pq.encode(xb), 10)
    assert reference.same_up_to_ties(D, I, *reference.adc(xq, pq.decode(pq.encode(xb)), 10), 1e-3)
