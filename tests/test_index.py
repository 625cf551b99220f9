"""MultiLevelPQ: against plain loops, against Faiss's IVF-PQ, and the facts that hold whatever the data."""

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from threadpoolctl import threadpool_info

import mlpq
from mlpq.bench import plain_search
from tests import reference

OWNERS = ("global", "outer", "inner")


@pytest.fixture(scope="module")
def blobs() -> mlpq.Dataset:
    """A small clustered set, quick to index in many ways."""
    return mlpq.synthetic(4000, 24, nq=60, n_clusters=12, intrinsic_dim=6, seed=1)


def build(ds: mlpq.Dataset, **options: object) -> mlpq.MultiLevelPQ:
    settings = {"n_inner": 16, "n_outer": 4, "m": 6, "nbits": 5} | options
    return mlpq.MultiLevelPQ(ds.d, **settings).train(ds.xb).add(ds.xb)


@pytest.mark.parametrize("nbits", [3, 4, 8])
@pytest.mark.parametrize("owner", OWNERS)
def test_results_are_those_of_plain_loops(blobs: mlpq.Dataset, owner: str, nbits: int) -> None:
    index = build(blobs, codebooks=owner, nbits=nbits)
    for nprobe, k in ((1, 1), (3, 10), (16, 300)):
        D, I = index.search(blobs.xq, k, nprobe=nprobe)
        assert reference.same_up_to_ties(D, I, *plain_search(index, blobs.xq, k, nprobe), 1e-4)


def test_results_on_images_are_those_of_plain_loops(ds: mlpq.Dataset, trained: dict[str, mlpq.MultiLevelPQ]) -> None:
    for index in trained.values():
        D, I = index.search(ds.xq[:25], 10, nprobe=3)
        assert reference.same_up_to_ties(D, I, *plain_search(index, ds.xq[:25], 10, 3), 1e-5)


def test_codes_and_ids_are_those_of_faiss_ivfpq(ds: mlpq.Dataset, trained: dict[str, mlpq.MultiLevelPQ]) -> None:
    index = trained["global"]
    quantizer = faiss.IndexFlatL2(ds.d)
    quantizer.add(index.clusters.inner_centroids)
    theirs = faiss.IndexIVFPQ(quantizer, ds.d, 32, 8, 8)
    faiss.copy_array_to_vector(index.quantizers[0].codebooks.ravel(), theirs.pq.centroids)
    theirs.is_trained = True
    theirs.precompute_table()
    theirs.add(ds.xb)
    for cell in range(32):
        size, rows = theirs.invlists.list_size(cell), index.lists.cell(cell)
        ids = faiss.rev_swig_ptr(theirs.invlists.get_ids(cell), size)
        codes = faiss.rev_swig_ptr(theirs.invlists.get_codes(cell), size * 8).reshape(size, 8)
        assert np.array_equal(index.lists.ids[rows], ids)
        assert np.array_equal(index.lists.rows[rows], codes)
    for nprobe in (1, 3, 32):
        theirs.nprobe = nprobe
        D, I = index.search(ds.xq, 10, nprobe=nprobe)
        D_faiss, I_faiss = theirs.search(ds.xq, 10)
        assert reference.same_up_to_ties(D, I, D_faiss, I_faiss, 1e-4)
        assert (I != I_faiss).mean() < 1e-3


def test_recall_on_the_embedded_set(ds: mlpq.Dataset, trained: dict[str, mlpq.MultiLevelPQ]) -> None:
    recall = {o: mlpq.recall_at_k(ix.search(ds.xq, 10, nprobe=3)[1], ds.gt, 10) for o, ix in trained.items()}
    assert recall["global"] >= 0.48
    assert recall["outer"] >= 0.55
    assert recall["inner"] >= 0.67
    assert recall["inner"] > recall["outer"] > recall["global"]


def test_more_probes_never_find_less_with_exact_distances(blobs: mlpq.Dataset) -> None:
    index = build(blobs, keep_originals=True)
    recall = [
        mlpq.recall_at_k(index.search(blobs.xq, 10, nprobe=n, rerank=400)[1], blobs.gt, 10) for n in (1, 2, 4, 8, 16)
    ]
    assert recall == sorted(recall)
    assert recall[-1] == 1.0


