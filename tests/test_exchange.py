"""Leaving for Faiss, and arriving from there: the same vectors are found, or it is said what is lacking."""

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlpq
from mlpq._parallel import quick_training
from tests import reference

Array = npt.NDArray[Any]
RNG = np.random.default_rng(0)
X = (RNG.standard_normal((1200, 32)) @ RNG.standard_normal((32, 32)) + 4).astype(np.float32)
XQ = X[:60] + 0.3 * RNG.standard_normal((60, 32)).astype(np.float32)
SMALL: dict[str, Any] = {"n_inner": 9, "n_outer": 3, "m": 4, "nbits": 5}


def set_search(index: faiss.Index, nprobe: int, k_factor: int = 1) -> faiss.Index:
    """Set what our search takes as arguments."""
    space = faiss.ParameterSpace()
    space.set_index_parameter(index, "nprobe", nprobe)
    if k_factor > 1:
        space.set_index_parameter(index, "k_factor_rf", k_factor)
    return index


def agree(ours: tuple[Array, Array], theirs: tuple[Array, Array], rtol: float = 1e-4) -> bool:
    """Whether ids are the same up to ties, on the scale of these distances; similarities are turned round."""
    (D, I), (D_faiss, I_faiss) = ours, theirs
    scale = np.abs(D[I >= 0]).max(initial=1e-2)  # of vectors around 1, float32 keeps no smaller distances
    sign = -1 if (np.where(I < 0, D[:, :1], D) < D[:, :1]).any() else 1
    scaled = [np.where(ids < 0, scale, there) / scale for there, ids in ((D, I), (D_faiss, I_faiss))]
    D, D_faiss = (np.where(ids < 0, 1e3, sign * there) for there, ids in zip(scaled, (I, I_faiss), strict=True))
    return reference.same_up_to_ties(D_faiss, I_faiss, D, I, rtol)


def different(one: mlpq.MultiLevelPQ, other: mlpq.MultiLevelPQ) -> list[str]:
    a, b = one._arrays(), other._arrays()
    assert a.keys() == b.keys()
    return [name for name in a if a[name].dtype != b[name].dtype or not np.array_equal(a[name], b[name])]


