"""ProductQuantizer: by hand, against a plain reference, against Faiss code for code."""

import subprocess
import sys

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import mlpq
from mlpq._parallel import quick_training
from mlpq.codecs.pq import unpack
from tests import reference

RNG = np.random.default_rng(7)


def faiss_pq(pq: mlpq.ProductQuantizer) -> faiss.IndexPQ:
    """A Faiss index with the same codebooks."""
    index = faiss.IndexPQ(pq.d, pq.m, pq.nbits)
    faiss.copy_array_to_vector(pq.codebooks.ravel(), index.pq.centroids)
    index.is_trained = True
    return index


def test_by_hand() -> None:
    # Two sub-spaces of one dimension, four codewords each.
    pq = mlpq.ProductQuantizer.from_codebooks([[[0], [1], [2], [3]], [[0], [10], [20], [30]]])
    assert (pq.d, pq.m, pq.nbits, pq.code_size) == (2, 2, 2, 1)
    x = [[2.2, 9.0], [0.4, 31.0]]
    assert pq.encode(x).tolist() == [[2 + (1 << 2)], [0 + (3 << 2)]]
    assert pq.decode(pq.encode(x)).tolist() == [[2, 10], [0, 30]]
    assert pq.distance_table([[1, 10]]).tolist() == [[[1, 0, 1, 4], [100, 0, 100, 400]]]
    D, I = pq.search([[1, 10]], pq.encode(x), k=3)
    assert I.tolist() == [[0, 1, -1]]
    assert D.tolist() == [[1, 401, np.inf]]


