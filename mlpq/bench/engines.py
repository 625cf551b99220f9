"""Ours and its peers behind one interface, each told how many threads it may use in the way it wants to be told.

A peer is imported when its engine is made, so that a process holds only the library that it measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from mlpq._check import Array, FloatMatrix, IdMatrix
from mlpq.bench.ratios import plain_search
from mlpq.index import MultiLevelPQ

NO_RERANK = 0


def in_bytes(x: FloatMatrix) -> bool:
    """Return whether all numbers are whole, and from 0 to 255."""
    return bool((x == np.clip(np.rint(x), 0, 255)).all())


class Engine(ABC):
    """An index that is built once and searched with several settings.

    Args:
        d: dimension of the vectors.
        threads: for building and for batches; `threads` may be set anew before each search.
        arguments: what the engine is built with; see `mlpq.bench.catalogue`.

    Raises:
        ImportError: its library is not installed.
        ValueError: the arguments do not fit d.
    """

    package: ClassVar[str | None] = None  # of the extra `bench`

    def __init__(self, d: int, threads: int, **arguments: Any) -> None:
        self.d, self.threads, self.arguments = d, threads, arguments
        self.prepare(**arguments)

    @abstractmethod
    def prepare(self, *_: Any, **arguments: Any) -> None:
        """Make the empty index."""

    def check(self, xb: FloatMatrix) -> None:
        """Raise ValueError if such an index is not for these vectors."""
        return

    @abstractmethod
    def build(self, xb: FloatMatrix) -> None:
        """Train on all vectors and add them."""

    @abstractmethod
    def set(self, *_: Any, **setting: Any) -> None:
        """Choose how the next searches are done."""

    @abstractmethod
    def search(self, xq: FloatMatrix, k: int) -> IdMatrix:
        """Return ids (nq, k); a single query comes as a batch of one, with `threads` 1."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Write all that a search needs to a file, or to a folder of that name."""

    def serialized(self, folder: Path) -> int:
        """Return the bytes of the index as its library writes it; `folder` is empty and gets filled."""
        self.save(folder / "index")
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


class Ours(Engine):
    """`MultiLevelPQ`; setting: nprobe, rerank."""

    def prepare(self, **arguments: Any) -> None:
        self.index, self.setting = MultiLevelPQ(self.d, **arguments), {"nprobe": 1, "rerank": NO_RERANK}

    def build(self, xb: FloatMatrix) -> None:
        with threadpool_limits(self.threads):
            self.index.train(xb).add(xb)

    def set(self, **setting: int) -> None:
        self.setting = {"rerank": NO_RERANK} | setting

    def search(self, xq: FloatMatrix, k: int) -> IdMatrix:
        return self.index.search(xq, k, **self.setting)[1]

    def save(self, path: Path) -> None:
        self.index.save(path)


class PlainLoop(Ours):
    """The same codes, searched as plain Python loops; setting: nprobe."""

    def search(self, xq: FloatMatrix, k: int) -> IdMatrix:
        return plain_search(self.index, xq, k, self.setting["nprobe"])[1]


class FaissEngine(Engine):
    """Any index of Faiss's factory; setting: what its `ParameterSpace` knows, such as nprobe, k_factor_rf, efSearch."""

    def prepare(self, *, factory: str) -> None:
        try:
            self.index = faiss.index_factory(self.d, factory)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].rpartition("failed: ")[2]
            raise ValueError(f"Faiss refuses {factory!r} for d={self.d}: {reason}") from None
        self.bytes_only = "SQ8_direct" in factory

    def check(self, xb: FloatMatrix) -> None:
        if self.bytes_only and not in_bytes(xb):
            raise ValueError("SQ8_direct keeps whole numbers from 0 to 255 only")

    def build(self, xb: FloatMatrix) -> None:
        with threadpool_limits(self.threads):
            self.index.train(xb)
            self.index.add(xb)

    def set(self, **setting: int) -> None:
        for name, value in setting.items():
            faiss.ParameterSpace().set_index_parameter(self.index, name, value)

    def search(self, xq: FloatMatrix, k: int) -> IdMatrix:
        I: IdMatrix = self.index.search(xq, k)[1]
        return I

    def save(self, path: Path) -> None:
        faiss.write_index(self.index, str(path))  # the same bytes as serialize_index, without holding them


class Hnswlib(Engine):
    """hnswlib; setting: ef."""

    package = "hnswlib"

    def prepare(self, *, M: int, ef_construction: int) -> None:
        import hnswlib

        self.index, self.graph = hnswlib.Index("l2", self.d), {"M": M, "ef_construction": ef_construction}

    def build(self, xb: FloatMatrix) -> None:
        self.index.init_index(len(xb), random_seed=0, **self.graph)
        self.index.add_items(xb, num_threads=self.threads)

    def set(self, *, ef: int) -> None:
        self.index.set_ef(ef)

    def search(self, xq: FloatMatrix, k: int) -> IdMatrix:
        I: IdMatrix = self.index.knn_query(xq, k, num_threads=self.threads)[0].astype(np.int64)
        return I

    def save(self, path: Path) -> None:
        self.index.save_index(str(path))


