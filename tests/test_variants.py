"""Faiss behind our interface: its own results, nothing else."""

import faiss
import numpy as np
import pytest

import mlpq


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return mlpq.synthetic(3000, 16, n_clusters=10).xb


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "IVF8,PQ4x4", "PCA8,IVF8,Flat"])
def test_results_are_those_of_faiss(x: np.ndarray, factory: str) -> None:
    index = mlpq.FaissIndex(16, factory).train(x).add(x)
    D, I = index.search(x[:20], 5, nprobe=3)
    theirs = faiss.index_factory(16, factory)
    theirs.train(x)
    theirs.add(x)
    if "IVF" in factory:
        faiss.ParameterSpace().set_index_parameter(theirs, "nprobe", 3)
    D_faiss, I_faiss = theirs.search(x[:20], 5)
    assert np.array_equal(I, I_faiss)
    assert np.array_equal(D, D_faiss)
    assert index.ntotal == 3000
    assert index.memory().total == len(faiss.serialize_index(theirs))


def test_what_is_not_found_is_padded_as_in_our_indexes(x: np.ndarray) -> None:
    D, I = mlpq.FaissIndex(16, "IVF8,Flat").train(x).add(x[:10]).search(x[:2], 20)
    assert (I[:, -1] == -1).all()
    assert np.isinf(D[I < 0]).all()


def test_errors_say_what_to_do(x: np.ndarray) -> None:
    with pytest.raises(ValueError, match="factory must describe a Faiss index for d=16; got 'nonsense'"):
        mlpq.FaissIndex(16, "nonsense")
    with pytest.raises(RuntimeError, match="train"):
        mlpq.FaissIndex(16, "IVF8,Flat").add(x)
    with pytest.raises(RuntimeError, match="train"):
        mlpq.FaissIndex(16, "IVF8,Flat").search(x, 1)
    with pytest.raises(ValueError, match=r"xb must have shape \(n, 16\)"):
        mlpq.FaissIndex(16, "Flat").add(x[:, :8])
