"""How cells are scanned: both paths find what the definition finds, whatever is reduced, rounded or left in the file."""

import itertools
from pathlib import Path

import numpy as np
import pytest

import mlpq
from mlpq import model
from mlpq.codecs.codebooks import Owner
from mlpq.codecs.rotation import deal
from mlpq.search import scan
from mlpq.search.lists import InvertedLists
from mlpq.search.pieces import Pieces, Run, ranges, runs
from mlpq.search.visits import Found, last_of_each, uncrowded


@pytest.fixture(scope="module")
def blobs() -> mlpq.Dataset:
    return mlpq.synthetic(3000, 32, nq=64, n_clusters=20)


def plain_distances(index: mlpq.MultiLevelPQ, x: np.ndarray) -> np.ndarray:
    """Asymmetric distances of all queries to all added vectors, straight from the definition."""
    z = index.reduction(x) if index.reduction else x
    lists, cells = index.lists, np.repeat(np.arange(index.clusters.n_inner), index.lists.sizes)
    D = np.empty((len(x), index.ntotal))
    for row, (id_, cell) in enumerate(zip(lists.ids, cells, strict=True)):
        pq = index.quantizers[index.codebook_of_cell[cell]]
        stored = index.clusters.inner_centroids[cell] + pq.decode(lists.rows[[row]])[0]
        D[:, id_] = ((z - stored) ** 2).sum(axis=1)
    return D


@pytest.mark.parametrize("few", [0, 10**9], ids=["cell by cell", "one by one"])
@pytest.mark.parametrize("owner", ["inner", "outer", "global"])
@pytest.mark.parametrize("options", [{"nbits": 4, "m": 16}, {"nbits": 8, "m": 8}, {"nbits": 4, "m": 8, "pca_dim": 16}])
def test_both_paths_find_what_the_definition_finds(
    blobs: mlpq.Dataset, few: int, owner: Owner, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "FEW", few)
    monkeypatch.setattr(model, "quicker", lambda *_: False)
    index = mlpq.MultiLevelPQ(32, 8, 3, codebooks=owner, **options).train(blobs.xb).add(blobs.xb)
    D, I = index.search(blobs.xq, 10, nprobe=8)
    plain = plain_distances(index, blobs.xq)
    np.testing.assert_allclose(D, np.sort(plain, axis=1)[:, :10], rtol=1e-4)
    np.testing.assert_allclose(np.take_along_axis(plain, I, axis=1), D, rtol=1e-4)


