"""An index whose work fails in the middle, or that comes from an older file, is as it was; and how much it holds meanwhile."""

import copy
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mlpq
from mlpq import _check, storage
from mlpq.search import lists
from tests.test_lives import BROKEN, WHOLE, XQ, Array, D, built, check_found, check_same

# ---- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", range(12))
@pytest.mark.parametrize("kind", ["MultiLevelPQ", "KMeansIndex"])
def test_no_memory_to_convert_a_cell_leaves_all_as_it_was(
    kind: str, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells have moved up by then; two chunks in each have been, or are to be, converted."""
    if kind == "MultiLevelPQ":
        index = built("originals", dict(enumerate(WHOLE[:300])))
    else:
        index = mlpq.KMeansIndex(D, 6).train(BROKEN).add(WHOLE[:300])
    before = copy.deepcopy(index)
    read, calls = _check.Rows.__getitem__, []

    def fails(rows: _check.Rows, which: Any) -> Any:
        if isinstance(which, np.ndarray):
            calls.append(which)
            if len(calls) > failing:
                raise MemoryError("no memory")
        return read(rows, which)

    cells = index.clusters.assign(BROKEN)
    x = BROKEN[np.concatenate([np.flatnonzero(cells == c)[:15] for c in range(6)])].astype(np.float64)
    with monkeypatch.context() as patched:
        patched.setattr(_check, "CHUNK", 8 * D)
        patched.setattr(_check.Rows, "__getitem__", fails)
        with pytest.raises(MemoryError, match="no memory"):
            index.add(x)
    for name, array in vars(before.lists).items():
        if array is not None:
            assert getattr(index.lists, name).dtype == array.dtype
            assert np.array_equal(getattr(index.lists, name), array)
    index.add(x)
    before.add(x)
    check_found(index.search(XQ, 9, nprobe=6), before.search(XQ, 9, nprobe=6))


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_no_memory_to_grow_leaves_all_as_it_was(failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids have become wider and originals float32 by then."""
    index = built("originals", dict(enumerate(WHOLE[:300])))
    calls, grow = [], lists.grow

    def fails(*args: Any) -> None:
        calls.append(args)
        if len(calls) > failing:
            raise MemoryError("no memory")
        grow(*args)

    with monkeypatch.context() as patched:
        patched.setattr(lists, "grow", fails)
        with pytest.raises(MemoryError, match="no memory"):
            index.add(BROKEN[:30], np.arange(30) + 2**40)
    check_same(index, built("originals", dict(enumerate(WHOLE[:300]))))


# ---- memory ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
def test_arrays_grow_where_they_are_unless_somebody_holds_them(held: bool) -> None:
    """Of vectors of 256 kB a cell: what is copied meanwhile is one cell, or all of them where a view is held."""
    rng, d = np.random.default_rng(0), 64
    x = rng.standard_normal((20_000, d)).astype(np.float32)
    trained = mlpq.MultiLevelPQ(d, 20, 2, m=8, nbits=2, niter=3, keep_originals=True).train(x)
    makers: list[Callable[[], Any]] = [
        lambda: mlpq.ExactIndex(d),
        lambda: copy.copy(trained),
        lambda: copy.copy(clusters),
    ]
    clusters = mlpq.KMeansIndex(d, 20, niter=3).train(x)
    for make in makers:
        tracemalloc.start()
        index = make().add(x)
        arrays = [index.vectors] if isinstance(index, mlpq.ExactIndex) else [index.lists.rows, index.lists.originals]
        views = [array[:1] for array in arrays if array.size] if held else []
        del arrays
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        index.add(x[:20])
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        assert peak > 0.95 * x.nbytes if held else peak < 0.4 * x.nbytes
        del views


# ---- files of version 3 ---------------------------------------------------------------------------------------------


def write_version_3(path: Path, index: mlpq.MultiLevelPQ) -> None:
    """Write an index whose ids count from 0 as version 3 did: wide ids, originals in the order of ids."""
    names = ("d", "niter", "seed", "keep_originals", "m", "nbits", "codebooks", "codebook_dtype")
    facts = {name: getattr(index, name) for name in names}
    facts |= {"n_inner": index.clusters.n_inner, "n_outer": index.clusters.n_outer, "pca_dim": index.pca_dim or 0}
    arrays, order = index._arrays(), np.argsort(index.lists.ids)
    originals = arrays["originals"][order] if index.keep_originals else np.empty((0, index.d), np.float32)
    arrays |= {"ids": arrays["ids"].astype(np.int64), "originals": originals}
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs[storage.FORMAT] = np.bytes_(json.dumps({"version": 3, **facts}))
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["sha256"] = np.bytes_(storage._sha256(array))


@pytest.mark.parametrize("kind", ["originals", "codes alone", "PCA"])
@pytest.mark.parametrize("x", [WHOLE, BROKEN, BROKEN[:0]], ids=["bytes", "floats", "nothing"])
def test_files_of_version_3_are_read(kind: str, x: Array, tmp_path: Path) -> None:
    index = built(kind, dict(enumerate(x)))
    write_version_3(tmp_path / "old.h5", index)
    loaded = mlpq.MultiLevelPQ.load(tmp_path / "old.h5")
    check_same(loaded, index)
    for rerank in (0, 2) if index.keep_originals else (0,):
        check_found(loaded.search(XQ, 5, nprobe=3, rerank=rerank), index.search(XQ, 5, nprobe=3, rerank=rerank))
    if index.keep_originals:
        with pytest.raises(ValueError, match="load it without mmap, and save it anew"):
            mlpq.MultiLevelPQ.load(tmp_path / "old.h5", mmap=True)
    else:
        check_same(mlpq.MultiLevelPQ.load(tmp_path / "old.h5", mmap=True), index)
    loaded.save(tmp_path / "new.h5")
    check_same(mlpq.MultiLevelPQ.load(tmp_path / "new.h5", mmap=True), index)


def test_damaged_files_of_version_3_are_refused(tmp_path: Path) -> None:
    index = built("originals", dict(enumerate(WHOLE)))
    for ids in ([500], [-1], [0, 0]):
        other = copy.deepcopy(index)
        other.lists.ids = other.lists.ids.astype(np.int64)
        other.lists.ids[: len(ids)] = ids
        write_version_3(tmp_path / "old.h5", other)
        with pytest.raises(ValueError, match=r"is not a usable mlpq index file: ids"):
            mlpq.MultiLevelPQ.load(tmp_path / "old.h5")
