"""Data sets: the embedded one, the full one from every source, the reader's own arrays, made-up vectors."""

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mlpq
from mlpq.data import named, readers, synthetic, verify
from tests import reference
from tests.conftest import ROOT

EMBEDDED = named.EMBEDDED / "fashion-mnist-20k.hdf5"
RNG = np.random.default_rng(5)
X = RNG.standard_normal((120, 6)).astype(np.float32)


def test_embedded_set(ds: mlpq.Dataset) -> None:
    assert ds.name == "fashion-mnist-20k"
    assert (ds.xb.shape, ds.xq.shape, ds.gt.shape, ds.d) == ((20_000, 784), (1_000, 784), (1_000, 100), 784)
    assert (ds.xb.dtype, ds.xq.dtype, ds.gt.dtype) == (np.float32, np.float32, np.int32)
    assert ds.distances.dtype == np.float32
    assert all(array.flags.c_contiguous for array in (ds.xb, ds.xq, ds.gt, ds.distances))
    assert ds.labels is not None
    assert ds.query_labels is not None
    assert sorted(set(ds.labels)) == sorted(set(ds.query_labels)) == list(range(10))
    assert EMBEDDED.stat().st_size < 12e6
    assert (named.EMBEDDED / "LICENSE-fashion-mnist.txt").is_file()
    D, I = reference.exact(ds.xb, ds.xq[:2], 10)
    assert np.array_equal(I, ds.gt[:2, :10])
    np.testing.assert_allclose(D, ds.distances[:2, :10], rtol=1e-6)


def test_embedded_file_is_in_the_ann_benchmarks_layout(ds: mlpq.Dataset) -> None:
    with h5py.File(EMBEDDED) as file:
        assert {"train", "test", "neighbors", "distances"} <= set(file)
        assert file["train"].dtype == np.uint8
        assert file.attrs["distance"] == "euclidean"
        np.testing.assert_allclose(file["distances"][:] ** 2, ds.distances, rtol=1e-6)