@pytest.mark.parametrize("owner", OWNERS)
def test_reranking_everything_is_exact_search(blobs: mlpq.Dataset, owner: str) -> None:
    index = build(blobs, codebooks=owner, keep_originals=True)
    D, I = index.search(blobs.xq, 10, nprobe=16, rerank=400)
    D_exact, I_exact = mlpq.ExactIndex(blobs.d).add(blobs.xb).search(blobs.xq, 10)
    assert np.array_equal(I, I_exact)
    assert np.array_equal(D, D_exact)


def test_reranking_helps_and_orders_by_exact_distance(blobs: mlpq.Dataset) -> None:
    index = build(blobs, nbits=3, keep_originals=True)
    recall = [mlpq.recall_at_k(index.search(blobs.xq, 10, nprobe=4, rerank=r)[1], blobs.gt, 10) for r in (0, 2, 8)]
    assert recall[0] < recall[1] < recall[2]
    D, I = index.search(blobs.xq, 10, nprobe=4, rerank=2)
    np.testing.assert_allclose(D, ((blobs.xb[I] - blobs.xq[:, None]) ** 2).sum(axis=2), rtol=1e-5)
    by_code, candidates = index.search(blobs.xq, 40, nprobe=4)
    candidates[by_code > by_code[:, 19:20]] = -1  # equal codes tie at the end of a shortlist of 20
    assert all(set(found) <= set(listed) for found, listed in zip(I, candidates, strict=True))


def test_adding_in_parts_is_adding_at_once(blobs: mlpq.Dataset) -> None:
    whole = build(blobs, keep_originals=True)
    parts = mlpq.MultiLevelPQ(blobs.d, 16, 4, m=6, nbits=5, keep_originals=True).train(blobs.xb)
    for start, stop in ((0, 1), (1, 2), (2, 1500), (1500, 4000)):
        assert parts.add(blobs.xb[start:stop]) is parts
        assert parts.ntotal == stop
    for name, array in whole._arrays().items():
        assert np.array_equal(array, parts._arrays()[name]), name


def test_a_cell_is_a_slice_in_order_of_ids(blobs: mlpq.Dataset) -> None:
    index = build(blobs)
    cells = index.clusters.assign(blobs.xb)
    for cell in range(16):
        assert np.array_equal(index.lists.ids[index.lists.cell(cell)], np.flatnonzero(cells == cell))


def test_small_cells_borrow_a_codebook(blobs: mlpq.Dataset) -> None:
    # 4,000 points in 40 cells: cells of about 100, of which none has the 256 that 8 bits need; most outer ones have.
    index = build(blobs, n_inner=40, n_outer=6, nbits=8, codebooks="inner")
    clusters = index.clusters
    cells = np.bincount(clusters.assign(blobs.xb), minlength=40)
    outer = np.array([cells[clusters.inner_to_outer == o].sum() for o in range(6)])
    books = {book: np.flatnonzero(index.codebook_of_cell == book) for book in range(len(index.quantizers))}
    for members in books.values():
        if len(members) == 1 and cells[members[0]] >= 256:
            continue  # an own codebook
        owners = set(clusters.inner_to_outer[members])
        qualified = {o for o in owners if outer[o] >= 256}
        assert (len(owners) == 1 and qualified) or not qualified  # an outer cluster's, or the global one
    assert len(books) < 40
    D, I = index.search(blobs.xq, 10, nprobe=3)
    assert reference.same_up_to_ties(D, I, *plain_search(index, blobs.xq, 10, 3), 1e-4)


@pytest.mark.parametrize(("owner", "n_train", "codebooks"), [("inner", 300, 1), ("outer", 300, 1), ("global", 4000, 1)])
def test_the_last_resort_is_the_global_codebook(blobs: mlpq.Dataset, owner: str, n_train: int, codebooks: int) -> None:
    index = mlpq.MultiLevelPQ(blobs.d, 16, 8, m=6, nbits=8, codebooks=owner)
    index.train(blobs.xb[:n_train]).add(blobs.xb)
    assert len(index.quantizers) == codebooks
    assert set(index.codebook_of_cell) == {0}


def test_an_outer_codebook_is_shared_by_the_cells_of_its_cluster(blobs: mlpq.Dataset) -> None:
    index = build(blobs, codebooks="outer")
    pairs = set(zip(index.clusters.inner_to_outer.tolist(), index.codebook_of_cell.tolist(), strict=True))
    assert len(index.quantizers) == len(pairs) == len(set(index.clusters.inner_to_outer))


