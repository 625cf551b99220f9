"""NumPy's integers, small ones too, are whole numbers like any other: nothing overflows, and nothing of them stays."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

import mlpq

X = np.random.default_rng(0).integers(0, 100, (300, 12)).astype(np.float32)
LEVELS = {"n_inner": 5, "n_outer": 2}
TRAINING = {"niter": 3, "seed": 7}
FEW = mlpq.synthetic(120, 12, nq=20, n_clusters=5, intrinsic_dim=3)
INDEX = mlpq.MultiLevelPQ(12, 20, 4, m=6, nbits=3, keep_originals=True).train(X).add(X)
PQ = mlpq.ProductQuantizer(12, 6, 3).train(X)
CELLS = mlpq.TwoLevelKMeans(12, 20, 4).train(X)
_, GT = mlpq.ExactIndex(12).add(X).search(X, 100)

# The name of each public function, or of a class for its constructor: what it is called with, and what is compared.
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "valid_m": (mlpq.valid_m, {"d": 96}),
    "nearest_m": (mlpq.nearest_m, {"d": 96, "wanted": 40}),
    "ExactIndex": (lambda **s: mlpq.ExactIndex(**s).add(X), {"d": 12}),
    "ExactIndex.search": (mlpq.ExactIndex(12).add(X).search, {"xq": X, "k": 100}),
    "KMeans": (lambda **s: mlpq.KMeans(**s).train(X), {"d": 12, "k": 4} | TRAINING),
    "KMeans.probe": (mlpq.KMeans(12, 4).train(X).probe, {"xq": X, "nprobe": 100}),
    "TwoLevelKMeans": (lambda **s: mlpq.TwoLevelKMeans(**s).train(X), {"d": 12} | LEVELS | TRAINING),
    "TwoLevelKMeans.probe": (CELLS.probe, {"xq": X, "nprobe": 100, "n_outer_probe": 3}),
    "KMeansIndex": (lambda **s: mlpq.KMeansIndex(**s).train(X).add(X), {"d": 12, "n_clusters": 4} | TRAINING),
    "KMeansIndex.search": (mlpq.KMeansIndex(12, 20).train(X).add(X).search, {"xq": X, "k": 100, "nprobe": 100}),
    "ProductQuantizer": (lambda **s: mlpq.ProductQuantizer(**s).train(X), {"d": 12, "m": 6, "nbits": 3, "seed": 7}),
    "ProductQuantizer.search": (PQ.search, {"xq": X, "codes": PQ.encode(X), "k": 100}),
    "ResidualQuantizer": (lambda **s: coded(mlpq.ResidualQuantizer(**s)), {"d": 12, "M": 3, "nbits": 3, "seed": 7}),
    "AdditiveQuantizer": (lambda **s: coded(mlpq.AdditiveQuantizer(**s)), {"d": 12, "M": 4, "nbits": 2, "seed": 7}),
    "ScalarQuantizer": (lambda **s: coded(mlpq.ScalarQuantizer(**s)), {"d": 12, "nbits": 6}),
    "TurboQuant": (lambda **s: coded(mlpq.TurboQuant(**s)), {"d": 12, "nbits": 3}),
    "EDEN": (lambda **s: coded(mlpq.EDEN(**s)), {"d": 12, "nbits": 3}),
    "RaBitQ": (lambda **s: coded(mlpq.RaBitQ(**s)), {"d": 12, "nbits": 2}),
    "LSH": (lambda **s: coded(mlpq.LSH(**s)), {"d": 12, "nbits": 100, "seed": 7}),
    "Rotation": (lambda **s: mlpq.Rotation(**s).train(X)(X), {"d": 12, "dim": 10, "m": 5, "nbits": 3, "seed": 7}),
    "MultiLevelPQ": (
        lambda **s: mlpq.MultiLevelPQ(**s).train(X).add(X),
        {"d": 12, "m": 5, "nbits": 3, "pca_dim": 10} | LEVELS | TRAINING,
    ),
    "MultiLevelPQ.search": (INDEX.search, {"xq": X, "k": 20, "nprobe": 100, "n_outer_probe": 3, "rerank": 40}),
    "FaissIndex": (lambda **s: mlpq.FaissIndex(**s, factory="Flat").add(X).search(X, 3), {"d": 12}),
    "FaissIndex.search": (
        mlpq.FaissIndex(12, "IVF4,Flat").train(np.tile(X, (2, 1))).add(X).search,
        {"xq": X, "k": 100, "nprobe": 3},
    ),
    "synthetic": (mlpq.synthetic, {"n": 120, "d": 100, "nq": 100, "n_clusters": 9, "intrinsic_dim": 3, "seed": 7}),
    "synthetic_chunks": (
        lambda **s: list(mlpq.synthetic_chunks(**s)),
        {"n": 120, "d": 100, "n_clusters": 9, "intrinsic_dim": 3, "seed": 7, "skip_blocks": 100},
    ),
    "load_dataset": (lambda limit: from_file(limit), {"limit": 100}),
    "dataset": (lambda **s: mlpq.dataset(X, **s), {"seed": 7}),
    "ground_truth": (mlpq.ground_truth, {"xb": X, "xq": X, "k": 100}),
    "recall_at_k": (mlpq.recall_at_k, {"I": GT, "gt": GT[:, ::-1], "k": 60}),
    "recall_interval": (mlpq.recall_interval, {"I": GT, "gt": GT[:, ::-1], "k": 60}),
    "recall_1_at_r": (mlpq.recall_1_at_r, {"I": GT[:, ::-1], "gt": GT, "r": 60}),
    "recall_by_distance": (mlpq.recall_by_distance, {"D": [[1.0, 4.0, 5.0]], "distances": [[1, 3, 4]], "k": 2}),
    "Timing": (lambda **s: mlpq.Timing((0.5,), **s).qps, {"nq": 100, "threads": 1}),
    "measure": (lambda **s: mlpq.measure(int, **s), {"nq": 100, "threads": 1, "warmup": 2, "runs": 3}),
    "sweep": (
        lambda **s: mlpq.sweep(INDEX, X, GT, **s),
        {"k": 20, "nprobes": [1, 100], "threads": 1, "runs": 1},
    ),
    "error_decomposition": (
        lambda **s: mlpq.error_decomposition(INDEX, X, GT, **s),
        {"k": 20, "nprobe": 4, "n_outer_probe": 3, "rerank": 40},
    ),
    "predict_memory": (
        mlpq.predict_memory,
        {"n": 120, "d": 120, "n_inner": 100, "n_outer": 90, "m": 40, "nbits": 8, "pca_dim": 80},
    ),
    "measure_grid": (
        lambda nbits, **s: mlpq.measure_grid(FEW, [{"m": 6, "nbits": nbits}], **s),
        {"nbits": 3, "nprobes": [1, 100], "k": 10, "runs": 1, "threads": 1} | LEVELS,
    ),
    "recommend": (
        lambda **s: mlpq.recommend(FEW, 50, 1.0, **s),  # out of reach: rows are then in the order of recall, not of speed
        {"nbits": [3, 7], "nprobes": [100], "pca_dims": [6, 12], "k": 10} | LEVELS,
    ),
}  # fmt: skip


def coded(codec: Any) -> Any:
    return codec.train(X).encode(X)


def from_file(limit: int) -> tuple[Any, ...]:
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", X)
        ds = mlpq.load_dataset(f"{folder}/x.npy", limit=limit)
    return ds.xb, ds.xq, ds.gt, ds.distances


@cache
def expected(name: str) -> Any:
    call, values = CALLS[name]
    return plain(call(**values))


def public() -> dict[str, Callable[..., Any]]:
    """All functions, constructors and methods that a user may call, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for name in mlpq.__all__:
        thing = getattr(mlpq, name)
        found[name] = thing
        if inspect.isclass(thing):
            methods = inspect.getmembers(thing, inspect.isroutine)
            found |= {f"{name}.{own}": method for own, method in methods if own in vars(thing) and own[0] != "_"}
    return {name: thing for name, thing in found.items() if thing not in (mlpq.DownloadError, mlpq.Memory)}