@pytest.mark.parametrize("name", named.EMBEDDED_SHA256)
def test_what_a_digest_vouches_for_is_what_reading_verifies(
    name: str, ds: mlpq.Dataset, words: mlpq.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {one.name: one for one in (ds, words)}[name]
    arrays = readers.read(named.EMBEDDED / f"{name}.hdf5")  # searches anew, and refuses what is not the nearest
    assert np.array_equal(found.gt, arrays["gt"])
    np.testing.assert_allclose(found.distances, arrays["distances"], rtol=2e-7)
    monkeypatch.setattr(verify, "verified", lambda *_: pytest.fail("verified at each start"))
    assert np.array_equal(mlpq.load_dataset(name).gt, found.gt)


def test_damage_to_the_embedded_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(EMBEDDED.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / EMBEDDED.name).write_bytes(content)
    monkeypatch.setattr(named, "EMBEDDED", tmp_path)
    with pytest.raises(ValueError, match="is damaged: install mlpq again"):
        mlpq.load_dataset("fashion-mnist-20k")


def test_the_embedded_set_can_be_made_again(ds: mlpq.Dataset, tmp_path: Path) -> None:
    if not named.DEBIAN.is_dir():
        pytest.skip("needs the Debian package dataset-fashion-mnist")
    script = ROOT / "mlpq" / "data" / "make_fashion_mnist_20k.py"
    code = f"import runpy; print(runpy.run_path({str(script)!r})['make'](*map(__import__('pathlib').Path, {(str(named.DEBIAN), str(tmp_path / 'made.hdf5'))!r})))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    with h5py.File(tmp_path / "made.hdf5") as made, h5py.File(EMBEDDED) as embedded:
        assert set(made) == set(embedded)
        assert all(np.array_equal(made[name][:], embedded[name][:]) for name in made)


def test_name_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", X)
    monkeypatch.delenv("MLPQ_DATASET", raising=False)
    assert mlpq.load_dataset(limit=200).name == "fashion-mnist-20k"
    monkeypatch.setenv("MLPQ_DATASET", str(tmp_path / "own.npy"))
    assert mlpq.load_dataset().d == 6
    assert mlpq.load_dataset("fashion-mnist-20k", limit=200).d == 784


def test_limit_recomputes_the_neighbours(ds: mlpq.Dataset) -> None:
    part = mlpq.load_dataset("fashion-mnist-20k", limit=500)
    assert np.array_equal(part.xb, ds.xb[:500])
    assert part.labels is not None
    assert len(part.labels) == 500
    assert np.array_equal(part.gt[:3, :20], reference.exact(part.xb, part.xq[:3], 20)[1])
    assert len(mlpq.load_dataset("fashion-mnist-20k", limit=10**9).xb) == 20_000


@pytest.mark.parametrize(
    ("name", "limit", "error", "message"),
    [
        (
            "fashion",
            None,
            ValueError,
            "unknown data set 'fashion': use one of fashion-mnist-20k, wordnet-20k, fashion-mnist, wordnet, glove, sift, gist",
        ),
        ("missing.npy", None, FileNotFoundError, "no data file 'missing.npy'"),
        ("fashion-mnist-20k", 0, ValueError, "limit must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_requests(name: str, limit: int | None, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mlpq.load_dataset(name, limit=limit)


def test_repr_is_one_line(ds: mlpq.Dataset) -> None:
    assert repr(ds) == "Dataset('fashion-mnist-20k', xb (20000, 784), xq (1000, 784), 'l2', k=100)"


def test_nothing_is_printed_unless_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", RNG.standard_normal((130, 3)))
    mlpq.load_dataset(tmp_path / "x.npy")
    assert capfd.readouterr() == ("", "")
    np.save(tmp_path / "y.npy", RNG.standard_normal((130, 3)))
    mlpq.load_dataset(tmp_path / "y.npy", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "exact neighbours: 100%" in err


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, ">i2"])
@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_own_arrays_hold_out_queries(dtype: Any, metric: str) -> None:
    x = RNG.integers(1, 100, (2000, 5)).astype(dtype)
    given = x.copy()
    sets = [mlpq.dataset(given, metric=metric, seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(given, x)
    ds = sets[0]
    assert (ds.name, ds.metric, ds.xb.shape, ds.xq.shape, ds.gt.shape) == (
        "yours",
        metric,
        (1800, 5),
        (200, 5),
        (200, 100),
    )
    assert np.array_equal(ds.xq, sets[1].xq)
    assert not np.array_equal(ds.xq, sets[2].xq)
    rows = np.random.default_rng(0).choice(2000, 200, replace=False)
    base, queries = np.delete(x, rows, axis=0).astype(float), x[np.sort(rows)].astype(float)
    if metric == "cosine":
        base, queries = (side / np.linalg.norm(side, axis=1)[:, None] for side in (base, queries))
    np.testing.assert_allclose(ds.xb, base, rtol=1e-6)
    np.testing.assert_allclose(ds.xq, queries, rtol=1e-6)
    D, I = mlpq.ground_truth(ds.xb, ds.xq, 100, metric="ip" if metric == "ip" else "l2")
    assert np.array_equal(ds.gt, I)
    assert np.array_equal(ds.distances, D)
    assert (ds.gt.dtype, ds.distances.dtype) == (np.int32, np.float32)


def test_own_arrays_with_queries(tmp_path: Path) -> None:
    ds = mlpq.dataset(X.tolist(), X[:3] + 1, name="mine")
    assert repr(ds) == "Dataset('mine', xb (120, 6), xq (3, 6), 'l2', k=100)"
    assert np.array_equal(ds.xb, X)
    assert np.array_equal(ds.gt, mlpq.ground_truth(X, X[:3] + 1, 100)[1])
    np.save(tmp_path / "x.npy", X)
    from_file, from_array = mlpq.load_dataset(tmp_path / "x.npy"), mlpq.dataset(X)
    for name in ("xb", "xq", "gt", "distances"):
        assert np.array_equal(getattr(from_file, name), getattr(from_array, name))


def test_what_hides_an_array_is_left_as_it_is() -> None:
    class Holder:
        def __init__(self) -> None:
            self.x = X.copy()

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.x

    for metric in ("l2", "cosine"):
        holder = Holder()
        mlpq.dataset(holder, metric=metric)
        assert np.array_equal(holder.x, X)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ({"xb": X[:9]}, ValueError, "'yours' holds 9 vectors; at least 10 are needed"),
        ({"xb": X, "xq": X[:, :5]}, ValueError, "base vectors have dimension 6, queries 5"),
        ({"xb": None}, TypeError, "xb must hold floats or integers"),
        ({"xb": X, "metric": "dot"}, ValueError, "metric must be one of 'l2', 'cosine', 'ip'; got 'dot'"),
        ({"xb": X, "name": 3}, TypeError, "name must be a str; got 3"),
        ({"xb": X, "seed": -1}, ValueError, "seed must be a whole number of at least 0; got -1"),
    ],
)
def test_bad_arrays(args: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mlpq.dataset(**args)


def write_idx(folder: Path, name: str, array: np.ndarray[Any, Any]) -> str:
    import hashlib

    content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
    (folder / name).write_bytes(gzip.compress(content))
    return hashlib.sha256(content).hexdigest()


def test_full_set_from_idx_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = RNG.integers(0, 256, (60, 28, 28), np.uint8), RNG.integers(0, 10, 60).astype(np.uint8)
    arrays = (images[:50], images[50:], labels[:50], labels[50:])
    digests = {name: write_idx(tmp_path, name, array) for name, array in zip(named.IDX_SHA256, arrays, strict=True)}
    monkeypatch.setenv("MLPQ_DATA_DIR", str(tmp_path))
    with pytest.raises(ValueError, match=r"has the wrong content: SHA-256 .*, expected c59f468a"):
        mlpq.load_dataset("fashion-mnist")
    monkeypatch.setattr(named, "IDX_SHA256", digests)
    ds = mlpq.load_dataset("fashion-mnist")
    assert np.array_equal(ds.xb, images[:50].reshape(50, 784))
    assert ds.query_labels is not None
    assert np.array_equal(ds.query_labels, labels[50:])
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="is not a whole gzip file"):
        mlpq.load_dataset("fashion-mnist")


def test_synthetic_is_seeded_and_clustered() -> None:
    one, two = (mlpq.synthetic(3000, 32, nq=40, n_clusters=10, intrinsic_dim=5, seed=s) for s in (0, 1))
    assert (one.xb.shape, one.xq.shape, one.gt.shape) == ((3000, 32), (40, 32), (40, 100))
    assert np.array_equal(one.xb, mlpq.synthetic(3000, 32, nq=40, n_clusters=10, intrinsic_dim=5).xb)
    assert not np.array_equal(one.xb, two.xb)
    assert np.array_equal(one.gt[:, :10], mlpq.ExactIndex(32).add(one.xb).search(one.xq, 10)[1])
    inertia = mlpq.KMeans(32, 10).train(one.xb).history[-1].inertia
    assert inertia < 0.75 * ((one.xb - one.xb.mean(axis=0)) ** 2).sum()
    with pytest.raises(ValueError, match="d must be a whole number of at least 1; got 0"):
        mlpq.synthetic(10, 0)


def test_synthetic_rows_do_not_depend_on_how_many_follow() -> None:
    few, many = (np.concatenate(list(mlpq.synthetic_chunks(n, 4))) for n in (synthetic.SYNTHETIC_BLOCK + 10, 40_000))
    assert np.array_equal(few, many[: len(few)])
    assert len(many) == 40_000