class Usearch(Engine):
    """usearch; setting: expansion. Vectors as "f32", as "f16", or as "i8" after one scaling for all.

    Its "u8" would hold pixels as they are, but returns NaN for squared distances as of 2.26.
    """

    package = "usearch"

    def prepare(self, *, dtype: str, connectivity: int) -> None:
        from usearch.index import Index

        self.scale = 1.0
        self.integers = dtype == "i8"
        self.index = Index(ndim=self.d, metric="l2sq", dtype=dtype, connectivity=connectivity)

    def _stored(self, x: FloatMatrix) -> Array:
        return np.clip(np.rint(x * self.scale), -127, 127).astype(np.int8) if self.integers else x

    def build(self, xb: FloatMatrix) -> None:
        if self.integers:
            self.scale = 127 / max(float(np.abs(xb).max()), 1e-9)
        self.index.add(np.arange(len(xb)), self._stored(xb), threads=self.threads)

    def set(self, *, expansion: int) -> None:
        self.index.expansion_search = expansion

    def search(self, xq: FloatMatrix, k: int) -> IdMatrix:
        keys = self.index.search(self._stored(xq), k, threads=self.threads).keys
        return np.atleast_2d(keys).astype(np.int64)  # of one query it returns a vector

    def save(self, path: Path) -> None:
        self.index.save(str(path))


class Scann(Engine):
    """ScaNN as its README recommends: tree, anisotropic hashing of 2 dimensions, reordering; setting: leaves, reorder.

    A batch goes through `search_batched_parallel` in pieces of its own size, 256 queries; a single query through `search`.
    """

    package = "scann"

    def prepare(self, *, leaves: int) -> None:
        from scann import scann_ops_pybind

        self.leaves, self.builder, self.setting = leaves, scann_ops_pybind.builder, {"leaves": 1, "reorder": 10}

    def build(self, xb: FloatMatrix) -> None:
        builder = self.builder(xb, 10, "squared_l2")
        builder = builder.tree(self.leaves, self.leaves, training_sample_size=min(len(xb), 250_000))
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100)
        self.index = builder.set_n_training_threads(self.threads).build()
        self.index.set_num_threads(self.threads)

    def set(self, **setting: int) -> None:
        self.setting = setting

    def search(self, xq: FloatMatrix, k: int) -> IdMatrix:
        leaves, reorder = self.setting["leaves"], self.setting["reorder"]
        if self.threads == 1 and len(xq) == 1:
            I: Array = self.index.search(xq[0], k, reorder, leaves)[0][None]
        else:
            I = self.index.search_batched_parallel(xq, k, reorder, leaves)[0]
        return I.astype(np.int64)

    def save(self, path: Path) -> None:
        path.mkdir()
        self.index.serialize(str(path))


class Svs(Engine):
    """Vamana of Intel's SVS, vectors as "float32", "float16" or "uint8"; setting: window.

    Its compressed forms, LVQ and LeanVec, want a processor of Intel's.
    """

    package = "svs"

    def prepare(self, *, dtype: str, degree: int) -> None:
        import svs

        svs.logging.set_level(svs.logging.level.warn)
        self.svs, self.dtype = svs, np.dtype(dtype)
        self.graph = svs.VamanaBuildParameters(graph_max_degree=degree, window_size=200)
        self.asked = self.dtype if self.dtype == np.uint8 else np.float32

    def check(self, xb: FloatMatrix) -> None:
        if self.dtype == np.uint8 and not in_bytes(xb):
            raise ValueError("uint8 keeps whole numbers from 0 to 255 only")

    def build(self, xb: FloatMatrix) -> None:
        vectors = xb.astype(self.dtype)
        self.index = self.svs.Vamana.build(self.graph, vectors, self.svs.DistanceType.L2, num_threads=self.threads)

    def set(self, *, window: int) -> None:
        self.index.search_window_size = window

    def search(self, xq: FloatMatrix, k: int) -> IdMatrix:
        if self.index.num_threads != self.threads:
            self.index.num_threads = self.threads
        I: IdMatrix = self.index.search(xq.astype(self.asked, copy=False), k)[0].astype(np.int64)
        return I

    def save(self, path: Path) -> None:
        path.mkdir()
        self.index.save(*(str(path / part) for part in ("settings", "graph", "vectors")))


KINDS: dict[str, type[Engine]] = {
    "ours": Ours, "loop": PlainLoop, "faiss": FaissEngine, "hnswlib": Hnswlib, "usearch": Usearch, "scann": Scann,
    "svs": Svs,
}  # fmt: skip