def test_outer_probe_prunes_the_cells(blobs: mlpq.Dataset) -> None:
    index = build(blobs)
    _, I = index.search(blobs.xq, 50, nprobe=16, n_outer_probe=1)
    probes = index.clusters.probe(blobs.xq, 16, 1)
    cells = index.clusters.assign(blobs.xb)
    for q in range(len(blobs.xq)):
        allowed = np.flatnonzero(np.isin(cells, probes[q]))
        assert set(I[q][I[q] >= 0]) <= set(allowed)
        assert (I[q] >= 0).sum() == min(50, len(allowed))


def test_padding_when_fewer_are_found(blobs: mlpq.Dataset) -> None:
    index = mlpq.MultiLevelPQ(blobs.d, 16, 4, m=6, nbits=5, keep_originals=True).train(blobs.xb)
    D, I = index.search(blobs.xq, 3, nprobe=2)
    assert np.isinf(D).all()
    assert (I == -1).all()
    index.add(blobs.xb[:5])
    for rerank in (0, 1, 4):
        D, I = index.search(blobs.xq, 12, nprobe=16, rerank=rerank)
        assert D.shape == I.shape == (60, 12)
        assert D.dtype == np.float32
        assert I.dtype == np.int64
        assert np.array_equal(np.sort(I[:, :5], axis=1), np.tile(np.arange(5), (60, 1)))
        assert (I[:, 5:] == -1).all()
        assert np.isinf(D[:, 5:]).all()


