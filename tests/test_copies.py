"""Copies are independent, however they are made; and objects say what they are."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlpq
from mlpq import _check
from mlpq.search import exact, lists

X = np.random.default_rng(0).integers(0, 200, (400, 8)).astype(np.float32)
MORE = X[::-1][:150] + 1

MAKERS: dict[str, Callable[[], Any]] = {
    "ExactIndex": lambda: mlpq.ExactIndex(8).add(X),
    "KMeansIndex": lambda: mlpq.KMeansIndex(8, 4).train(X).add(X),
    "MultiLevelPQ": lambda: mlpq.MultiLevelPQ(8, 4, 2, m=4, nbits=4).train(X).add(X),
    "with originals": lambda: mlpq.MultiLevelPQ(8, 4, 2, m=4, nbits=4, keep_originals=True).train(X).add(X),
    "with PCA": lambda: mlpq.MultiLevelPQ(8, 4, 2, m=2, nbits=4, pca_dim=4, codebook_dtype="uint8").train(X).add(X),
    "cosine, turned": lambda: (
        mlpq.MultiLevelPQ(8, 4, 2, m=4, nbits=4, metric="cosine", rotation="random").train(X).add(X + 1)
    ),
    "Flat": lambda: mlpq.FaissIndex(8, "Flat").add(X),
    "IVF": lambda: mlpq.FaissIndex(8, "IVF4,Flat").train(X).add(X),
}


def out_of_band(thing: Any) -> Any:
    """As processes that share memory pass things on, joblib's among them: the arrays come read-only."""
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(stream, buffers=[bytes(buffer) for buffer in buffers])


WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "pickle 5": out_of_band,
    "copy of a copy": lambda thing: copy.copy(copy.copy(thing)),
}


def seen(index: Any) -> list[Any]:
    """What a user sees of an index."""
    options = [{}] if isinstance(index, mlpq.ExactIndex) else [{"nprobe": 1}, {"nprobe": 4}]
    options += [{"nprobe": 2, "rerank": 3}] if getattr(index, "keep_originals", False) else []
    found = [array.tolist() for option in options for array in index.search(X[:50], 7, **option)]
    return [*found, index.ntotal, dict(index.memory()), repr(index)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_added_to_one_does_not_reach_the_other(kind: str, way: str) -> None:
    original, untouched, grown = (MAKERS[kind]() for _ in range(3))
    grown.add(MORE).add(MORE)
    assert seen(grown) != seen(untouched)
    other = WAYS[way](original)
    other.add(MORE).add(MORE)
    assert seen(other) == seen(grown)
    assert seen(original) == seen(untouched)
    third = WAYS[way](original)
    original.add(MORE).add(MORE)
    assert seen(original) == seen(grown) == seen(other)
    assert seen(third) == seen(untouched)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["KMeansIndex", "MultiLevelPQ", "with PCA", "IVF"])
def test_training_one_does_not_train_the_other(kind: str, way: str) -> None:
    original, untouched = MAKERS[kind](), MAKERS[kind]()
    WAYS[way](original).train(np.tile(MORE * 1.5, (6, 1)))
    assert seen(original) == seen(untouched)
    other = WAYS[way](original)
    original.train(np.tile(MORE * 1.5, (6, 1)))
    assert seen(other) == seen(untouched)


@pytest.mark.parametrize("part", [mlpq.KMeans(8, 4), mlpq.ProductQuantizer(8, 4, 4), mlpq.TwoLevelKMeans(8, 4, 2)])
def test_parts_are_copied_as_well(part: Any) -> None:
    part.train(X)
    before = copy.deepcopy(part)
    copy.copy(part).train(MORE)
    assert repr(part) == repr(before)
    if isinstance(part, mlpq.ProductQuantizer):
        assert np.array_equal(part.encode(X), before.encode(X))
    else:
        assert np.array_equal(part.assign(X), before.assign(X))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "make",
    [
        lambda: mlpq.MultiLevelPQ(8, 4, 2, m=4, nbits=4, pca_dim=4, keep_originals=True),
        lambda: mlpq.KMeansIndex(8, 4),
        lambda: mlpq.FaissIndex(8, "IVF4,Flat"),
        lambda: mlpq.KMeans(8, 4),
        lambda: mlpq.TwoLevelKMeans(8, 4, 2),
        lambda: mlpq.ProductQuantizer(8, 4, 4),
    ],
)
def test_what_is_untrained_is_copied_as_that(make: Callable[[], Any], way: str) -> None:
    original = make()
    other = WAYS[way](original)
    assert repr(other) == repr(original)
    other.train(X)
    assert repr(original) == repr(make())
    assert repr(other) == repr(make().train(X))


