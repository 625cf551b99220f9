"""Wrong input gets one clear error, and changes nothing."""

import re
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mlpq
from mlpq import _check

D = 8
X = np.random.default_rng(0).standard_normal((300, D))


def multi(**options: Any) -> mlpq.MultiLevelPQ:
    return mlpq.MultiLevelPQ(D, **({"n_inner": 4, "n_outer": 2, "m": 4, "nbits": 4} | options))


class Frame:
    """What a table of pandas with nullable columns is to NumPy: an array of objects."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return X[:9].astype(object)


MASKED = np.ma.masked_greater(X, 2)

BAD_MATRICES = {
    "1-D": (X[0], ValueError, r"must have shape \(n, 8\); got 1-D with shape \(8,\); a single vector v goes in as v"),
    "3-D": (X[None], ValueError, r"must have shape \(n, 8\); got 3-D"),
    "a number": (3.0, ValueError, r"must have shape \(n, 8\); got 0-D"),
    "wrong dimension": (X[:, :7], ValueError, r"must have shape \(n, 8\); got shape \(300, 7\)"),
    "rows of several lengths": ([[1.0] * D, [2.0]], ValueError, "must be an array: .*inhomogeneous"),
    "masked": (
        MASKED,
        ValueError,
        r"must not have masked entries: fill them, as in x.filled\(0\), or leave their rows",
    ),
    "masked rows": ([*MASKED], ValueError, "must not have masked entries"),
    "strings": (np.full((9, D), "a"), TypeError, "must hold floats or integers; got dtype <U1"),
    "complex": (X * 1j, TypeError, "must hold floats or integers; got dtype complex128"),
    "bools": (X > 0, TypeError, "must hold floats or integers; got dtype bool"),
    "objects": (np.full((9, D), None), TypeError, "must hold floats or integers; got dtype object"),
    "nullable columns": (Frame(), TypeError, r".*dtype object; convert it first, .* df.to_numpy\(np.float32, na_value"),
    "bfloat16 of a file": (
        X.astype(np.float16).view("V2"),
        TypeError,
        r".*got dtype \|V2; .*bfloat16\).astype\(np.float32",
    ),
    "NaN": (
        np.where(X > 2, np.nan, X),
        ValueError,
        r"must be finite in float32; NaN or inf in \d+ of 300 rows, first in row \d+",
    ),
    "inf": (np.where(X > 2, -np.inf, X), ValueError, "must be finite in float32"),
    "float16 inf": (np.where(X > 2, np.inf, X).astype(np.float16), ValueError, r"must be finite .* first in row \d+"),
    "beyond float32": (X * 1e39, ValueError, "must be finite in float32"),
    "distances beyond float32": (X * 1e19, ValueError, r"must stay within ±1e\+15 for float32 distances; got \d"),
    "a little too large": (
        np.where(X > 2, 1.01e15, X),
        ValueError,
        r"must stay within ±1e\+15 .*; got 1.0e\+15; divide",
    ),
    "a large integer": (np.full((9, D), -(10**15) - 1), ValueError, r"must stay within ±1e\+15"),
}

MAKERS: dict[str, Callable[[], Any]] = {
    "KMeans": lambda: mlpq.KMeans(D, 4).train(X),
    "TwoLevelKMeans": lambda: mlpq.TwoLevelKMeans(D, 4, 2).train(X),
    "ProductQuantizer": lambda: mlpq.ProductQuantizer(D, 4, 4).train(X),
    "MultiLevelPQ": lambda: multi().train(X).add(X),
    "KMeansIndex": lambda: mlpq.KMeansIndex(D, 4).train(X).add(X),
    "ExactIndex": lambda: mlpq.ExactIndex(D).add(X),
}
make_once = cache(lambda kind: MAKERS[kind]())
TRAINED = {kind: lambda kind=kind: deepcopy(make_once(kind)) for kind in MAKERS}
CALLS: dict[str, tuple[str, ...]] = {
    "KMeans": ("train", "assign", "probe"),
    "TwoLevelKMeans": ("train", "assign", "probe"),
    "ProductQuantizer": ("train", "encode", "distance_table"),
    "MultiLevelPQ": ("train", "add", "search"),
    "KMeansIndex": ("train", "add", "search"),
    "ExactIndex": ("add", "search"),
}
EXTRA: dict[str, tuple[int, ...]] = {"probe": (2,), "search": (5,)}


def state(thing: Any) -> dict[str, Any]:
    """Everything an object holds, as plain arrays and numbers."""
    found: dict[str, Any] = {}
    for name, value in vars(thing).items():
        if isinstance(value, np.ndarray):
            found[name] = value.copy()
        elif hasattr(value, "__dict__"):
            found |= {f"{name}.{key}": inner for key, inner in state(value).items()}
        elif isinstance(value, int | str):
            found[name] = value
    return found


@pytest.mark.parametrize("bad", BAD_MATRICES)
@pytest.mark.parametrize(("kind", "call"), [(kind, call) for kind, calls in CALLS.items() for call in calls])
def test_bad_vectors_are_refused_and_change_nothing(kind: str, call: str, bad: str) -> None:
    x, error, message = BAD_MATRICES[bad]
    thing = TRAINED[kind]()
    before = state(thing)
    with pytest.raises(error, match=r"^x[tbq]? " + message):
        getattr(thing, call)(x, *EXTRA.get(call, ()))
    after = state(thing)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", ["KMeans", "TwoLevelKMeans", "ProductQuantizer", "MultiLevelPQ", "KMeansIndex"])
def test_training_needs_vectors(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^xt must not be empty; got shape \(0, 8\)"):
        TRAINED[kind]().train(X[:0])


def test_masks_elsewhere_are_refused_too() -> None:
    for call in (
        lambda: mlpq.recall_at_k(np.ma.masked_equal([[1, 2]], 2), [[1, 2]], 2),
        lambda: mlpq.recall_by_distance(np.ma.masked_equal([[1, 2]], 2), [[1, 2]], 2),
        lambda: TRAINED["ProductQuantizer"]().decode(np.ma.masked_equal(np.zeros((3, 2), np.uint8), 0)),
        lambda: mlpq.ProductQuantizer.from_codebooks(np.ma.masked_equal(np.zeros((1, 2, 2)), 0)),
    ):
        with pytest.raises(ValueError, match="must not have masked entries"):
            call()


def test_numbers_of_other_packages_are_refused_with_a_hint() -> None:
    """What ml_dtypes adds to NumPy: numbers of the kind "V", of a type of their own."""
    bfloat16 = SimpleNamespace(kind="V", names=None, type=SimpleNamespace)
    assert _check._hint(bfloat16) == "; convert it first: x.astype(np.float32)"
    with pytest.raises(TypeError, match=r"^xb must hold floats or integers; got dtype \(numpy.record, .*\)$"):
        mlpq.ExactIndex(1).add(np.zeros((3, 1), [("a", "f4")]).view(np.recarray))


def test_a_mask_that_hides_nothing_is_welcome() -> None:
    _, I = mlpq.ExactIndex(D).add(np.ma.masked_greater(X, 1e6)).search(np.ma.masked_invalid(X), 1)
    assert np.array_equal(I[:, 0], np.arange(300))


@pytest.mark.parametrize(
    "x",
    [
        X.astype(np.float16),
        X.astype(np.float64),
        np.asfortranarray(X),
        np.repeat(X, 2, axis=0)[::2],
        X.tolist(),
        X.astype(">f8"),
    ],
    ids=["float16", "float64", "Fortran", "strided", "lists", "big-endian"],
)
def test_other_floats_are_converted(x: Any) -> None:
    same = np.ascontiguousarray(np.asarray(x), np.float32)
    index, reference = multi().train(x).add(x), multi().train(same).add(same)
    for found, expected in zip(index.search(x, 3, nprobe=2), reference.search(same, 3, nprobe=2), strict=True):
        assert np.array_equal(found, expected)


def test_integers_and_read_only_arrays_are_welcome() -> None:
    x = (X * 40 + 128).astype(np.uint8)
    x.setflags(write=False)
    _, I = mlpq.ExactIndex(D).add(x).search(x, 1)
    assert (((x[I[:, 0]].astype(int) - x) ** 2).sum(axis=1) == 0).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: mlpq.ProductQuantizer(12, m=5), ValueError, "m must divide d=12; got m=5; valid m: 1, 2, 3, 4, 6, 12"),
        (lambda: multi(m=3), ValueError, "m must divide d=8; got m=3; valid m: 1, 2, 4, 8"),
        (lambda: multi(m=0), ValueError, "m must be a whole number of at least 1; got 0"),
        (lambda: mlpq.ProductQuantizer(8, nbits=0), ValueError, "nbits must be a whole number from 1 to 16; got 0"),
        (lambda: multi(nbits=17), ValueError, "nbits must be a whole number from 1 to 16; got 17"),
        (lambda: multi(nbits=4.0), TypeError, "nbits must be .* got 4.0 of type float"),
        (lambda: multi(m=True), TypeError, "m must be .* got the bool True"),
        (lambda: mlpq.ExactIndex(0), ValueError, "d must be a whole number of at least 1; got 0"),
        (lambda: mlpq.ExactIndex("8"), TypeError, "d must be .* got '8' of type str"),
        (lambda: multi(n_outer=5), ValueError, "n_outer must be at most n_inner=4; got 5"),
        (lambda: mlpq.TwoLevelKMeans(8, 3, 4), ValueError, "n_outer must be at most n_inner=3; got 4"),
        (lambda: mlpq.KMeansIndex(8, 0), ValueError, "n_clusters must be a whole number of at least 1; got 0"),
        (
            lambda: multi(codebooks="cell"),
            ValueError,
            "codebooks must be one of 'inner', 'outer', 'global'; got 'cell'",
        ),
        (lambda: multi(seed=-1), ValueError, "seed must be a whole number from 0"),
        (lambda: mlpq.KMeans(8, 3, niter=0), ValueError, "niter must be"),
        (lambda: mlpq.ProductQuantizer.from_codebooks(np.zeros((2, 3, 4))), ValueError, r"codebooks must have shape"),
        (lambda: mlpq.valid_m(0), ValueError, "d must be a whole number of at least 1; got 0"),
        (lambda: mlpq.nearest_m(0, 8), ValueError, "d must be a whole number of at least 1; got 0"),
        (lambda: mlpq.nearest_m(8, 0), ValueError, "wanted must be a whole number of at least 1; got 0"),
        (lambda: mlpq.nearest_m(8, 2.5), TypeError, "wanted must be a whole number"),
    ],
)
def test_bad_sizes_are_refused(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mlpq.KMeans(D, 301).train(X), ValueError, r"at least as many points as clusters \(301\); got 300"),
        (lambda: multi(n_inner=301).train(X), ValueError, r"at least as many points as clusters \(301\); got 300"),
        (
            lambda: mlpq.ProductQuantizer(D, 4, 9).train(X),
            ValueError,
            r"at least 2\*\*nbits = 512 points for nbits=9; got 300",
        ),
        (lambda: multi(nbits=9).train(X), ValueError, r"at least 2\*\*nbits = 512 points for nbits=9; got 300"),
        (lambda: multi().add(X), RuntimeError, r"MultiLevelPQ is not trained: call train\(xt\) before add"),
        (lambda: multi().search(X, 3), RuntimeError, "MultiLevelPQ is not trained: .* before search"),
        (lambda: multi().save("never.h5"), RuntimeError, "MultiLevelPQ is not trained: .* before save"),
        (lambda: mlpq.KMeansIndex(D, 4).add(X), RuntimeError, "KMeansIndex is not trained: .* before add"),
        (lambda: mlpq.KMeansIndex(D, 4).search(X, 1), RuntimeError, "KMeansIndex is not trained: .* before search"),
        (lambda: mlpq.TwoLevelKMeans(D, 4, 2).assign(X), RuntimeError, "TwoLevelKMeans|KMeans is not trained"),
        (lambda: mlpq.TwoLevelKMeans(D, 4, 2).probe(X, 1), RuntimeError, "TwoLevelKMeans is not trained"),
        (lambda: mlpq.ProductQuantizer(D).encode(X), RuntimeError, "ProductQuantizer is not trained: .* before encode"),
        (lambda: mlpq.ProductQuantizer(D).decode(X), RuntimeError, "ProductQuantizer is not trained"),
        (lambda: mlpq.ProductQuantizer(D).search(X, X, 1), RuntimeError, "ProductQuantizer is not trained"),
        (lambda: mlpq.ProductQuantizer(D).distance_table(X), RuntimeError, "ProductQuantizer is not trained"),
        (
            lambda: TRAINED["ProductQuantizer"]().decode(X),
            TypeError,
            "codes must be packed codes of dtype uint8; got .*64",
        ),
        (
            lambda: TRAINED["ProductQuantizer"]().decode(np.zeros((3, 5), np.uint8)),
            ValueError,
            r"codes must have shape \(n, 2\); got shape \(3, 5\)",
        ),
        (lambda: TRAINED["MultiLevelPQ"]().search(X, 0), ValueError, "k must be a whole number of at least 1; got 0"),
        (lambda: TRAINED["ExactIndex"]().search(X, -1), ValueError, "k must be a whole number of at least 1; got -1"),
        (lambda: TRAINED["MultiLevelPQ"]().search(X, 3, nprobe=0), ValueError, "nprobe must be .* got 0"),
        (lambda: TRAINED["MultiLevelPQ"]().search(X, 3, n_outer_probe=0), ValueError, "n_outer_probe must be .* got 0"),
        (lambda: TRAINED["MultiLevelPQ"]().search(X, 3, rerank=-1), ValueError, "rerank must be .* got -1"),
        (lambda: TRAINED["MultiLevelPQ"]().search(X, 3, rerank=2), RuntimeError, "with keep_originals=True"),
        (lambda: TRAINED["KMeansIndex"]().search(X, 2.5), TypeError, "k must be .* got 2.5 of type float"),
    ],
)
def test_bad_calls_are_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_more_probes_than_cells_count_as_all() -> None:
    index = multi().train(X).add(X)
    for found, expected in zip(index.search(X, 5, nprobe=10**12), index.search(X, 5, nprobe=4), strict=True):
        assert np.array_equal(found, expected)


def test_options_are_keyword_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        mlpq.MultiLevelPQ(8, 4, 2, 4)
    with pytest.raises(TypeError, match="positional"):
        TRAINED["MultiLevelPQ"]().search(X, 3, 2)


def test_messages_are_one_line() -> None:
    with pytest.raises(ValueError, match="m must divide") as caught:
        mlpq.ProductQuantizer(784, 9)
    assert re.search(r"\n", str(caught.value)) is None