def test_batches_of_any_size_give_the_same(blobs: mlpq.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    index = build(blobs)
    D, I = index.search(blobs.xq, 10, nprobe=3)
    single = [index.search(q[None], 10, nprobe=3) for q in blobs.xq]
    assert np.array_equal(np.concatenate([i for _, i in single]), I)
    np.testing.assert_allclose(np.concatenate([d for d, _ in single]), D, rtol=1e-4)
    monkeypatch.setattr("mlpq._parallel.BLOCK", 300)
    assert np.array_equal(index.search(blobs.xq, 10, nprobe=3)[1], I)


def test_threads_do_not_change_results(blobs: mlpq.Dataset) -> None:
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        one = build(blobs).search(blobs.xq, 10, nprobe=3)
        faiss.omp_set_num_threads(4)
        four = build(blobs).search(blobs.xq, 10, nprobe=3)
    finally:
        faiss.omp_set_num_threads(before)
    assert np.array_equal(one[1], four[1])
    np.testing.assert_allclose(one[0], four[0], rtol=1e-5)


def test_same_seed_same_index(blobs: mlpq.Dataset) -> None:
    one, two, other = (build(blobs, seed=seed)._arrays() for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["codebooks"], other["codebooks"])


def test_training_anew_empties_the_index(blobs: mlpq.Dataset) -> None:
    index = build(blobs, keep_originals=True)
    index.train(blobs.xb[:2000])
    assert index.ntotal == 0
    assert "originals" not in index.memory()


def test_one_progress_bar_on_request(blobs: mlpq.Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    index = mlpq.MultiLevelPQ(blobs.d, 40, 4, m=6, nbits=8)
    index.train(blobs.xb)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    index.train(blobs.xb, progress=True)
    assert "codes: 100%" in capfd.readouterr().err


def test_bytes_are_counted_component_by_component(blobs: mlpq.Dataset) -> None:
    index = build(blobs, n_inner=20, keep_originals=True, codebooks="global")
    assert index.memory() == {
        "codes": 4000 * 4,  # 6 sub-codes of 5 bits are 30 bits
        "ids": 4000 * 4,
        "list_offsets": 21 * 8,
        "codebooks": 32 * 24 * 4,
        "codebook_of_cell": 20 * 8,
        "inner_centroids": 20 * 24 * 4,
        "outer_centroids": 4 * 24 * 4,
        "inner_to_outer": 20 * 8,
        "originals": 4000 * 24 * 4,
    }
    assert index.memory().total == sum(index.memory().values())


def test_reranking_an_empty_index_finds_nothing(blobs: mlpq.Dataset) -> None:
    index = mlpq.MultiLevelPQ(blobs.d, 16, 4, m=6, nbits=5, keep_originals=True).train(blobs.xb)
    D, I = index.search(blobs.xq, 3, nprobe=2, rerank=5)
    assert (I == -1).all()
    assert np.isinf(D).all()


def test_an_outer_cluster_without_cells_finds_nothing(blobs: mlpq.Dataset) -> None:
    index = build(blobs)
    lost = index.clusters.outer.assign(blobs.xq) == 0
    index.clusters.inner_to_outer[:] = 1
    for xq in (blobs.xq[lost][:1], blobs.xq):
        _, I = index.search(xq, 3, nprobe=2, n_outer_probe=1)
        assert (I[index.clusters.outer.assign(xq) == 0] == -1).all()
    assert (I[index.clusters.outer.assign(xq) == 1] >= 0).all()


@pytest.mark.parametrize("options", [{}, {"codebooks": "global", "codebook_dtype": "uint8"}, {"pca_dim": 12}])
def test_threads_may_search_at_once(blobs: mlpq.Dataset, tmp_path: Path, options: dict[str, Any]) -> None:
    built = build(blobs, keep_originals=True, **options)
    built.save(tmp_path / "x.index")
    searches = [
        partial(index.search, xq, 10, nprobe=nprobe, rerank=rerank)
        for index in (built, mlpq.MultiLevelPQ.load(tmp_path / "x.index", mmap=True))
        for xq in (blobs.xq, blobs.xq[:3])
        for nprobe in (1, 4)
        for rerank in (0, 2)
    ]
    expected = [search() for search in searches]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda i: (i % len(searches), searches[i % len(searches)]()), range(8 * len(searches)))
        for i, results in found:
            assert all(np.array_equal(a, b) for a, b in zip(results, expected[i], strict=True))
    assert {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"} == blas_threads_before


blas_threads_before = {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


def peak(search: Callable[[], Any]) -> int:
    """Bytes allocated at most during a search."""
    tracemalloc.start()
    search()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_working_set_does_not_grow_with_the_batch(
    ds: mlpq.Dataset, trained: dict[str, mlpq.MultiLevelPQ], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = trained["inner"]
    monkeypatch.setattr("mlpq._parallel.BATCH", 1 << 20)

    def beyond_results(nq: int) -> int:
        x = np.tile(ds.xq, (nq // len(ds.xq), 1))
        return peak(lambda: index.search(x, 10, nprobe=8, rerank=10)) - nq * 10 * 12

    assert beyond_results(8000) < 1.2 * beyond_results(2000)
    assert beyond_results(8000) < 300e6


@pytest.mark.parametrize("rerank", [0, 4])
def test_working_set_does_not_grow_with_a_cell(rerank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell with everything in it: not decoded at once, and the same is found as when it is."""
    x = np.random.default_rng(0).integers(0, 256, (60_000, 256)).astype(np.uint8)
    index = mlpq.MultiLevelPQ(256, 1, 1, m=32, nbits=4, keep_originals=True).train(x[:2000]).add(x)
    search = partial(index.search, x[:500], 10, rerank=rerank)
    whole = search()
    for name, numbers in {
        "search.pieces.PIECE": 1 << 18,
        "_parallel.BLOCK": 1 << 18,
        "_parallel.BATCH": 1 << 17,
        "search.scan.KEEP": 0,
    }.items():
        monkeypatch.setattr(f"mlpq.{name}", numbers)
    assert peak(search) < 60_000 * 256 * 4 / 4
    for found, expected in zip(search(), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_working_set_does_not_grow_with_equal_vectors() -> None:
    """Thousands of equal vectors, level with the k-th neighbour of a few queries."""
    rng = np.random.default_rng(0)
    x = np.vstack([rng.random((20_000, 16), np.float32), np.zeros((20_000, 16), np.float32)])
    index = mlpq.MultiLevelPQ(16, 64, 8, m=4, nbits=4, keep_originals=True).train(x).add(x)
    xq = np.vstack([rng.random((9_990, 16), np.float32), np.zeros((10, 16), np.float32)])
    for options in ({}, {"rerank": 2}):
        assert peak(lambda options=options: index.search(xq, 5, nprobe=6, **options)) < 200e6
        _, I = index.search(xq, 5, nprobe=6, **options)
        assert np.array_equal(I[-10:], np.tile(np.arange(20_000, 20_005), (10, 1)))