@pytest.mark.parametrize("way", WAYS)
def test_an_index_of_faiss_that_is_wrapped_and_a_data_set(way: str) -> None:
    whole = MAKERS["with originals"]().to_faiss()
    original = mlpq.FaissIndex.of(whole)
    other = WAYS[way](original)
    assert seen(other) == seen(original)
    other.index.reset()
    assert (other.ntotal, original.ntotal) == (0, 400)
    ds = mlpq.synthetic(300, 8, nq=10)
    again = WAYS[way](ds)
    assert repr(again) == repr(ds)
    assert np.array_equal(again.xb, ds.xb)
    assert np.array_equal(again.gt, ds.gt)


def test_arrays_that_somebody_holds_stay_as_they_are() -> None:
    index = MAKERS["with originals"]()
    held = [
        index.lists.rows,
        index.lists.ids,
        index.lists.offsets,
        index.lists.originals[:5],
        memoryview(index.lists.ids),
    ]
    before = [np.array(array) for array in held]
    index.add(MORE)
    assert all(np.array_equal(array, old) for array, old in zip(held, before, strict=True))


@pytest.mark.parametrize(
    ("kind", "failing"),
    [
        ("ExactIndex", 0),
        ("KMeansIndex", 0),
        ("KMeansIndex", 1),
        *(("with originals", failing) for failing in (0, 1, 2)),
    ],
)
def test_adding_that_fails_adds_nothing(kind: str, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays grow in place, and then there is no memory for the next, or for what is to be converted."""
    index, other = MAKERS[kind](), MAKERS[kind]()
    calls = []

    def in_place(holder: Any, name: str, n: int) -> None:
        if len(calls) == failing and kind != "ExactIndex":
            raise MemoryError("no memory")
        calls.append(n)
        array = getattr(holder, name)
        array.resize((n, *array.shape[1:]), refcheck=False)

    def parts(_: Any) -> Any:
        raise MemoryError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(exact if kind == "ExactIndex" else lists, "grow", in_place)
        if kind == "ExactIndex":
            patched.setattr(_check.Rows, "parts", parts)
        with pytest.raises(MemoryError, match="no memory"):
            index.add(MORE)
    assert seen(index) == seen(other)
    assert seen(index.add(MORE)) == seen(other.add(MORE))


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_an_index_whose_originals_are_in_a_file(way: str, tmp_path: Path) -> None:
    """A deep copy holds them in memory, and then counts them."""
    MAKERS["with originals"]().save(tmp_path / "x.index")
    original = mlpq.MultiLevelPQ.load(tmp_path / "x.index", mmap=True)
    found = seen(original)
    other = WAYS[way](original)
    assert seen(other)[:6] == found[:6]
    assert ("originals" in other.memory()) == ("copy" not in way or way == "deepcopy")
    other.add(MORE)
    assert other.memory()["originals"] == 550 * 8
    assert seen(original) == found


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (mlpq.KMeans(8, 4), "KMeans(d=8, k=4, trained=False)"),
        (mlpq.KMeans(8, 4).train(X), "KMeans(d=8, k=4, trained=True)"),
        (mlpq.TwoLevelKMeans(8, 4, 2), "TwoLevelKMeans(d=8, n_inner=4, n_outer=2, trained=False)"),
        (mlpq.ProductQuantizer(8, 4, 4).train(X), "ProductQuantizer(d=8, m=4, nbits=4, trained=True)"),
        (mlpq.ExactIndex(8).add(X), "ExactIndex(d=8, ntotal=400)"),
        (mlpq.KMeansIndex(8, 4), "KMeansIndex(d=8, n_clusters=4, trained=False)"),
        (mlpq.KMeansIndex(8, 4).train(X).add(X), "KMeansIndex(d=8, n_clusters=4, ntotal=400)"),
        (mlpq.FaissIndex(8, "IVF4,Flat"), "FaissIndex(d=8, factory='IVF4,Flat', trained=False)"),
        (mlpq.FaissIndex(8, "Flat").add(X), "FaissIndex(d=8, factory='Flat', ntotal=400)"),
        (
            mlpq.MultiLevelPQ(784),
            "MultiLevelPQ(d=784, n_inner=100, n_outer=10, m=8, nbits=8, codebooks='global', trained=False)",
        ),
        (
            MAKERS["MultiLevelPQ"](),
            "MultiLevelPQ(d=8, n_inner=4, n_outer=2, m=4, nbits=4, codebooks='global', ntotal=400)",
        ),
        (
            mlpq.MultiLevelPQ(8, 4, 2, m=2, pca_dim=4, keep_originals=True, codebook_dtype="uint8"),
            "MultiLevelPQ(d=8, n_inner=4, n_outer=2, pca_dim=4, m=2, nbits=8, codebooks='global', "
            "codebook_dtype='uint8', keep_originals=True, trained=False)",
        ),
    ],
)
def test_objects_say_what_they_are(thing: object, expected: str) -> None:
    assert repr(thing) == expected
