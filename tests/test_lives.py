"""Vectors come and go: whatever happened to an index, it is the one that was built from what is left."""

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlpq
from mlpq import _check

Array = npt.NDArray[Any]
Lives = dict[int, Array]  # the vector of each id, in the order in which they came

D, MAX = 8, 2**63 - 1
RNG = np.random.default_rng(11)
WHOLE = np.clip(RNG.integers(0, 200, (6, D))[RNG.integers(0, 6, 500)] + RNG.integers(0, 40, (500, D)), 1, 255)
BROKEN = (WHOLE + RNG.random((500, D))).astype(np.float32)
XQ = BROKEN[:12] + 1

KINDS: dict[str, dict[str, Any]] = {
    "originals": {"keep_originals": True},
    "codes alone": {"codebooks": "inner"},
    "cosine": {"keep_originals": True, "metric": "cosine"},
    "ip": {"keep_originals": True, "metric": "ip", "codebooks": "outer"},
    "PCA": {"keep_originals": True, "pca_dim": 4, "codebook_dtype": "uint8"},
}
TRAINED = {
    kind: mlpq.MultiLevelPQ(D, 6, 2, m=2, nbits=4, niter=4, **options).train(BROKEN) for kind, options in KINDS.items()
}


def built(kind: str, lives: Lives) -> mlpq.MultiLevelPQ:
    """The same training, and these vectors added at once."""
    return copy.copy(TRAINED[kind]).add(np.array(list(lives.values())).reshape(-1, D), np.array(list(lives), np.int64))


def check_same(index: mlpq.MultiLevelPQ, expected: mlpq.MultiLevelPQ) -> None:
    ours, theirs = index._arrays(), expected._arrays()
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype, name
        assert np.array_equal(ours[name], array), name
    assert repr(index) == repr(expected)


