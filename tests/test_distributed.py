"""One index in many shards: what a single one finds, whatever is killed, lost, full or at fault meanwhile."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

import mlpq
from mlpq import distributed
from mlpq.distributed import building, plan, work

Array = npt.NDArray[Any]
RNG = np.random.default_rng(0)
TURN = RNG.standard_normal((24, 24))
X = (RNG.standard_normal((5000, 24)) @ TURN).astype(np.float32)
XQ = (RNG.standard_normal((150, 24)) @ TURN).astype(np.float32)
HOW: dict[str, Any] = {"n_inner": 20, "n_outer": 4, "m": 6, "nbits": 5}
WIDTH = 4 + 4  # bytes of a code, 6 x 5 bits, and its id


def single(x: Array, index: mlpq.MultiLevelPQ) -> mlpq.MultiLevelPQ:
    return copy(index).train(x[distributed.training_rows(index, len(x))]).add(x)


def agree(sh: distributed.Shards, one: mlpq.MultiLevelPQ, xq: Array = XQ) -> None:
    """Code for code, and id for id."""
    loaded = [mlpq.MultiLevelPQ.load(path) for path in sh.paths]
    ids = np.concatenate([shard.lists.ids for shard in loaded])
    assert np.array_equal(np.sort(ids), np.arange(one.ntotal))
    rows = one.lists.rows_of(ids.astype(np.int64))
    assert np.array_equal(one.lists.rows[rows], np.concatenate([shard.lists.rows for shard in loaded]))
    cells = [shard.lists.cells_of(np.arange(shard.ntotal)) for shard in loaded]
    assert np.array_equal(one.lists.cells_of(rows), np.concatenate(cells))
    for nprobe, rerank in ((1, 0), (5, 0), (5, 3), (99, 2))[: 4 if one.keep_originals else 2]:
        D, I = sh.search(xq, 10, nprobe=nprobe, rerank=rerank)
        D1, I1 = one.search(xq, 10, nprobe=nprobe, rerank=rerank)
        assert np.array_equal(I, I1)
        np.testing.assert_allclose(D, D1, rtol=1e-5, atol=1e-4)
        assert (D.dtype, I.dtype, sh.missing) == (D1.dtype, I1.dtype, [])


def three_parts(folder: Path) -> list[Any]:
    """Two files, of which one is of half precision, and an array: the vectors of X, rounded where a file is."""
    np.save(folder / "a.npy", X[:2000])
    np.save(folder / "b.npy", X[2000:2100].astype(np.float16))
    return [folder / "a.npy", str(folder / "b.npy"), X[2100:]]


WHOLE = np.concatenate([X[:2000], X[2000:2100].astype(np.float16).astype(np.float32), X[2100:]])


@pytest.mark.parametrize("by", ["part", "cell"])
@pytest.mark.parametrize(
    "how",
    [
        {"keep_originals": True},
        {"metric": "cosine", "keep_originals": True, "codebooks": "inner"},
        {"metric": "ip", "keep_originals": True},
        {"pca_dim": 12},
        {"codec": mlpq.RaBitQ(24)},
    ],
    ids=["l2", "cosine", "ip", "pca", "codec"],
)
def test_finds_what_one_index_finds(tmp_path: Path, by: building.By, how: dict[str, Any]) -> None:
    own = HOW if "codec" not in how else {"n_inner": 20, "n_outer": 4}
    index = mlpq.MultiLevelPQ(24, **own, **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PIECE", 700 * (index.code_size + 4 + 96 * index.keep_originals))
        sh = distributed.build(three_parts(tmp_path), index, tmp_path / "built", by=by)
    assert not index.is_trained
    assert [len(sh.paths), sh.ntotal] == [3 + 1 + 5, 5000]
    agree(sh, single(WHOLE, index))
    agree(distributed.load(tmp_path / "built"), single(WHOLE, index), XQ[:1])
    left = {path.name for path in (tmp_path / "built").iterdir()}
    assert left == {"plan.json", "model.h5", ".lock", *sh.plan.shards}


def test_trains_on_a_sample_of_all_parts(tmp_path: Path) -> None:
    index = mlpq.MultiLevelPQ(24, 2, 1, m=6, nbits=2)
    rows = distributed.training_rows(index, 5000)
    assert len(rows) == 4 * 256
    assert np.histogram(rows, [0, 2000, 2100, 5000])[0].min() > 5
    assert len(distributed.training_rows(mlpq.MultiLevelPQ(24, 2, 1, m=6, nbits=2, codebooks="inner"), 5000)) == 2048
    agree(distributed.build(three_parts(tmp_path), index, tmp_path / "built"), single(WHOLE, index))


@pytest.mark.parametrize("suffix", [".fvecs", ".bvecs", ".fbin", ".u8bin", ".i8bin", ".hdf5"])
def test_files_of_all_kinds(tmp_path: Path, suffix: str) -> None:
    x = np.rint(10 * X).clip(-100, 100) if suffix in (".fvecs", ".fbin", ".hdf5", ".i8bin") else np.abs(np.rint(X))
    path = write_vectors(tmp_path / f"x{suffix}", x)
    index = mlpq.MultiLevelPQ(24, **HOW, keep_originals=True)
    agree(distributed.build([path], index, tmp_path / "built"), single(x.astype(np.float32), index))
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes([23]) * 4 + content[8:] if "bin" in suffix else content[:-1])
    with pytest.raises(ValueError, match="cannot be read as vectors"):
        distributed.build([path], index, tmp_path / "other")


def test_rows_of_another_dimension(tmp_path: Path) -> None:
    path = write_vectors(tmp_path / "x.fvecs", X)
    with path.open("r+b") as file:
        file.seek(2000 * (4 + 4 * 24))
        file.write(np.int32(23).tobytes())
    with pytest.raises(ValueError, match=r"vector 2000 has another dimension than the first \(24\)"):
        distributed.build([path], mlpq.MultiLevelPQ(24, **HOW), tmp_path / "built")
    assert mlpq.load_dataset(path, limit=2000).d == 24


def test_a_part_is_read_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large it is, no more of it counts as memory of a worker than is encoded at a time."""
    index, read = mlpq.MultiLevelPQ(24, **HOW), list[Array]()
    monkeypatch.setattr(work, "READ", 300 * 4 * 24)
    monkeypatch.setattr(mlpq.MultiLevelPQ, "add", counting(mlpq.MultiLevelPQ.add, read))
    np.save(tmp_path / "x.npy", X)
    sh = distributed.build([tmp_path / "x.npy", X[:700]], index, tmp_path / "built")
    assert [len(x) for x in read] == [300] * 16 + [200, 300, 300, 100]
    assert len({id(x.base) for x in read[:17]}) > 1, "the file is mapped once"
    agree(sh, single(np.concatenate([X, X[:700]]), index))
    hole = X[:700].copy()
    hole[650] = np.nan
    with pytest.raises(ValueError, match=r"parts\[1\], rows 600 to 700: xb must be finite"):
        distributed.build([X, hole], mlpq.MultiLevelPQ(24, 2, 1, m=6, nbits=2), tmp_path / "other")