def test_both_paths_rerank_the_same(blobs: mlpq.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    index = mlpq.MultiLevelPQ(32, 8, 3, m=8, nbits=4, keep_originals=True).train(blobs.xb).add(blobs.xb)
    found = []
    monkeypatch.setattr(model, "quicker", lambda *_: False)
    for few in (0, 10**9):
        monkeypatch.setattr(scan, "FEW", few)
        found.append([index.search(blobs.xq, 10, nprobe=n, rerank=r) for n, r in itertools.product((1, 3, 8), (1, 4))])
    for (D, I), (D_one, I_one) in zip(*found, strict=True):
        assert np.array_equal(D, D_one)
        assert np.array_equal(I, I_one)


def test_equal_codes_are_found_in_the_order_of_their_ids() -> None:
    x = np.repeat(np.random.default_rng(0).random((40, 8), np.float32), 50, axis=0)
    x = x[np.random.default_rng(1).permutation(len(x))]
    index = mlpq.MultiLevelPQ(8, 4, 2, m=4, nbits=4, codebooks="global").train(x).add(x)
    for xq in (x[:1], x[:64]):
        D, I = index.search(xq, 120, nprobe=4)
        for distances, ids in zip(D, I, strict=True):
            for _, group in itertools.groupby(zip(distances, ids, strict=True), key=lambda pair: pair[0]):
                numbers = [id_ for _, id_ in group]
                assert numbers == sorted(numbers)
        plain = plain_distances(index, xq)
        np.testing.assert_allclose(D, np.sort(plain, axis=1)[:, :120], rtol=1e-4, atol=1e-5)


def test_an_odd_number_of_subvectors_and_small_cells() -> None:
    ds = mlpq.synthetic(70, 15, nq=5, n_clusters=5)
    index = mlpq.MultiLevelPQ(15, 4, 2, m=5, nbits=4).train(ds.xb).add(ds.xb)
    D, I = index.search(ds.xq, 80, nprobe=4)
    assert (np.sort(I, axis=1)[:, 10:] == np.arange(70)).all()
    assert (I[:, 70:] == -1).all()
    np.testing.assert_allclose(D[:, :70], np.sort(plain_distances(index, ds.xq), axis=1), rtol=1e-4, atol=1e-4)


def test_of_a_crowd_only_the_nearest_are_kept() -> None:
    """A run of two queries for one piece: products say nothing of the first one's 400 rows, which sums then order."""
    run = Run(np.array([10, 610]), np.array([1]), np.array([2]), np.array([7, 3]))
    true = np.arange(600)[::-1] // 2  # row 610 - 1 - i is at distance i // 2, so two by two are level

    class Sums:
        def sums(self, run: Run, pairs: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            assert (pairs == 0).all()
            return true[rows - 10].astype(np.float32), np.full(len(rows), 0.1, np.float32)

        def exact(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
            assert (queries == 7).all()
            return true[rows - 10].astype(float)

    pairs, rows = np.repeat([0, 1], [400, 20]), np.append(np.arange(210, 610), np.arange(10, 30))
    found = Found(run, pairs, rows, np.zeros(420, np.float32), np.full(420, 1e9, np.float32))
    kept = uncrowded(found, 3, np.arange(1000), Sums())
    assert kept.pairs.tolist() == [0] * 3 + [1] * 20
    assert kept.rows.tolist() == [606, 608, 609, *range(10, 30)]  # of the two at distance 1, the one with the lower id
    assert np.maximum(kept.low[:3], 0) == pytest.approx([0.9, 0, 0])
    assert kept.high[:3] == pytest.approx([1.1, 0.1, 0.1])
    assert last_of_each([kept], slice(0, 8), 3).tolist() == [np.inf] * 3 + [1e9] + [np.inf] * 3 + [pytest.approx(1.1)]


@pytest.mark.parametrize("numbers", [2, 50, 10**6])
def test_runs_cover_every_pair_once(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpq._parallel.BLOCK", 4000)
    monkeypatch.setattr("mlpq.search.pieces.PIECE", numbers)
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, 60, 20)
    lists = InvertedLists(
        np.append(0, np.cumsum(sizes)),
        np.arange(sizes.sum()),
        np.empty((sizes.sum(), 1), np.uint8),
        np.empty((sizes.sum(), 0)),
    )
    probes = np.array([rng.choice(20, 4, replace=False) for _ in range(300)])
    probes[::7, 2:] = -1
    pieces = Pieces.of(lists, 4)
    assert pieces.offsets[pieces.firsts].tolist() == lists.offsets.tolist()
    assert 4 * pieces.sizes.max() <= max(4, numbers)
    visited, queries = pieces.visited(probes)
    cells_of_rows = np.repeat(np.arange(20), sizes)
    seen = []
    for run in runs(pieces, visited, queries, ranges(pieces, visited, 4), 4):
        per_pair = np.repeat(np.arange(len(run.counts)), run.counts)
        for q, c, piece in zip(run.queries.tolist(), run.cells.tolist(), per_pair.tolist(), strict=True):
            rows = range(*run.offsets[piece : piece + 2].tolist())
            assert all(cells_of_rows[row] == c for row in rows)
            seen += [(q, row) for row in rows]
    expected = {(q, row) for q, own in enumerate(probes.tolist()) for row, c in enumerate(cells_of_rows) if c in own}
    assert len(seen) == len(set(seen))
    assert set(seen) == expected


def test_originals_are_bytes_as_long_as_that_loses_nothing(ds: mlpq.Dataset) -> None:
    x = ds.xb[:3000]
    index = mlpq.MultiLevelPQ(ds.d, 4, 2, m=28, nbits=4, keep_originals=True).train(x).add(x[:2000])
    assert index.memory()["originals"] == 2000 * ds.d
    before = index.search(ds.xq[:50], 10, nprobe=4, rerank=50)
    index.add(x[2000:])
    assert index.memory()["originals"] == 3000 * ds.d
    index.add(x[:1] + 0.5)
    assert index.memory()["originals"] == 3001 * ds.d * 4
    assert (index.lists.original(index.lists.rows_of(np.arange(3000))) == x).all()
    exact = mlpq.ExactIndex(ds.d).add(np.vstack([x, x[:1] + 0.5]))
    D, I = index.search(ds.xq[:50], 10, nprobe=4, rerank=400)
    np.testing.assert_array_equal(I, exact.search(ds.xq[:50], 10)[1])
    np.testing.assert_array_equal(before[1], mlpq.ExactIndex(ds.d).add(x[:2000]).search(ds.xq[:50], 10)[1])
    assert (np.diff(D, axis=1) >= 0).all()


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
@pytest.mark.parametrize("owner", ["inner", "global"])
def test_codebooks_in_fewer_bytes(blobs: mlpq.Dataset, dtype: str, owner: Owner, tmp_path: Path) -> None:
    options = {"m": 8, "nbits": 6, "codebooks": owner}
    full = mlpq.MultiLevelPQ(32, 8, 3, **options).train(blobs.xb).add(blobs.xb)
    index = mlpq.MultiLevelPQ(32, 8, 3, **options, codebook_dtype=dtype).train(blobs.xb).add(blobs.xb)
    assert index.memory()["codebooks"] * 4 == full.memory()["codebooks"] * np.dtype(dtype).itemsize
    for rounded, exact in zip(index.quantizers, full.quantizers, strict=True):
        span = np.ptp(exact.codebooks, axis=(1, 2), keepdims=True)
        assert (np.abs(rounded.codebooks - exact.codebooks) <= span / 255 / 2 * 1.001).all()
    D, I = index.search(blobs.xq, 10, nprobe=8)
    np.testing.assert_allclose(D, np.sort(plain_distances(index, blobs.xq), axis=1)[:, :10], rtol=1e-4)
    recall = [mlpq.recall_at_k(ix.search(blobs.xq, 10, nprobe=8)[1], blobs.gt, 10) for ix in (full, index)]
    assert recall[1] >= recall[0] - 0.03
    index.save(tmp_path / "index.h5")
    assert np.array_equal(mlpq.MultiLevelPQ.load(tmp_path / "index.h5").search(blobs.xq, 10, nprobe=8)[1], I)


def test_originals_may_stay_in_the_file(blobs: mlpq.Dataset, tmp_path: Path) -> None:
    index = mlpq.MultiLevelPQ(32, 8, 3, m=8, nbits=4, keep_originals=True).train(blobs.xb).add(blobs.xb)
    index.save(tmp_path / "index.h5")
    mapped = mlpq.MultiLevelPQ.load(tmp_path / "index.h5", mmap=True)
    assert isinstance(mapped.lists.originals, np.memmap)
    assert "originals" not in mapped.memory()
    expected = index.search(blobs.xq, 10, nprobe=8, rerank=4)
    for found, wanted in zip(mapped.search(blobs.xq, 10, nprobe=8, rerank=4), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    mapped.save(tmp_path / "index.h5")  # over the file that it reads from
    np.testing.assert_array_equal(mapped.search(blobs.xq, 10, nprobe=8, rerank=4)[1], expected[1])
    mapped.add(blobs.xb[:10])  # more than the file holds: now in memory
    assert mapped.memory()["originals"] == 3010 * 32 * 4
    empty = mlpq.MultiLevelPQ(32, 8, 3, m=8, nbits=4, keep_originals=True).train(blobs.xb)
    empty.save(tmp_path / "empty.h5")
    assert mlpq.MultiLevelPQ.load(tmp_path / "empty.h5", mmap=True).ntotal == 0


def test_lists_grow_in_place_as_if_sorted_anew() -> None:
    rng = np.random.default_rng(0)
    lists = InvertedLists.empty(5, 2, np.uint8)
    cells, rows = np.empty(0, np.int64), np.empty((0, 2), np.uint8)
    for n in (1, 7, 0, 300, 2):
        new = rng.choice([0, 1, 3], n), rng.integers(0, 256, (n, 2), np.uint8)
        lists.extend(*new, len(cells) + np.arange(n))
        cells, rows = np.concatenate([cells, new[0]]), np.concatenate([rows, new[1]])
        order = np.argsort(cells, kind="stable")
        assert np.array_equal(lists.ids, order)
        assert np.array_equal(lists.rows, rows[order])
        assert np.array_equal(lists.sizes, np.bincount(cells, minlength=5))
    view = lists.rows[:3]  # while somebody looks, the arrays must not move
    before = view.copy()
    lists.extend(np.zeros(5, np.int64), np.ones((5, 2), np.uint8), 310 + np.arange(5))
    assert np.array_equal(view, before)


def test_reduction_keeps_what_varies_most_and_deals_it_out(ds: mlpq.Dataset) -> None:
    x = ds.xb[:4000]
    reduction = mlpq.Rotation(ds.d, 64, kind="pca", m=16).train(x)
    z = reduction(x)
    np.testing.assert_allclose(reduction.axes.T @ reduction.axes, np.eye(64), atol=1e-4)
    kept = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[:64] ** 2
    np.testing.assert_allclose((z**2).sum(), kept.sum(), rtol=1e-3)
    products = np.log(z.var(axis=0)).reshape(16, 4).sum(axis=1)
    undealt = np.log(np.sort(z.var(axis=0))[::-1]).reshape(16, 4).sum(axis=1)
    assert np.ptp(products) < np.ptp(undealt) / 4


def test_dealing_is_a_permutation_with_equal_parts() -> None:
    for variances in (np.array([9.0, 4, 4, 1, 1, 0]), np.zeros(6), np.arange(6, 0, -1.0)):
        order = deal(variances, 3)
        assert sorted(order) == list(range(6))
    assert deal(np.array([8.0, 4, 2, 1]), 2).tolist() == [0, 3, 1, 2]


def test_reduced_index_is_saved_and_counted(blobs: mlpq.Dataset, tmp_path: Path) -> None:
    index = mlpq.MultiLevelPQ(32, 8, 3, m=8, nbits=4, pca_dim=16, keep_originals=True).train(blobs.xb).add(blobs.xb)
    memory = index.memory()
    assert memory["axes"] == 32 * 16 * 4
    assert memory["inner_centroids"] == 8 * 16 * 4
    assert dict(memory) == dict(mlpq.predict_memory(3000, 32, 8, 3, m=8, nbits=4, pca_dim=16, keep_originals=True))
    index.save(tmp_path / "index.h5")
    loaded = mlpq.MultiLevelPQ.load(tmp_path / "index.h5")
    exact = mlpq.ExactIndex(32).add(blobs.xb).search(blobs.xq, 10)[1]
    for ix in (index, loaded):
        assert np.array_equal(ix.search(blobs.xq, 10, nprobe=8, rerank=300)[1], exact)


def test_bad_settings_say_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="pca_dim must be a whole number from 1 to 32; got 33"):
        mlpq.MultiLevelPQ(32, 8, 3, m=8, pca_dim=33)
    with pytest.raises(ValueError, match="m must divide d=12; got m=8"):
        mlpq.MultiLevelPQ(32, 8, 3, m=8, pca_dim=12)
    with pytest.raises(ValueError, match="codebook_dtype must be one of 'float32', 'float16', 'uint8'; got 'int8'"):
        mlpq.MultiLevelPQ(32, 8, 3, m=8, codebook_dtype="int8")
