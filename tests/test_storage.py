"""Saved indexes: the same results, the bytes that were counted, and one clear error for anything else."""

import json
import os
import shutil
import stat
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import mlpq
from mlpq import storage
from mlpq.data import named

modes = pytest.mark.skipif(os.name == "nt", reason="Windows keeps no modes")


@pytest.fixture(scope="module")
def index() -> mlpq.MultiLevelPQ:
    x = np.random.default_rng(0).standard_normal((600, 8))
    return mlpq.MultiLevelPQ(8, 5, 2, m=4, nbits=4, keep_originals=True).train(x).add(x)


@pytest.fixture
def saved(index: mlpq.MultiLevelPQ, tmp_path: Path) -> Path:
    index.save(tmp_path / "index.h5")
    return tmp_path / "index.h5"


@pytest.mark.parametrize("owner", ["global", "outer", "inner"])
def test_loaded_index_gives_the_same_and_goes_on(
    ds: mlpq.Dataset, trained: dict[str, mlpq.MultiLevelPQ], owner: str, tmp_path: Path
) -> None:
    index = trained[owner]
    index.save(tmp_path / "index.h5")
    loaded = mlpq.MultiLevelPQ.load(tmp_path / "index.h5")
    assert (loaded.codebooks, loaded.seed, loaded.keep_originals) == (owner, 0, True)
    for options in ({"nprobe": 3}, {"nprobe": 3, "rerank": 2}, {"nprobe": 5, "n_outer_probe": 2}):
        for ours, theirs in zip(
            index.search(ds.xq, 10, **options),
            loaded.search(ds.xq, 10, **options),
            strict=True,
        ):
            assert np.array_equal(ours, theirs)
    loaded.add(ds.xq)
    assert loaded.ntotal == index.ntotal + len(ds.xq)


@pytest.mark.parametrize("owner", ["global", "outer", "inner"])
def test_counted_bytes_are_the_file_size(trained: dict[str, mlpq.MultiLevelPQ], owner: str, tmp_path: Path) -> None:
    path = tmp_path / "index.h5"
    trained[owner].save(path)
    assert path.stat().st_size == pytest.approx(trained[owner].memory().total, rel=0.05)
    bare = mlpq.MultiLevelPQ.load(path)
    bare.keep_originals, bare.lists.originals = False, bare.lists.originals[:, :0]
    bare.save(path)
    assert path.stat().st_size == pytest.approx(bare.memory().total, rel=0.05)


def test_saving_over_a_file_replaces_it_and_leaves_nothing_beside_it(index: mlpq.MultiLevelPQ, saved: Path) -> None:
    index.save(saved)
    assert [path.name for path in saved.parent.iterdir()] == ["index.h5"]
    assert mlpq.MultiLevelPQ.load(saved).ntotal == 600