def counting(add: Any, read: list[Array]) -> Any:
    def counted(index: Any, x: Array, ids: Any = None) -> Any:
        read.append(x)
        return add(index, x, ids)

    return counted


def test_chunked_files_say_what_to_do(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("train", data=X, chunks=(100, 24))
    with pytest.raises(ValueError, match=r"train is stored in chunks, which cannot be mapped: save it as \.npy"):
        distributed.build([tmp_path / "x.h5"], mlpq.MultiLevelPQ(24, **HOW), tmp_path / "built")


def write_vectors(path: Path, x: Array) -> Path:
    kinds = {"f": "<f4", "b": "u1", "u": "u1", "i": "i1"}
    if path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            file["train"] = x.astype(np.float32)
        return path
    values = x.astype(kinds[path.suffix[1]])
    if path.suffix.endswith("vecs"):
        rows = np.empty(len(x), np.dtype([("d", "<i4"), ("x", values.dtype, (24,))]))
        rows["d"], rows["x"] = 24, values
        rows.tofile(path)
    else:
        path.write_bytes(np.array(x.shape, "<u4").tobytes() + values.tobytes())
    return path


def test_parts_that_come_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, index = three_parts(tmp_path), mlpq.MultiLevelPQ(24, **HOW, keep_originals=True)
    distributed.build(parts[:2], index, tmp_path / "built")
    trained = (tmp_path / "built" / "model.h5").read_bytes()
    done: list[int] = []
    monkeypatch.setattr(building, "encoded", lambda *task: done.append(work.encoded(*task)))
    sh = distributed.build(parts, index, tmp_path / "built")
    assert done == [2900]
    assert (tmp_path / "built" / "model.h5").read_bytes() == trained
    agree(sh, copy(index).train(WHOLE[:2100]).add(WHOLE))
    distributed.build(parts, index, tmp_path / "routed", by="cell")
    with pytest.raises(ValueError, match="whose parts differ: 3 there and 4 here"):
        distributed.build([*parts, X], index, tmp_path / "routed", by="cell")


# ---- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["part", "cell"])
def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: building.By) -> None:
    """Every time one more file can be written."""
    monkeypatch.setattr(plan, "PIECE", 1000 * WIDTH)
    index, write, written, room = mlpq.MultiLevelPQ(24, **HOW), mlpq.storage.write, [], 0

    def full(path: Path, *what: Any) -> None:
        if len(written) == room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        write(path, *what)

    monkeypatch.setattr(mlpq.storage, "write", full)
    for room in range(6 if by == "part" else 11):
        with pytest.raises(OSError, match="No space left"):
            distributed.build([X], index, tmp_path, by=by)
        assert len(written) == room
    room += 1
    agree(distributed.build([X], index, tmp_path, by=by), single(X, index))
    assert len({str(path) for path in written}) == len(written), "something was done twice"