@pytest.mark.parametrize("nbits", range(1, 17))
def test_codes_and_ids_are_those_of_faiss(nbits: int) -> None:
    m, d = 6, 18
    # Many codewords are drawn, not trained: Faiss would take long, and the codes must agree for any codebooks.
    pq = mlpq.ProductQuantizer.from_codebooks(RNG.standard_normal((m, 2**nbits, d // m)))
    x, xq = RNG.standard_normal((300, d), np.float32), RNG.standard_normal((20, d), np.float32)
    index = faiss_pq(pq)
    codes = pq.encode(x)
    assert np.array_equal(codes, index.sa_encode(x))
    assert np.array_equal(pq.decode(codes), index.sa_decode(codes))
    index.add(x)
    D_faiss, I_faiss = index.search(xq, 10)
    D, I = pq.search(xq, codes, 10)
    np.testing.assert_allclose(D, D_faiss, rtol=1e-4, atol=1e-4)
    assert reference.same_up_to_ties(D, I, D_faiss, I_faiss, 1e-5)


@pytest.mark.parametrize(("m", "nbits"), [(8, 8), (49, 4), (98, 8)])
def test_codes_of_images_are_those_of_faiss(ds: mlpq.Dataset, m: int, nbits: int) -> None:
    # With m = 98 many sub-vectors are all zero, and so are several codewords of one sub-space.
    pq = mlpq.ProductQuantizer(ds.d, m, nbits).train(ds.xb[:3000])
    index = faiss_pq(pq)
    codes, theirs = pq.encode(ds.xb), index.sa_encode(ds.xb)
    other = np.flatnonzero((codes != theirs).any(axis=1))  # where two codewords are equally near, rounding chooses
    assert len(other) <= 2
    errors = [np.square(ds.xb[other] - pq.decode(some[other]), dtype=np.float64) for some in (codes, theirs)]
    np.testing.assert_allclose(*(each.sum(axis=1) for each in errors), rtol=1e-5)
    index.add_sa_codes(codes)
    D, I = pq.search(ds.xq[:200], codes, 10)
    assert reference.same_up_to_ties(D, I, *index.search(ds.xq[:200], 10), 1e-4)


def test_training_is_that_of_faiss(ds: mlpq.Dataset) -> None:
    index = faiss.ProductQuantizer(ds.d, 4, 5)
    index.cp.seed = 3
    index.train(ds.xb[:2000])
    ours = mlpq.ProductQuantizer(ds.d, 4, 5, seed=3).train(ds.xb[:2000])
    assert np.array_equal(ours.codebooks.ravel(), faiss.vector_to_array(index.centroids))


@pytest.mark.parametrize(("d", "m", "nbits"), [(6, 3, 3), (8, 1, 5), (5, 5, 1), (12, 4, 9)])
def test_against_plain_reference(d: int, m: int, nbits: int) -> None:
    pq = mlpq.ProductQuantizer.from_codebooks(RNG.standard_normal((m, 2**nbits, d // m)))
    x, xq = RNG.standard_normal((60, d)), RNG.standard_normal((7, d))
    indices = reference.encode(x.astype(np.float32), pq.codebooks)
    codes = pq.encode(x)
    assert np.array_equal(codes, reference.pack(indices, nbits))
    decoded = pq.decode(codes)
    assert np.array_equal(decoded, np.hstack([pq.codebooks[j, indices[:, j]] for j in range(m)]))
    D, I = pq.search(xq, codes, 12)
    assert reference.same_up_to_ties(D, I, *reference.adc(xq, decoded, 12), 1e-4)


def test_distance_table_adds_up_to_the_distance_to_the_decoded(ds: mlpq.Dataset) -> None:
    pq = mlpq.ProductQuantizer(ds.d, 16, 6).train(ds.xb[:3000])
    codes = pq.encode(ds.xb[:50])
    indices = unpack(codes, pq.m, pq.nbits)
    table = pq.distance_table(ds.xq[:5])
    assert table.shape == (5, 16, 64)
    summed = table[:, np.arange(16)[None, :], indices].sum(axis=2)
    direct = ((ds.xq[:5, None] - pq.decode(codes)[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(summed, direct, rtol=1e-4)


def test_more_bits_and_more_subvectors_distort_less(ds: mlpq.Dataset) -> None:
    def distortion(m: int, nbits: int) -> float:
        pq = mlpq.ProductQuantizer(ds.d, m, nbits).train(ds.xb[:4000])
        return float(((ds.xb[:4000] - pq.decode(pq.encode(ds.xb[:4000]))) ** 2).sum(axis=1).mean())

    by_bits = [distortion(7, nbits) for nbits in (1, 2, 4, 6, 8)]
    by_m = [distortion(m, 4) for m in (1, 2, 7, 28, 112)]
    assert by_bits == sorted(by_bits, reverse=True)
    assert by_m == sorted(by_m, reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 16), st.integers(1, 9), st.integers(0, 5))
def test_unpacking_undoes_packing(data: st.DataObject, nbits: int, m: int, n: int) -> None:
    indices = data.draw(arrays(np.int64, (n, m), elements=st.integers(0, 2**nbits - 1)))
    assert np.array_equal(unpack(reference.pack(indices, nbits), m, nbits), indices)


def test_large_batches_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    pq = mlpq.ProductQuantizer.from_codebooks(RNG.standard_normal((4, 16, 2)))
    x, xq = RNG.standard_normal((200, 8)), RNG.standard_normal((90, 8))
    codes = pq.encode(x)
    D, I = pq.search(xq, codes, 5)
    monkeypatch.setattr("mlpq._parallel.BLOCK", 1000)
    assert np.array_equal(pq.encode(x), codes)
    D_blocks, I_blocks = pq.search(xq, codes, 5)
    assert np.array_equal(I_blocks, I)
    np.testing.assert_allclose(D_blocks, D, rtol=1e-5)


def test_same_seed_same_codebooks(ds: mlpq.Dataset) -> None:
    one, two, other = (mlpq.ProductQuantizer(ds.d, 4, 4, seed=s).train(ds.xb[:500]).codebooks for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_faiss_gets_its_setting_back_after_the_last_training(monkeypatch: pytest.MonkeyPatch) -> None:
    before = 1234
    monkeypatch.setattr(faiss.cvar, "distance_compute_blas_threshold", before)
    with quick_training():
        first = faiss.cvar.distance_compute_blas_threshold
        with quick_training():
            pass
        assert faiss.cvar.distance_compute_blas_threshold == first != before
    assert faiss.cvar.distance_compute_blas_threshold == before
    with pytest.raises(ValueError, match="inside"), quick_training():
        raise ValueError("inside")
    assert faiss.cvar.distance_compute_blas_threshold == before


@pytest.mark.skipif(sys.platform != "linux", reason="others count memory in other units, or not")
def test_encoding_holds_no_table_of_all_distances() -> None:
    """200,000 vectors of 51 MB against 512 codewords: all distances at once would be 410 MB."""
    code = """
import resource, numpy, mlpq
x = numpy.random.default_rng(0).random((200_000, 64), numpy.float32)
pq = mlpq.ProductQuantizer(64, 2).train(x[:5000])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pq.encode(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 200_000  # kB


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_nearest_m_divides_d_and_none_is_nearer(d: int, wanted: int) -> None:
    m = mlpq.nearest_m(d, wanted)
    assert d % m == 0
    apart = [abs(np.log(v / wanted)) for v in range(1, d + 1) if d % v == 0]
    assert abs(np.log(m / wanted)) == pytest.approx(min(apart))
    assert d % wanted or m == wanted