def test_nothing_that_takes_whole_numbers_is_left_out() -> None:
    for name, thing in public().items():
        hints = {own: str(parameter.annotation) for own, parameter in inspect.signature(thing).parameters.items()}
        for own, hint in hints.items():
            if hint in ("int", "int | None", "Sequence[int]"):
                assert name in CALLS, name
                assert own in CALLS[name][1], f"{name}: {own}"


def converted(value: Any, dtype: type) -> Any:
    if isinstance(value, int):
        return dtype(value)
    if isinstance(value, list) and all(isinstance(one, int) for one in value):
        return np.array(value, dtype)
    return value


def plain(thing: Any) -> Any:
    """What there is to compare, with the types of numbers; times are left out."""
    if isinstance(thing, np.ndarray):
        return str(thing.dtype), thing.tolist()
    if isinstance(thing, mlpq.Timing):
        return thing.nq, str(type(thing.nq)), len(thing.seconds), thing.threads
    if is_dataclass(thing) and not isinstance(thing, type):
        return plain(asdict(thing))
    if isinstance(thing, dict):
        return {key: plain(value) for key, value in thing.items() if key != "qps"}
    if isinstance(thing, list | tuple):
        return [plain(value) for value in thing]
    if hasattr(thing, "__dict__"):
        return type(thing).__name__, plain(vars(thing))
    return type(thing).__name__, thing


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int64, np.uint64])
@pytest.mark.parametrize("name", CALLS)
def test_numpy_integers_give_what_ints_give(name: str, dtype: type) -> None:
    call, values = CALLS[name]
    found = call(**{own: converted(value, dtype) for own, value in values.items()})
    assert plain(found) == expected(name)


def test_memory_of_a_built_index_is_what_numpy_integers_predict() -> None:
    settings = {"m": np.uint8(12), "nbits": np.uint8(2), "codebooks": "outer"}
    levels = np.uint8(200), np.uint8(20)
    index = mlpq.MultiLevelPQ(12, *levels, **settings).train(X).add(X)
    assert len(index.quantizers) == 20
    assert mlpq.predict_memory(np.uint16(300), 12, *levels, **settings) == index.memory()


def test_predicted_memory_by_hand() -> None:
    memory = mlpq.predict_memory(10**6, 768, np.uint16(4096), 64, m=96, codebooks="inner")
    assert memory == mlpq.predict_memory(10**6, 768, 4096, 64, m=96, codebooks="inner")
    assert memory["codebooks"] == 4096 * 256 * 768 * 4
    assert memory["codes"] == 96 * 10**6