BUILD = """
import sys, numpy as np, mlpq
from mlpq import distributed
from mlpq.distributed import plan
plan.PIECE = 250 * 8
index = mlpq.MultiLevelPQ(24, 20, 4, m=6, nbits=5)
print("ready", flush=True)
distributed.build([sys.argv[1]], index, sys.argv[2], by=sys.argv[3])
"""


@pytest.mark.parametrize("by", ["part", "cell"])
def test_killed_at_any_moment(tmp_path: Path, by: building.By) -> None:
    np.save(tmp_path / "x.npy", X)
    command = [sys.executable, "-c", BUILD, str(tmp_path / "x.npy"), str(tmp_path / "built"), by]
    rng, kills = np.random.default_rng(0), 0
    for _ in range(4):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.6))
            kills += process.poll() is None
            process.kill()
    assert kills > 0
    index = mlpq.MultiLevelPQ(24, **HOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "PIECE", 250 * 8)
        sh = distributed.build([tmp_path / "x.npy"], index, tmp_path / "built", by=by)
    agree(sh, single(X, index))
    assert not list((tmp_path / "built").glob(".*.part")) + list((tmp_path / "built").glob("piece*"))


def test_killed_when_all_was_routed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shards were made of is removed by the next build."""
    monkeypatch.setattr(plan, "PIECE", 1000 * WIDTH)
    with monkeypatch.context() as patch:
        patch.setattr(building, "_clear", lambda *_: None)
        distributed.build([X], mlpq.MultiLevelPQ(24, **HOW), tmp_path, by="cell")
    assert len(list(tmp_path.glob("piece*"))) == 5
    agree(distributed.build([X], index := mlpq.MultiLevelPQ(24, **HOW), tmp_path, by="cell"), single(X, index))
    assert not list(tmp_path.glob("piece*"))


def test_shards_that_are_lost(tmp_path: Path) -> None:
    parts, index = three_parts(tmp_path), mlpq.MultiLevelPQ(24, **HOW)
    sh = distributed.build(parts, index, tmp_path / "built")
    Path(sh.paths[0]).unlink()
    Path(sh.paths[1]).write_bytes(b"damaged")
    one = single(WHOLE, index)
    one.remove(np.arange(2100))
    _, I = sh.search(XQ, 10, nprobe=5)
    assert np.array_equal(I, one.search(XQ, 10, nprobe=5)[1])
    assert sh.missing == [str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]
    distributed.build(parts, index, tmp_path / "built")
    sh.search(XQ, 10)
    assert sh.missing == [str(tmp_path / "b.npy")]  # it is there, and of no use


def test_routed_queries_go_only_where_their_cells_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PIECE", 500 * WIDTH)
    sh = distributed.build([X], mlpq.MultiLevelPQ(24, **HOW), tmp_path, by="cell")
    sizes = [mlpq.MultiLevelPQ.load(path).ntotal for path in sh.paths]
    assert len(sizes) == 10
    assert max(sizes) < 1200
    asked = sum(len(rows) for rows in sh._wanted(XQ, 1))
    assert asked == len(XQ)
    Path(sh.paths[3]).unlink()
    _, I = sh.search(XQ, 10, nprobe=20)
    assert sh.missing == ["shard-00003.h5"]
    assert (I >= 0).all()


def bad(parts: Any = X, index: Any = None, **how: Any) -> dict[str, Any]:
    parts = [parts] if isinstance(parts, np.ndarray) else parts
    return {"parts": parts, "index": index or mlpq.MultiLevelPQ(24, **HOW), **how}


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    (bad(X[:, :3]), ValueError, r"parts\[0\] must have shape \(n, 24\); got shape \(5000, 3\)"),
    (bad([X, np.full((3, 24), "a")]), TypeError, r"parts\[1\] must hold floats or integers"),
    (bad(["nowhere.npy"]), FileNotFoundError, "no data file .*nowhere.npy"),
    (bad("x.npy"), TypeError, "parts must be a list of files or arrays; got str"),
    (bad([]), ValueError, "parts must hold vectors; there are none"),
    (bad([X[:0]]), ValueError, "parts must hold vectors; there are none"),
    (bad(X[:10]), ValueError, "xt must hold at least"),
    (bad(by="row"), ValueError, "by must be one of 'part', 'cell'; got 'row'"),
    (bad(index=mlpq.KMeansIndex(24, 3)), TypeError, "index must be a MultiLevelPQ; got KMeansIndex"),
    (bad(index=mlpq.MultiLevelPQ(24, **HOW).train(X)), RuntimeError, "index must not be trained"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_bad_input(tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        distributed.build(folder=tmp_path / "built", **arguments)


def test_nan_among_what_is_not_trained_on(tmp_path: Path) -> None:
    index = mlpq.MultiLevelPQ(24, 2, 1, m=6, nbits=2)
    hole, first = X[2000:].copy(), X[:2000]
    hole[np.setdiff1d(np.arange(2000, 5000), distributed.training_rows(index, 5000))[0] - 2000] = np.nan
    with pytest.raises(ValueError, match=r"parts\[1\], rows 0 to 3000: xb must be finite .* in 1 of 3000 rows"):
        distributed.build([first, hole], index, tmp_path)


def test_another_build_is_not_gone_on_with(tmp_path: Path) -> None:
    parts = three_parts(tmp_path)
    distributed.build(parts, mlpq.MultiLevelPQ(24, **HOW), tmp_path / "built")
    for change, message in (
        ({"index": mlpq.MultiLevelPQ(24, **HOW | {"m": 8})}, "settings differ: m is 6 there and 8 here"),
        ({"parts": parts[:2]}, "parts differ: 3 there and 2 here"),
        ({"parts": [parts[0], parts[1], X[2101:]]}, r"parts differ: parts\[2\] is"),
        ({"by": "cell"}, "by differ: 'part' there and 'cell' here"),
    ):
        with pytest.raises(ValueError, match=message):
            distributed.build(**bad(parts) | change, folder=tmp_path / "built")
    np.save(parts[0], X[:2000] + 1)
    with pytest.raises(ValueError, match=r"parts\[0\] is"):
        distributed.build(**bad(parts), folder=tmp_path / "built")
    with building.alone(tmp_path / "built"), pytest.raises(ValueError, match="another build is at work in"):
        distributed.build(**bad(parts), folder=tmp_path / "built")
    with pytest.raises(FileNotFoundError, match="nothing was built there"):
        distributed.load(tmp_path)
    (tmp_path / "built" / "plan.json").write_text("{}")
    with pytest.raises(ValueError, match="is not the plan of a build"):
        distributed.load(tmp_path / "built")


# ---- on a cluster ------------------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[Any]:
    """Two workers, each a process."""
    dask = pytest.importorskip("dask.distributed", reason="needs the extra dask")
    with (
        dask.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=None) as cluster,
        dask.Client(cluster) as client,
    ):
        yield client


def dies_once(source: Any, piece: plan.Piece, model: str, path: str) -> int:
    """Encode as a worker that is killed at one of the pieces, once its file is half written."""
    mark = Path(path).with_name("died")
    if piece.first == 1500 and not mark.exists():
        mark.touch()
        Path(path).with_name(".half.part").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return work.encoded(source, piece, model, path)


@pytest.mark.parametrize("by", ["part", "cell"])
def test_a_cluster_finds_the_same_though_a_worker_dies(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch, by: building.By
) -> None:
    monkeypatch.setattr(plan, "PIECE", 500 * (WIDTH + 96))
    monkeypatch.setattr(building, "encoded", dies_once)
    index = mlpq.MultiLevelPQ(24, **HOW, keep_originals=True)
    sh = distributed.build(three_parts(tmp_path), index, tmp_path / "built", client, by=by)
    assert (tmp_path / "built" / "died").exists()
    one = single(WHOLE, index)
    agree(sh, one)
    for worker in list(client.scheduler_info()["workers"])[:1]:  # one more dies; its shards are read by the others
        client.run(os.kill, os.getpid(), signal.SIGKILL, workers=[worker], on_error="ignore", nanny=False, wait=False)
    agree(sh, one)
    shutil.move(sh.paths[0], tmp_path / "lost")
    client.restart()
    sh.search(XQ, 10, nprobe=20)
    assert len(sh.missing) == 1


def test_the_scheduler_dies(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written stays, and this process goes on alone."""
    monkeypatch.setattr(plan, "PIECE", 250 * WIDTH)
    parts, index = three_parts(tmp_path), mlpq.MultiLevelPQ(24, **HOW)

    def stops(client: Any, work_: Any, tasks: Any) -> Iterator[Any]:
        for number, _ in work.done(client, work_, tasks):
            if number == 4:
                client.cluster.close()
            yield number, _

    monkeypatch.setattr(building, "done", stops)
    with pytest.raises(Exception, match=r"."):
        distributed.build(parts, index, tmp_path / "built", client)
    monkeypatch.setattr(building, "done", work.done)
    assert 0 < len(list((tmp_path / "built").glob("shard*"))) < 21
    agree(distributed.build(parts, index, tmp_path / "built"), single(WHOLE, index))


def test_the_only_worker_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build waits for the one that takes its place."""
    monkeypatch.setattr(plan, "PIECE", 500 * WIDTH)
    monkeypatch.setattr(building, "encoded", dies_once)
    index = mlpq.MultiLevelPQ(24, **HOW)
    dask = pytest.importorskip("dask.distributed", reason="needs the extra dask")
    how = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": None}
    with dask.LocalCluster(**how) as cluster, dask.Client(cluster) as client:
        sh = distributed.build([X], index, tmp_path / "built", client)
        assert (tmp_path / "built" / "died").exists()
        agree(sh, single(X, index))


def test_a_client_without_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PATIENCE", 0.1)
    dask = pytest.importorskip("dask.distributed", reason="needs the extra dask")
    distributed.build([X], mlpq.MultiLevelPQ(24, **HOW), tmp_path)
    with dask.LocalCluster(n_workers=0, dashboard_address=":0") as cluster, dask.Client(cluster) as client:
        with pytest.raises(RuntimeError, match="the client has no workers"):
            distributed.load(tmp_path, client).search(XQ, 10)
        with pytest.raises(RuntimeError, match="the client has no workers"):
            distributed.build([X], mlpq.MultiLevelPQ(24, **HOW), tmp_path / "other", client)
