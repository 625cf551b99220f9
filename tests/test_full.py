"""The recalls that the design promises, on the full Fashion-MNIST with all 10,000 queries."""

import numpy as np
import pytest

import mlpq
from tests.conftest import FullSet


@pytest.fixture(scope="module")
def full(full_set: FullSet) -> mlpq.Dataset:
    return full_set("fashion-mnist")


@pytest.mark.parametrize(("owner", "floor"), [("global", 0.42), ("outer", 0.51), ("inner", 0.64)])
def test_recall_of_multi_level_pq(full: mlpq.Dataset, owner: str, floor: float) -> None:
    index = mlpq.MultiLevelPQ(full.d, 100, 10, m=8, nbits=8, codebooks=owner).train(full.xb).add(full.xb)
    _, I = index.search(full.xq, 10, nprobe=3)
    assert mlpq.recall_at_k(I, full.gt, 10) >= floor


def test_recall_of_kmeans_only(full: mlpq.Dataset) -> None:
    index = mlpq.KMeansIndex(full.d, 100).train(full.xb).add(full.xb)
    _, I = index.search(full.xq, 10, nprobe=3)
    assert mlpq.recall_at_k(I, full.gt, 10) >= 0.94


def test_stored_neighbours_are_those_computed(full: mlpq.Dataset) -> None:
    distances, gt = mlpq.ground_truth(full.xb, full.xq[:500], 100)
    assert np.array_equal(gt, full.gt[:500])
    np.testing.assert_allclose(distances, full.distances[:500], rtol=1e-6)


def test_the_embedded_set_is_its_beginning(full: mlpq.Dataset, ds: mlpq.Dataset) -> None:
    assert np.array_equal(ds.xb, full.xb[:20_000])
    assert np.array_equal(ds.xq, full.xq[:1_000])