def check_found(found: tuple[Array, Array], expected: tuple[Array, Array]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


class Life:
    """An index, what ought to be in it, and copies of it from before."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.index, self.lives = copy.copy(TRAINED[kind]), Lives()
        self.before: list[tuple[mlpq.MultiLevelPQ, Lives]] = []

    def ids(self, draw: Callable[[Any], Any], n: int) -> list[int]:
        """Ids in any order, most of them near those that are here."""
        near = st.integers(0, 60) | st.integers(2**32 - 3, 2**32 + 3) | st.integers(MAX - 40, MAX)
        return list(draw(st.lists(near, min_size=n, max_size=n, unique=True)))

    def add(self, draw: Callable[[Any], Any]) -> None:
        n, whole = draw(st.integers(0, 25)), draw(st.booleans())
        x = (WHOLE if whole else BROKEN)[draw(st.integers(0, 400)) :][:n]
        x = x.astype(draw(st.sampled_from([np.uint8, np.float32, np.float64] if whole else [np.float32, np.float64])))
        if draw(st.booleans()):
            largest = max(self.lives, default=-1)
            if n and largest + n > MAX:
                with pytest.raises(ValueError, match=r"ids must be from 0 to 2\*\*63 - 1"):
                    self.index.add(x)
                return
            self.index.add(x)
            ids = list(range(largest + 1, largest + 1 + n))
        else:
            ids = self.ids(draw, n)
            if self.lives.keys() & set(ids):
                with pytest.raises(ValueError, match="ids must be new"):
                    self.index.add(x, ids)
                return
            self.index.add(x, ids)
        self.lives |= dict(zip(ids, x, strict=True))

    def remove(self, draw: Callable[[Any], Any]) -> None:
        here = list(self.lives)
        some = draw(st.lists(st.sampled_from(here), max_size=40)) if here else []
        some += draw(st.sampled_from([[], here, [i for i in here if i >= 2**32], self.ids(draw, 3)]))
        removed = {i for i in some if i in self.lives}
        assert self.index.remove(np.array(some, np.int64)) == len(removed)
        self.lives = {i: x for i, x in self.lives.items() if i not in removed}

    def store(self, draw: Callable[[Any], Any]) -> None:
        path, mmap = self.folder / f"{draw(st.integers(0, 2))}.h5", draw(st.booleans())
        self.index.save(path)
        assert abs(path.stat().st_size - mlpq.MultiLevelPQ.load(path).memory().total - 6000) < 6000
        self.index = mlpq.MultiLevelPQ.load(path, mmap=mmap)
        if mmap:
            assert "originals" not in self.index.memory()

    def copy(self, draw: Callable[[Any], Any]) -> None:
        self.before.append((self.index, dict(self.lives)))
        self.index = copy.copy(self.index)

    def search(self, draw: Callable[[Any], Any]) -> None:
        here = list(self.lives)
        allowed = draw(st.lists(st.sampled_from(here))) if here else []
        allowed += draw(st.sampled_from([[], here, self.ids(draw, 3)]))
        options = {"nprobe": draw(st.sampled_from([1, 3, 9])), "n_outer_probe": draw(st.sampled_from([None, 1]))}
        options["rerank"] = draw(st.integers(0, 2)) if self.index.keep_originals else 0
        k, nq = draw(st.sampled_from([1, 7, 80])), draw(st.sampled_from([1, 12]))
        some = {i: x for i, x in self.lives.items() if i in set(allowed)}
        expected = built(self.kind, some).search(XQ[:nq], k, **options)
        check_found(self.index.search(XQ[:nq], k, **options, allowed=np.array(allowed, np.int64)), expected)
        expected = built(self.kind, self.lives).search(XQ[:nq], k, **options)
        check_found(self.index.search(XQ[:nq], k, **options), expected)

    def check(self) -> None:
        for index, lives in [*self.before, (self.index, self.lives)]:
            expected, n = built(self.kind, lives), len(lives)
            check_same(index, expected)
            wide = any(i >= 2**32 for i in lives)
            assert index.lists.ids.dtype == (np.int64 if wide else np.uint32)
            whole = self.kind != "cosine" and all((x == np.rint(x)).all() for x in lives.values())
            width = (D if whole else 4 * D) if index.keep_originals else 0
            memory = expected.memory()
            assert (memory.get("ids", 0), memory.get("codes", 0)) == (n * (8 if wide else 4), n * index.code_size)
            if n and self.kind != "cosine":
                assert memory.get("originals", 0) == n * width


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(KINDS)), st.data())
def test_an_index_is_what_is_left(kind: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(kind, Path(folder))
        step = st.sampled_from([life.add, life.add, life.add, life.remove, life.store, life.copy, life.search])
        for _ in range(data.draw(st.integers(1, 9))):
            data.draw(step)(data.draw)
        life.check()


def test_originals_that_are_not_kept_are_not_shared_by_copies() -> None:
    """An array of no columns changes its shape in place, whoever else refers to it."""
    index = built("codes alone", dict(enumerate(WHOLE[:5])))
    copy.copy(index).add(WHOLE)
    assert index.lists.originals.shape == (5, 0)
    check_same(index, built("codes alone", dict(enumerate(WHOLE[:5]))))


# ---- ids ------------------------------------------------------------------------------------------------------------

BAD_IDS: dict[str, tuple[Any, type[Exception], str]] = {
    "twice": ([9, 7, 7], ValueError, "ids must differ; 7 occurs 2 times"),
    "of two that occur more than once, the first": ([7, 7, 8, 8, 8], ValueError, "ids must differ; 7 occurs 2 times"),
    "present": ([900, 3, 901], ValueError, "ids must be new; 3 is in the index"),
    "too few": ([900, 901], ValueError, "ids must be as many as the vectors, 3; got 2"),
    "negative": ([900, -1, 901], ValueError, r"ids must be from 0 to 2\*\*63 - 1; got -1 to 901"),
    "too large": (np.uint64([900, 901, 2**63]), ValueError, r"ids must be from 0 to 2\*\*63 - 1"),
    "a matrix": ([[900, 901, 902]], ValueError, r"ids must have shape \(n,\); got 2-D"),
    "floats": ([900.0, 901, 902], TypeError, "ids must hold integer ids; got dtype float64"),
    "flags": ([True, False, True], TypeError, "ids must hold integer ids; got dtype bool"),
    "texts": (["a", "b", "c"], TypeError, "ids must hold integer ids"),
}


@pytest.mark.parametrize("name", BAD_IDS)
def test_bad_ids_are_refused_and_add_nothing(name: str) -> None:
    ids, error, message = BAD_IDS[name]
    index = built("originals", dict(enumerate(WHOLE[:50])))
    with pytest.raises(error, match=message):
        index.add(BROKEN[: 5 if "more" in name else 3], ids)
    check_same(index, built("originals", dict(enumerate(WHOLE[:50]))))
    if name in ("negative", "too large", "a matrix", "floats", "flags", "texts"):
        for call in (index.remove, index.reconstruct, lambda ids: index.search(XQ, 3, allowed=ids)):
            with pytest.raises(error, match=message.replace("ids must", "(ids|allowed) must", 1)):
                call(ids)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_ids_of_any_integer_type(dtype: Any) -> None:
    ids = np.arange(3, 53).astype(dtype)[::-1]
    index = copy.copy(TRAINED["originals"]).add(WHOLE[:50], ids)
    check_same(index, built("originals", dict(zip(ids.tolist(), WHOLE[:50], strict=True))))
    assert index.remove(ids[:9]) == 9


def test_without_ids_they_count_on_from_the_largest_present() -> None:
    index = copy.copy(TRAINED["originals"]).add(WHOLE[:2], [5, 2**53]).add(WHOLE[2:5])
    assert sorted(index.lists.ids.tolist()) == [5, *range(2**53, 2**53 + 4)]
    assert index.remove(range(2**53 + 1, 2**53 + 9)) == 3
    assert index.remove([2**53, 2**53]) == 1
    assert sorted(index.add(WHOLE[:2]).lists.ids.tolist()) == [5, 6, 7]
    assert index.lists.ids.dtype == np.uint32
    index = copy.copy(TRAINED["originals"]).add(WHOLE[:1], [2**62]).add(WHOLE[:2])
    assert sorted(index.lists.ids.tolist()) == [2**62, 2**62 + 1, 2**62 + 2]


def test_no_ids_are_left_after_the_last() -> None:
    index = copy.copy(TRAINED["originals"]).add(WHOLE[:2], [MAX - 1, 0]).add(WHOLE[:1]).add(WHOLE[:0])
    with pytest.raises(ValueError, match=r"got 9223372036854775808 to 9223372036854775808"):
        index.add(WHOLE[:1])
    assert sorted(index.lists.ids.tolist()) == [0, MAX - 1, MAX]


def test_removing_what_is_not_there_copies_nothing(tmp_path: Path) -> None:
    built("originals", dict(enumerate(WHOLE))).save(tmp_path / "x.h5")
    index = mlpq.MultiLevelPQ.load(tmp_path / "x.h5", mmap=True)
    assert index.remove([500, MAX]) == index.remove([]) == 0
    assert "originals" not in index.memory()
    assert index.remove([3]) == 1
    assert index.memory()["originals"] == 499 * D


# ---- reconstruct ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_reconstructing_is_decoding_what_was_encoded(kind: str) -> None:
    ids, index = RNG.permutation(900)[:300], copy.copy(TRAINED[kind])
    index.add(BROKEN[:300], ids)
    some = RNG.permutation(300)[:70]
    x = _check.matrix(BROKEN[some], "x", metric=index.metric)
    found = index.reconstruct(ids[some])
    z = index.reduction(x) if index.reduction else x
    cells = index.clusters.assign(z)
    decoded = index.clusters.inner_centroids[cells] + np.concatenate(
        [
            index.quantizers[index.codebook_of_cell[c]].decode(
                index.quantizers[index.codebook_of_cell[c]].encode(r[None])
            )
            for c, r in zip(cells, z - index.clusters.inner_centroids[cells], strict=True)
        ]
    )
    if index.reduction:
        decoded = decoded @ index.reduction.axes.T + index.reduction.mean
    assert (found.shape, found.dtype) == ((70, D), np.float32)
    np.testing.assert_allclose(found, decoded, rtol=1e-5, atol=1e-5)
    assert np.array_equal(index.reconstruct([ids[4], ids[9], ids[4]]), index.reconstruct(ids[[4, 9, 4]]))
    assert index.reconstruct([]).shape == (0, D)
    with pytest.raises(ValueError, match="ids must be in the index; 900 is not"):
        index.reconstruct([ids[0], 900])
    with pytest.raises(RuntimeError, match="not trained"):
        mlpq.MultiLevelPQ(D, 6, 2, m=2).reconstruct([])


# ---- filters --------------------------------------------------------------------------------------------------------


def test_what_is_allowed_in_other_cells_is_not_found() -> None:
    index = built("originals", dict(enumerate(BROKEN)))
    cell = index.clusters.assign(XQ[:1])[0]
    elsewhere = np.setdiff1d(np.arange(500), index.lists.ids[index.lists.cell(cell)])
    D_none, I_none = index.search(XQ[:1], 5, allowed=elsewhere)
    assert np.isinf(D_none).all()
    assert (I_none == -1).all()
    assert (index.search(XQ[:1], 5, nprobe=6, allowed=elsewhere)[1] >= 0).all()


@pytest.mark.parametrize("kind", ["originals", "cosine", "ip"])
def test_a_filter_with_rerank_over_everything_is_exact(kind: str) -> None:
    index, exact = built(kind, dict(enumerate(BROKEN))), mlpq.ExactIndex(D, metric=KINDS[kind].get("metric", "l2"))
    for n in (1, 7, 60, 500):
        allowed = np.sort(RNG.permutation(500)[:n])
        D_true, I_true = exact.__class__(D, metric=exact.metric).add(BROKEN[allowed]).search(XQ, 5)
        found = index.search(XQ, 5, nprobe=6, rerank=100, allowed=RNG.permutation(np.r_[allowed, 777, allowed]))
        assert np.array_equal(found[1], np.where(I_true < 0, -1, allowed[I_true]))
        np.testing.assert_allclose(found[0], D_true, rtol=1e-6)


def test_shares_of_the_loss_do_not_depend_on_ids() -> None:
    ids = np.sort(np.random.default_rng(0).choice(2**40, 500, replace=False))
    _, gt = mlpq.ground_truth(BROKEN, XQ, 10)
    plain, own = (
        built("originals", dict(enumerate(BROKEN))),
        built("originals", dict(zip(ids.tolist(), BROKEN, strict=True))),
    )
    for rerank in (0, 2):
        expected = mlpq.error_decomposition(plain, XQ, gt, 10, 2, rerank=rerank)
        assert mlpq.error_decomposition(own, XQ, ids[gt], 10, 2, rerank=rerank) == expected
    own.remove(ids[gt[0, :1]])
    with pytest.raises(ValueError, match=f"gt must hold ids of the index; {ids[gt[0, 0]]} is none"):
        mlpq.error_decomposition(own, XQ, ids[gt], 10, 2)