def test_failed_saving_leaves_the_old_file(
    index: mlpq.MultiLevelPQ, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(h5py.File, "create_dataset", fail)
    with pytest.raises(OSError, match="disk full"):
        index.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["index.h5"]


def test_saving_through_a_link_keeps_the_link(index: mlpq.MultiLevelPQ, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target, link, second = tmp_path / "data" / "index.h5", tmp_path / "link.h5", tmp_path / "second.h5"
    link.symlink_to(Path("data") / "index.h5")
    second.symlink_to(link)
    for path in (link, second, link):  # the first time it leads nowhere yet
        target.unlink(missing_ok=True)
        index.save(path)
        assert link.is_symlink()
        assert second.is_symlink()
        assert not target.is_symlink()
        assert mlpq.MultiLevelPQ.load(target).ntotal == mlpq.MultiLevelPQ.load(path).ntotal == 600
        index.save(path)
        assert [file.name for file in target.parent.iterdir()] == ["index.h5"]
    assert {file.name for file in tmp_path.iterdir()} == {"data", "link.h5", "second.h5"}


def test_links_that_lead_nowhere(index: mlpq.MultiLevelPQ, tmp_path: Path) -> None:
    for name, to in {"a": "b", "b": "a", "c": "no such folder/index.h5"}.items():
        (tmp_path / name).symlink_to(to)
    for name in ("a", "c"):
        with pytest.raises(OSError, match=r"symbolic links|No such file"):
            index.save(tmp_path / name)
    assert all((tmp_path / name).is_symlink() for name in "abc")
    assert len(list(tmp_path.iterdir())) == 3


@modes
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
def test_a_file_keeps_its_mode(index: mlpq.MultiLevelPQ, saved: Path, mode: int) -> None:
    saved.chmod(mode)
    index.save(saved)
    assert stat.S_IMODE(saved.stat().st_mode) == mode
    link = saved.parent / "link.h5"
    link.symlink_to(saved)
    index.save(link)
    assert stat.S_IMODE(saved.stat().st_mode) == mode


@modes
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_that_the_umask_says(
    index: mlpq.MultiLevelPQ, tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        index.save(tmp_path / "index.h5")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "index.h5").stat().st_mode) == mode


@modes
def test_what_others_may_not_read_they_may_not_read_meanwhile(saved: Path) -> None:
    saved.chmod(0o600)
    with storage.replacing(saved) as part:
        assert stat.S_IMODE(part.stat().st_mode) == 0o600
        assert part.parent == saved.parent
        part.write_text("new")
    assert saved.read_text() == "new"


def test_a_folder_that_may_not_be_written(index: mlpq.MultiLevelPQ, saved: Path) -> None:
    before = saved.read_bytes()
    saved.parent.chmod(0o500)
    try:
        if os.access(saved.parent, os.W_OK):  # the superuser may
            index.save(saved)
        else:
            with pytest.raises(PermissionError):
                index.save(saved)
        assert saved.read_bytes() == before
        assert [path.name for path in saved.parent.iterdir()] == ["index.h5"]
    finally:
        saved.parent.chmod(0o700)


def test_no_such_file_and_no_such_folder(index: mlpq.MultiLevelPQ, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no index file .*missing"):
        mlpq.MultiLevelPQ.load(tmp_path / "missing.h5")
    with pytest.raises(FileNotFoundError):
        index.save(tmp_path / "missing" / "index.h5")


def test_foreign_files_are_refused(saved: Path, tmp_path: Path) -> None:
    text, other = tmp_path / "text.h5", tmp_path / "other.h5"
    text.write_text("not an index")
    with h5py.File(other, "w") as file:
        file["train"] = np.zeros((3, 3))
    for path in (text, other, named.EMBEDDED / "fashion-mnist-20k.hdf5"):
        with pytest.raises(ValueError, match="is not a usable mlpq index file"):
            mlpq.MultiLevelPQ.load(path)


@pytest.mark.parametrize("part", [k / 20 for k in range(20)])
def test_truncated_files_are_refused(saved: Path, part: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match="is not a usable mlpq index file"):
        mlpq.MultiLevelPQ.load(saved)


def change(file: h5py.File, **settings: Any) -> None:
    """Write other settings; None leaves one out."""
    changed = json.loads(file.attrs[storage.FORMAT]) | settings
    kept = {name: value for name, value in changed.items() if value is not None}
    file.attrs[storage.FORMAT] = np.bytes_(json.dumps(kept))


DAMAGE = {
    "another version": lambda f: change(f, version=99),
    "an invalid setting": lambda f: change(f, m=3),
    "a setting of another type": lambda f: change(f, nbits="four"),
    "settings that are no JSON": lambda f: f.attrs.__setitem__(storage.FORMAT, np.bytes_("{")),
    "settings of variable length": lambda f: f.attrs.__setitem__(storage.FORMAT, f.attrs[storage.FORMAT].decode()),
    "a setting that is none": lambda f: change(f, colour="red"),
    "a missing seed": lambda f: change(f, seed=None),
    "a missing setting": lambda f: change(f, nbits=None),
    "a missing array": lambda f: f.__delitem__("codes"),
    "an array in chunks": lambda f: (
        data := f["codes"][:],
        f.__delitem__("codes"),
        f.create_dataset("codes", data=data, chunks=True),
    ),
    "a digest that is not there": lambda f: f["codes"].attrs.__delitem__("sha256"),
    "other codes than were saved": lambda f: f["codes"].__setitem__((0, 0), f["codes"][0, 0] ^ 1),
    "a group for an array": lambda f: (f.__delitem__("codes"), f.create_group("codes")),
    "an id out of range": lambda f: f["ids"].__setitem__(0, 600),
    "an id twice": lambda f: f["ids"].__setitem__(0, f["ids"][1]),
    "falling offsets": lambda f: f["list_offsets"].__setitem__(1, 599),
    "a codebook that is not there": lambda f: f["codebook_of_cell"].__setitem__(0, 77),
    "an outer cluster that is not there": lambda f: f["inner_to_outer"].__setitem__(0, -1),
    "NaN": lambda f: f["inner_centroids"].__setitem__((0, 0), np.nan),
    "a wrong shape": lambda f: (f.__delitem__("codes"), f.create_dataset("codes", data=np.zeros((600, 3), np.uint8))),
    "a wrong dtype": lambda f: (f.__delitem__("ids"), f.create_dataset("ids", data=np.arange(600, dtype=np.int32))),
    "a size beyond the file": lambda f: (f.__delitem__("codes"), f.create_dataset("codes", (10**13, 2), np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_inconsistent_files_are_refused(saved: Path, damage: str) -> None:
    with h5py.File(saved, "r+") as file:
        DAMAGE[damage](file)
    with pytest.raises(ValueError, match="is not a usable mlpq index file"):
        mlpq.MultiLevelPQ.load(saved)


def test_flipped_bits_are_noticed(index: mlpq.MultiLevelPQ, saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    read = 0
    for position in range(0, len(content), 37):
        content[position] ^= 1 << position % 8
        saved.write_bytes(content)
        content[position] ^= 1 << position % 8
        try:
            loaded = mlpq.MultiLevelPQ.load(saved)
        except ValueError as error:
            assert f"{str(saved)!r} is not a usable mlpq index file" in str(error)  # noqa: PT017
        else:  # a byte that nothing uses
            read += 1
            assert all(np.array_equal(a, loaded._arrays()[name]) for name, a in index._arrays().items())
    assert read < 0.3 * len(range(0, len(content), 37))


def test_sizes_are_not_believed(saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        del file["codes"]
        file.create_dataset("codes", (10**12, 2), np.uint8, chunks=(1000, 2), compression="gzip")
    tracemalloc.start()
    with pytest.raises(ValueError, match="codes says 2000000000000 bytes and holds 0"):
        mlpq.MultiLevelPQ.load(saved)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_a_copy_of_the_file_is_enough(saved: Path, tmp_path: Path) -> None:
    shutil.move(saved, tmp_path / "elsewhere.h5")
    assert mlpq.MultiLevelPQ.load(tmp_path / "elsewhere.h5").ntotal == 600
