"""Any codec in the cells of the index: what is found is what its estimates say, in batches of any size, and in files."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlpq

D, DIM = 24, 16
CODECS: dict[str, Callable[[], Any]] = {
    "ProductQuantizer": lambda: mlpq.ProductQuantizer(DIM, 4, 6),
    "ResidualQuantizer": lambda: mlpq.ResidualQuantizer(DIM, 3, 5),
    "AdditiveQuantizer": lambda: mlpq.AdditiveQuantizer(DIM, 2, 4),
    "ScalarQuantizer": lambda: mlpq.ScalarQuantizer(DIM, 4),
    "TurboQuant": lambda: mlpq.TurboQuant(DIM, 2),
    "EDEN": lambda: mlpq.EDEN(DIM, 3),
    "RaBitQ 1": lambda: mlpq.RaBitQ(DIM, 1),
    "RaBitQ 4": lambda: mlpq.RaBitQ(DIM, 4),
    "LSH": lambda: mlpq.LSH(DIM, 40),
    "LSH learned": lambda: mlpq.LSH(DIM, 12, learned=True),
}
METRICS = ("l2", "cosine", "ip")


@pytest.fixture(scope="module")
def small() -> mlpq.Dataset:
    return mlpq.synthetic(1500, D, nq=30, n_clusters=9)


@pytest.fixture(scope="module")
def built(small: mlpq.Dataset) -> dict[tuple[str, str], mlpq.MultiLevelPQ]:
    def build(make: Callable[[], Any], metric: Any) -> mlpq.MultiLevelPQ:
        settings = {"pca_dim": DIM, "rotation": "random", "metric": metric, "niter": 4, "keep_originals": True}
        return mlpq.MultiLevelPQ(D, 9, 3, codec=make(), **settings).train(small.xb).add(small.xb)

    return {(name, metric): build(make, metric) for name, make in CODECS.items() for metric in METRICS}


def estimates(index: mlpq.MultiLevelPQ, xq: Any) -> Any:
    """What the codes say of all queries and rows, in float64: squared distances, or -2 times inner products."""
    if index.metric == "cosine":
        xq = xq / np.linalg.norm(xq, axis=1, keepdims=True)
    z, lists = index.reduction(xq.astype(np.float32)).astype(float), index.lists
    centroids = np.repeat(index.clusters.inner_centroids, lists.sizes, axis=0).astype(float)
    decoded = index.codec.decode(lists.rows).astype(float)
    if index.metric == "ip":
        return -2 * z @ (centroids + decoded).T
    D = ((z[:, None] - centroids - decoded) ** 2).sum(axis=2)
    return D + index.codec.norms(lists.rows) - (decoded**2).sum(axis=1) if hasattr(index.codec, "norms") else D


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", CODECS)
def test_search_finds_what_the_codec_says(name: str, metric: str, built: Any, small: mlpq.Dataset) -> None:
    index, ids = built[name, metric], built[name, metric].lists.ids.astype(np.int64)
    expected = estimates(index, small.xq)
    D, I = index.search(small.xq, 10, nprobe=9)
    found = np.take_along_axis(expected, np.argsort(ids)[I], axis=1)
    np.testing.assert_allclose(found, np.sort(expected, axis=1)[:, :10], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(D, found / -2 if metric == "ip" else found, rtol=1e-4, atol=1e-4)
    one_by_one = [index.search(small.xq[q : q + 1], 10, nprobe=9)[1] for q in range(10)]
    assert np.array_equal(np.concatenate(one_by_one), I[:10])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", CODECS)
def test_rerank_of_everything_is_exact(name: str, metric: Any, built: Any, small: mlpq.Dataset) -> None:
    expected = mlpq.ground_truth(small.xb, small.xq, 10, metric=metric)
    found = built[name, metric].search(small.xq, 10, nprobe=9, rerank=150)
    assert np.array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CODECS)
def test_files_pickles_and_copies_keep_the_codec(name: str, built: Any, small: mlpq.Dataset, tmp_path: Path) -> None:
    index = built[name, "l2"]
    index.save(tmp_path / "x.index")
    D, I = index.search(small.xq, 5, nprobe=3)
    loaded = mlpq.MultiLevelPQ.load(tmp_path / "x.index")
    for other in (loaded, pickle.loads(pickle.dumps(index)), copy.copy(index), copy.deepcopy(index)):
        assert repr(other) == repr(index)
        assert all(map(np.array_equal, other.search(small.xq, 5, nprobe=3), (D, I)))
        assert other.memory() == index.memory()
    more = loaded.add(small.xq)
    assert np.array_equal(more.reconstruct([3, 1500]), copy.copy(index).add(small.xq).reconstruct([3, 1500]))
    assert index.ntotal == 1500


@pytest.mark.parametrize("name", CODECS)
def test_bytes_are_those_of_codes_and_of_what_the_codec_holds(name: str, built: Any) -> None:
    memory, codec = built[name, "l2"].memory(), built[name, "l2"].codec
    assert memory["codes"] == 1500 * codec.code_size
    assert memory["ids"] == 1500 * 4
    held = sum(size for part, size in memory.items() if part.startswith("codec_"))
    assert held == sum(array.nbytes for array in codec.arrays().values())


def test_an_index_trains_a_codec_of_its_own(small: mlpq.Dataset) -> None:
    codec = mlpq.ScalarQuantizer(D)
    index = mlpq.MultiLevelPQ(D, 9, 3, codec=codec).train(small.xb)
    assert not codec.is_trained
    assert index.codec.is_trained
    with pytest.raises(AttributeError, match="see its attribute codec"):
        _ = index.quantizers


def test_what_does_not_go_with_a_codec_is_refused(small: mlpq.Dataset, tmp_path: Path) -> None:
    codec = mlpq.ScalarQuantizer(D)
    for given in ({"m": 8}, {"nbits": 8}, {"codebooks": "global"}, {"codebook_dtype": "float32"}):
        with pytest.raises(ValueError, match=f"{next(iter(given))} may not be given with a codec"):
            mlpq.MultiLevelPQ(D, 9, 3, codec=codec, **given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="codec must have d=16, that of the vectors it encodes; got d=24"):
        mlpq.MultiLevelPQ(D, 9, 3, codec=codec, pca_dim=16)
    with pytest.raises(TypeError, match="codec must be a codec, such as"):
        mlpq.MultiLevelPQ(D, 9, 3, codec="SQ8")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="codec must be untrained"):
        mlpq.MultiLevelPQ(D, 9, 3, codec=mlpq.ScalarQuantizer(D).train(small.xb))

    class Own(mlpq.ScalarQuantizer):
        """A codec of the reader's."""

    index = mlpq.MultiLevelPQ(D, 9, 3, codec=Own(D)).train(small.xb).add(small.xb)
    assert index.search(small.xq, 3)[1].shape == (30, 3)
    with pytest.raises(TypeError, match=r"codec must be one of .* to be written to a file"):
        index.save(tmp_path / "x.index")
    assert not (tmp_path / "x.index").exists()


def test_a_damaged_codec_is_noticed(built: Any, tmp_path: Path) -> None:
    import h5py

    built["EDEN", "l2"].save(tmp_path / "x.index")
    with h5py.File(tmp_path / "x.index", "r+") as file:
        del file["codec_centre"]
    with pytest.raises(ValueError, match="is not a usable mlpq index file: arrays must be centre; got none"):
        mlpq.MultiLevelPQ.load(tmp_path / "x.index")