@st.composite
def indexes(draw: st.DrawFn) -> tuple[mlpq.MultiLevelPQ, Array, int, int]:
    """A small index, queries, k and nprobe."""
    d = draw(st.sampled_from([1, 2, 4, 6, 13, 16]))
    pca_dim = draw(st.none() | st.integers(1, d))
    n_inner, nbits = draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    n = draw(st.sampled_from([0, 1, 30, 200]))
    x = (rng.standard_normal((n + 600, d)) @ rng.standard_normal((d, d)) + draw(st.sampled_from([0, 5]))).astype("f4")
    if draw(st.booleans()):
        x = np.clip(np.rint(20 * np.abs(x)), 1, 255)  # originals become bytes
    metric = draw(st.sampled_from(["l2", "cosine", "ip"]))
    if metric == "ip":
        x *= np.where(rng.random((len(x), 1)) < 0.2, np.float32(100), np.float32(1))
    index = mlpq.MultiLevelPQ(
        d, n_inner, max(1, round(n_inner**0.5)), m=draw(st.sampled_from(mlpq.valid_m(pca_dim or d))), nbits=nbits,
        pca_dim=pca_dim, rotation=draw(st.sampled_from([None, "pca", "opq", "random"])), metric=metric,
        keep_originals=draw(st.booleans()), codebook_dtype=draw(st.sampled_from(["float32", "float16", "uint8"])),
    )  # fmt: skip
    ids = rng.choice(10 * n + 1, n, replace=False) * draw(st.sampled_from([1, 2**33]))
    index.train(x[n:]).add(x[:n], ids=ids if draw(st.booleans()) else None)
    index.remove(rng.choice(index.lists.ids, n // 4, replace=False) if draw(st.booleans()) and n else [])
    queries = np.concatenate([x[:20], x[-20:] + rng.standard_normal((20, d))]).astype(np.float32)
    return index, queries, draw(st.integers(1, n + 2)), draw(st.integers(1, n_inner))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(indexes())
def test_the_same_is_found_there_and_after_the_return(case: tuple[mlpq.MultiLevelPQ, Array, int, int]) -> None:
    index, xq, k, nprobe = case
    whole = max(1, index.ntotal)  # the whole shortlist: where it ends, ties would decide
    theirs = set_search(index.to_faiss(), nprobe, whole if index.keep_originals else 1)
    gc.collect()
    assert theirs.ntotal == index.ntotal
    assert theirs.d == index.d
    rerank = whole if index.keep_originals else 0
    found = index.search(xq, k, nprobe=nprobe, rerank=rerank)
    assert agree(found, theirs.search(xq, k))
    back = mlpq.MultiLevelPQ.from_faiss(theirs)
    lost = {"float32": [], "float16": ["codebooks"], "uint8": ["codebooks", "codebook_ranges"]}
    assert different(index, back) == lost[index.codebook_dtype]
    D, I = back.search(xq, k, nprobe=nprobe, rerank=rerank)
    assert np.array_equal(D, found[0])
    assert np.array_equal(I, found[1])
    assert np.array_equal(back.reconstruct(index.lists.ids), index.reconstruct(index.lists.ids))


FACTORIES = [
    "IVF20,PQ8", "IVF20,PQ8x4", "PCA16,IVF20,PQ8", "OPQ8_16,IVF20,PQ8", "OPQ8,IVF20,PQ8", "RR16,IVF20,PQ4x6", "PCAR16,IVF20,PQ8",
    "PCA16,OPQ8,IVF20,PQ8x4", "L2norm,OPQ8,IVF20,PQ8", "IDMap,IVF20,PQ8x4", "OPQ8,IVF20,PQ8x4,RFlat",
    "IDMap2,OPQ8_16,IVF20,PQ8x4,RFlat", "IDMap,L2norm,PCA16,IVF20,PQ8x5",
]  # fmt: skip


def built(factory: str, metric: int = faiss.METRIC_L2) -> faiss.Index:
    """An index that Faiss has trained and filled."""
    index = faiss.index_factory(32, factory, metric)
    lists = faiss.try_extract_index_ivf(index)
    if isinstance(lists := lists and faiss.downcast_index(lists), faiss.IndexIVFPQ):
        lists.do_polysemous_training = False  # it takes a minute
    chain = index.chain if isinstance(index, faiss.IndexPreTransform) else None
    last = faiss.downcast_VectorTransform(chain.at(chain.size() - 1)) if chain else None
    if isinstance(last, faiss.OPQMatrix):
        last.niter = last.niter_pq_0 = last.niter_pq = 2
    with quick_training():
        index.train(X)
    if "IDMap" in factory:
        index.add_with_ids(X, np.arange(len(X)) * 2**32 + 3)
    else:
        index.add(X)
    return index


@pytest.mark.parametrize("factory", FACTORIES)
def test_what_faiss_has_trained_is_taken_over(factory: str, tmp_path: Path) -> None:
    theirs = set_search(built(factory), 5)
    faiss.write_index(theirs, str(tmp_path / "index"))
    options = {"nprobe": 5, "rerank": 1 if "RFlat" in factory else 0}
    for index in (theirs, faiss.read_index(str(tmp_path / "index"))):
        ours = mlpq.MultiLevelPQ.from_faiss(index)
        assert ours.metric == ("cosine" if "L2norm" in factory else "l2")
        assert agree(ours.search(XQ, 10, **options), theirs.search(XQ, 10))
    ours.save(tmp_path / "ours")
    assert different(mlpq.MultiLevelPQ.load(tmp_path / "ours"), ours) == []
    assert agree(ours.search(XQ, 10, **options), set_search(ours.to_faiss(), 5).search(XQ, 10))
    ours.add(X[:5])
    assert ours.ntotal == 1205


@pytest.mark.parametrize("factory", ["IVF20,PQ8x4", "OPQ8,IVF20,PQ8x4", "IVF20,PQ8x4,RFlat"])
def test_inner_products_that_faiss_has_trained(factory: str) -> None:
    theirs = set_search(built(factory, faiss.METRIC_INNER_PRODUCT), 4)
    ours = mlpq.MultiLevelPQ.from_faiss(theirs)
    assert ours.metric == "ip"
    assert agree(ours.search(XQ, 10, nprobe=4, rerank=int("RFlat" in factory)), theirs.search(XQ, 10))


def test_reductions_keep_their_kind_and_the_whole_mean() -> None:
    ours = mlpq.MultiLevelPQ.from_faiss(built("PCA16,IVF20,PQ8x4"))
    assert (ours.pca_dim, ours.rotation) == (16, "pca")
    assert ours.reduction is not None
    np.testing.assert_allclose(ours.reduction.mean, X.mean(axis=0), rtol=1e-4)
    assert mlpq.MultiLevelPQ.from_faiss(built("OPQ8,IVF20,PQ8x4")).rotation == "opq"
    assert mlpq.MultiLevelPQ.from_faiss(built("RR32,IVF20,PQ8x4")).rotation == "random"


@pytest.mark.parametrize("nbits", [6, 10, 11, 12, 13, 14, 15, 16])
def test_codes_of_many_bits_are_packed_alike(nbits: int) -> None:
    theirs = faiss.IndexIVFPQ(faiss.IndexFlatL2(6), 6, 4, 3, nbits)
    theirs.quantizer.add(X[:4, :6].copy())
    codebooks = np.random.default_rng(nbits).standard_normal((3, 2**nbits, 2)).astype(np.float32)
    faiss.copy_array_to_vector(codebooks.ravel(), theirs.pq.centroids)
    theirs.is_trained = True
    x = X[:, :6].copy()
    theirs.add(x)
    ours = mlpq.MultiLevelPQ.from_faiss(set_search(theirs, 2))
    assert agree(ours.search(XQ[:, :6], 10, nprobe=2), theirs.search(XQ[:, :6].copy(), 10))
    back = set_search(ours.to_faiss(), 2)
    assert agree(ours.search(XQ[:, :6], 10, nprobe=2), back.search(XQ[:, :6].copy(), 10))


ALONE = """
import sys, faiss, numpy as np
index, xq = faiss.read_index(sys.argv[1]), np.load(sys.argv[2])
space = faiss.ParameterSpace()
space.set_index_parameter(index, "nprobe", 4)
space.set_index_parameter(index, "k_factor_rf", 5) if sys.argv[4] == "refined" else None
np.savez(sys.argv[3], *index.search(xq, 10))
assert "mlpq" not in sys.modules
"""


@pytest.mark.parametrize("kind", ["plain", "refined"])
@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_a_file_of_faiss_needs_no_mlpq(metric: str, kind: str, tmp_path: Path) -> None:
    index = mlpq.MultiLevelPQ(32, 9, 3, nbits=6, metric=metric, pca_dim=24, keep_originals=kind == "refined")  # type: ignore[arg-type]
    index.train(X).add(X, ids=np.arange(len(X))[::-1] * 11)
    faiss.write_index(index.to_faiss(), str(tmp_path / "index"))
    np.save(tmp_path / "xq.npy", XQ)
    names = [str(tmp_path / name) for name in ("index", "xq.npy", "found.npz")]
    subprocess.run([sys.executable, "-I", "-c", ALONE, *names, kind], check=True)
    found = np.load(names[2])
    ours = index.search(XQ, 10, nprobe=4, rerank=5 if kind == "refined" else 0)
    assert agree(ours, (found["arr_0"], found["arr_1"]))
    assert (ours[1] == found["arr_1"]).mean() > 0.98


def test_a_converted_index_is_a_copy_that_can_grow() -> None:
    index = mlpq.MultiLevelPQ(32, **SMALL, keep_originals=True).train(X).add(X[:500])
    before = index.search(XQ, 5, nprobe=9, rerank=2)
    theirs = index.to_faiss()
    theirs.add_with_ids(X[500:], np.arange(500, 1200))
    assert (index.ntotal, theirs.ntotal) == (500, 1200)
    assert all(map(np.array_equal, index.search(XQ, 5, nprobe=9, rerank=2), before))
    index.add(X[500:])
    assert agree(index.search(XQ, 5, nprobe=3, rerank=2), set_search(theirs, 3, 2).search(XQ, 5))
    assert different(mlpq.MultiLevelPQ.from_faiss(theirs), index) == []


def test_originals_in_a_file_are_read(tmp_path: Path) -> None:
    index = mlpq.MultiLevelPQ(32, **SMALL, keep_originals=True).train(X).add(X)
    index.save(tmp_path / "index")
    theirs = set_search(mlpq.MultiLevelPQ.load(tmp_path / "index", mmap=True).to_faiss(), 3, 4)
    assert agree(index.search(XQ, 5, nprobe=3, rerank=4), theirs.search(XQ, 5))


def test_one_codebook_by_borrowing_is_one() -> None:
    index = mlpq.MultiLevelPQ(32, 40, 20, m=4, nbits=9, codebooks="inner", niter=2).train(X).add(X)
    assert len(index.quantizers) == 1
    assert agree(index.search(XQ, 5, nprobe=4), set_search(index.to_faiss(), 4).search(XQ, 5))


def test_what_faiss_lacks_is_said() -> None:
    with pytest.raises(RuntimeError, match=r"not trained.*before to_faiss"):
        mlpq.MultiLevelPQ(32).to_faiss()
    with pytest.raises(
        ValueError, match=r"Faiss has one codebook for all cells, and this index 9, by codebooks='inner'"
    ):
        mlpq.MultiLevelPQ(32, **SMALL | {"nbits": 2}, codebooks="inner").train(X).to_faiss()


REFUSED = {
    "Flat": "vectors without cells",
    "PQ8x4": "codes without cells",
    "HNSW8": "what IndexHNSWFlat holds",
    "IVF20,Flat": "cells of vectors that are not encoded",
    "IVF20,SQ8": "what IndexIVFScalarQuantizer holds",
    "IVF20,PQ8x4fs": "codes laid out in blocks for fast scan",
    "IVF20,PQ8+4": "a second product quantizer",
    "IVF20_HNSW8,PQ8x4": "cells that IndexHNSWFlat finds",
    "IMI2x2,PQ8x4": "cells that MultiIndexQuantizer finds",
    "PCAW16,IVF20,PQ8x4": "a PCAMatrix whose axes are not orthonormal",
    "RR48,IVF20,PQ8x4": "a RandomRotationMatrix whose axes are not orthonormal",
    "ITQ16,IVF20,PQ8x4": "ITQTransform",
    "Pad64,IVF20,PQ8x4": "RemapDimensionsTransform",
    "PCA16,L2norm,IVF20,PQ8x4": "a normalization after another transform",
    "L2norm,IVF20,PQ8x4,RFlat": "originals that are not normalized",
    "IVF20,PQ8x4,Refine(SQ8)": "a refining IndexScalarQuantizer",
}


@pytest.mark.parametrize("factory", REFUSED)
def test_what_mlpq_lacks_is_said(factory: str) -> None:
    with pytest.raises(ValueError, match=f"index cannot become a MultiLevelPQ, which lacks {REFUSED[factory]}"):
        mlpq.MultiLevelPQ.from_faiss(built(factory))


@pytest.mark.parametrize(
    ("attribute", "value", "lacking"),
    [
        ("by_residual", False, "codes of whole vectors"),
        ("polysemous_ht", 20, "polysemous"),
        ("max_codes", 100, "a bound on the codes"),
        ("metric_type", faiss.METRIC_L1, "Faiss's metric number 2"),
        ("metric_type", faiss.METRIC_INNER_PRODUCT, "another metric than codes"),
    ],
)
def test_settings_without_a_counterpart(attribute: str, value: Any, lacking: str) -> None:
    index = built("IVF20,PQ8x4")
    setattr(index, attribute, value)
    with pytest.raises(ValueError, match=lacking):
        mlpq.MultiLevelPQ.from_faiss(index)


@pytest.mark.parametrize("factory", ["PCA16,IVF20,PQ8x4", "L2norm,IVF20,PQ8x4"])
def test_inner_products_of_something_else(factory: str) -> None:
    with pytest.raises(ValueError, match="inner products"):
        mlpq.MultiLevelPQ.from_faiss(built(factory, faiss.METRIC_INNER_PRODUCT))


def test_transforms_in_the_wrong_place() -> None:
    turned = faiss.IndexPreTransform(
        faiss.RandomRotationMatrix(32, 32), faiss.IndexRefineFlat(faiss.index_factory(32, "IVF20,PQ8x4"))
    )
    turned.train(X)
    with pytest.raises(ValueError, match="originals on turned axes"):
        mlpq.MultiLevelPQ.from_faiss(turned)
    alone = faiss.IndexPreTransform(faiss.CenteringTransform(32), built("IVF20,PQ8x4"))
    alone.train(X)
    with pytest.raises(ValueError, match="a mean that is taken off without a rotation"):
        mlpq.MultiLevelPQ.from_faiss(alone)
    by_sum = faiss.IndexPreTransform(faiss.NormalizationTransform(32, 1.0), built("IVF20,PQ8x4"))
    with pytest.raises(ValueError, match="other than to unit length"):
        mlpq.MultiLevelPQ.from_faiss(by_sum)


def test_ids_that_are_none() -> None:
    empty = faiss.index_factory(32, "IVF20,PQ8x4")
    with quick_training():
        empty.train(X)
    for ids in (np.zeros(1200, np.int64), np.arange(1200) - 1):
        index = faiss.clone_index(empty)
        index.add_with_ids(X, ids)
        with pytest.raises(ValueError, match="ids that are negative or occur twice"):
            mlpq.MultiLevelPQ.from_faiss(index)
    index = built("IVF20,PQ8x4,RFlat")
    faiss.extract_index_ivf(index).remove_ids(np.arange(10))
    with pytest.raises(ValueError, match="one of its 1200 originals for each of its 1190 codes"):
        mlpq.MultiLevelPQ.from_faiss(index)


def test_what_is_no_index_or_not_trained() -> None:
    with pytest.raises(TypeError, match="index must be a Faiss index; got ndarray"):
        mlpq.MultiLevelPQ.from_faiss(X)
    with pytest.raises(RuntimeError, match="index is not trained"):
        mlpq.MultiLevelPQ.from_faiss(faiss.index_factory(32, "IVF20,PQ8"))
    with pytest.raises(TypeError, match="index must be a Faiss index; got ndarray"):
        mlpq.FaissIndex.of(X)


def test_an_index_of_faiss_is_wrapped() -> None:
    theirs = mlpq.MultiLevelPQ(32, **SMALL, metric="ip").train(X).add(X[:30]).to_faiss()
    index = mlpq.FaissIndex.of(theirs)
    assert repr(index) == "FaissIndex(d=32, index='IndexIVFPQ', ntotal=30)"
    assert index.index is theirs
    assert index.memory().total == len(faiss.serialize_index(theirs))
    D, I = index.search(XQ, 40, nprobe=9)
    assert (I[:, :30] >= 0).all()
    assert (I[:, 30:] == -1).all()
    assert (D[:, 30:] == -np.inf).all()
    assert mlpq.FaissIndex.of(faiss.IndexFlatL2(32)).search(XQ, 1)[0][0, 0] == np.inf
