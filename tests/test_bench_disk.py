"""`python -m mlpq.bench disk`: sets are grown by their rule, reads are counted right, a build is killed, a run goes on."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlpq
from mlpq.bench import confined, disk
from mlpq.bench.__main__ import main
from mlpq.bench.confined import Ahead, confine, pages
from mlpq.bench.store import load
from mlpq.bench.versions import SHIFTS, grown, mixed, shifted
from tests.conftest import ROOT
from tests.resumed import resumed

FILE = ROOT / "book" / "recorded" / "disk.json"
COMMAND = ["disk", "--datasets", "wordnet-20k", "--size", "40000000", "--memory", "600000000", "--queries", "20"]
COMMAND += ["--runs", "1", "--target", "0.8", "--quiet"]
linux = pytest.mark.skipif(sys.platform != "linux", reason="what is read is counted by Linux")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted, and went on."""
    folder = tmp_path_factory.mktemp("disk")
    command = [*COMMAND, "--output", str(folder / "x.json"), "--folder", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "CODES", (16, 32))
        resumed(disk, command, folder / "x.json", after=2, left=5)
    assert [path.name for path in folder.iterdir()] == ["x.json"], "its files are removed"
    return folder / "x.json"


@linux
def test_rows_say_what_was_read(record: Path) -> None:
    rows = {(row["m"], row["way"]): row for row in disk.rows(str(record))}
    assert rows.keys() == {(16, "advised"), (16, "ahead"), *((32, way) for way in disk.WAYS)}
    for (_, way), row in rows.items():
        assert row["recall"] >= 0.8
        assert row["reads"] == 10 * row["r"]
        assert row["pages"] >= row["reads"] / 2  # a page holds two texts and a half
        assert row["cold"]["p50"] <= row["cold"]["p99"]
        fetched = row["cold"]["kB"] * 1000 / confined.PAGE
        if fetched == 0:
            continue  # a file system in memory, or one that does not tell
        assert row["warm"]["kB"] <= row["row"]["kB"] <= row["cold"]["kB"]
        if way.startswith("plain"):
            assert fetched >= row["pages"] / 2
        else:
            assert fetched == pytest.approx(row["pages"], rel=0.01)


@linux
def test_a_build_is_killed_and_loses_nothing(record: Path) -> None:
    for built in load(record)["builds"].values():
        assert built["before_kill"] == built["kept"]
        assert built["kept"] >= 1
        assert 0 < built["anonymous"] < 600_000_000


@linux
def test_report_shows_every_row(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["disk", "--report", "--output", str(record)])
    assert sum(line.startswith("| wordnet-20k") for line in capsys.readouterr().out.splitlines()) == 7


def test_nonsense_gets_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["disk", "--datasets", "fashion-mnist-20k", "--size", str(10**10), "--queries", "1", "--quiet"]
    with pytest.raises(SystemExit):
        main([*command, "--output", str(tmp_path / "x.json"), "--folder", str(tmp_path)])
    assert "fashion-mnist-20k has 81 shifts, 1,270,080,000 bytes; asked for 10,000,000,000" in capsys.readouterr().err
    (tmp_path / "y.json").write_text('{"about": {}, "rows": {}}')
    with pytest.raises(SystemExit):
        main(["disk", "--report", "--output", str(tmp_path / "y.json")])
    assert "is not a record of `disk`" in capsys.readouterr().err


# ---- the sets ------------------------------------------------------------------------------------------------------------


def test_shifts_of_an_image() -> None:
    image = np.zeros((1, 10, 10), np.float32)
    image[0, 5, 3] = 7
    version = shifted(image.reshape(1, 100))
    assert SHIFTS[0] == (0, 0)
    assert len(set(SHIFTS)) == 81
    for number, (down, right) in enumerate(SHIFTS):
        moved = version(number).reshape(10, 10)
        assert moved.dtype == np.uint8
        expected = [(5 + down, 3 + right)] if 3 + right >= 0 else []
        assert [tuple(place) for place in np.argwhere(moved == 7).tolist()] == expected


def test_mixing_keeps_means_and_covariances() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([centre + rng.standard_normal((2000, 3)) * [1, 2, 0.5] for centre in ([0, 0, 0], [90, 0, 0])])
    x = x.astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlpq.bench.versions.GROUP", 2000)
        version = mixed(x, "l2")
    y = version(1)
    assert version(0) is x
    assert np.array_equal(y, version(1))
    assert not np.allclose(y, version(2))
    for some in (slice(2000), slice(2000, 4000)):
        assert np.abs(y[some].mean(axis=0) - x[some].mean(axis=0)).max() < 0.15
        np.testing.assert_allclose(np.cov(y[some].T), np.cov(x[some].T), atol=0.35)
    assert np.square(y - x).sum(axis=1).min() > 0
    unit = mixed(x / np.linalg.norm(x, axis=1, keepdims=True), "cosine")(1)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)


def test_neighbours_are_exact_over_all_files(tmp_path: Path) -> None:
    base = grown("wordnet-20k", 40_000_000, 5, 10, tmp_path)
    x = np.concatenate([np.load(path) for path in base.files])
    assert (base.n, len(base.files)) == (40_000, 2)
    assert np.array_equal(mlpq.ground_truth(x, base.xq, 10, metric="cosine")[1], base.gt)
    rows = np.array([39_999, 0, 20_000, 5, 5])
    assert np.array_equal(base.take(rows), x[rows])


# ---- reading -------------------------------------------------------------------------------------------------------------


def test_pages() -> None:
    assert pages(np.array([0, 4]), 784, 0) == 1
    assert pages(np.array([5]), 784, 0) == 2  # bytes 3,920 to 4,703
    assert pages(np.array([5, 0, 6]), 784, 0) == 2
    assert pages(np.array([0]), 784, 4000) == 2
    assert pages(np.array([0]), 10_000, 0) == 3
    assert pages(np.array([], int), 784, 0) == 0


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="not on this system")
def test_originals_that_are_asked_for_at_once_are_the_same(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((3000, 24)).astype(np.float32)
    index = mlpq.MultiLevelPQ(24, 8, 2, m=6, nbits=4, keep_originals=True).train(x).add(x)
    index.save(tmp_path / "x.h5")
    mapped = mlpq.MultiLevelPQ.load(tmp_path / "x.h5", mmap=True)
    mapped.lists.originals = Ahead(mapped.lists.originals)  # type: ignore[arg-type, assignment]
    for some in (x[:1], x[:50]):
        D, I = index.search(some, 5, nprobe=3, rerank=4)
        D_mapped, I_mapped = mapped.search(some, 5, nprobe=3, rerank=4)
        assert np.array_equal(I, I_mapped)
        assert np.array_equal(D, D_mapped)


HUNGRY = """
import sys
from mlpq.bench.confined import confine, release
print(confine(300_000_000, sys.argv[1]), flush=True)
held = bytearray(b"1") * 600_000_000
print("held", flush=True)
"""


@linux
def test_a_limit_holds_or_the_record_says_that_there_is_none() -> None:
    name = f"mlpq-disk-test-{os.getpid()}"
    run = subprocess.run([sys.executable, "-c", HUNGRY, name], capture_output=True, text=True)
    confined.release(name)
    said, *held = run.stdout.splitlines()
    assert said == confined.NO_LIMIT if held else said.startswith("300,000,000 bytes, by a control group")
    assert not (confined._own() / name).exists()


@pytest.mark.parametrize(("kind", "file"), [("v1", confined.V1), ("v2", confined.V2)])
def test_groups_of_both_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, file: str) -> None:
    """On folders that stand for the system's."""
    own, root = tmp_path / "memory" / "me", tmp_path
    if kind == "v1":
        own.mkdir(parents=True)
    monkeypatch.setattr(confined, "GROUPS", root)
    monkeypatch.setattr(confined, "_own", lambda: own)
    assert confine(10**10, "x") == f"10,000,000,000 bytes, by a control group ({kind})"
    group = (own if kind == "v1" else root) / "x"
    assert 10**9 < int((group / file).read_text()) < 10**10
    assert (group / "cgroup.procs").read_text() == str(os.getpid())
    monkeypatch.setattr(confined, "GROUPS", tmp_path / "nowhere")
    monkeypatch.setattr(confined, "_own", lambda: tmp_path / "nowhere")
    assert confine(10**10, "x") == confined.NO_LIMIT


def test_the_record_of_the_book_is_of_what_the_chapter_says() -> None:
    record = load(FILE)
    assert record["about"]["size"] >= 3_800_000_000
    assert record["about"]["memory"] < record["about"]["size"] / 3
    assert {row["limit"] for row in record["rows"].values()} == {"1,000,000,000 bytes, by a control group (v1)"}
    for name, facts in record["sets"].items():
        rows = [row for row in disk.rows(str(FILE)) if row["dataset"] == name]
        assert len(rows) == len(disk.WAYS) + 2 * (len(disk.CODES) - 1)
        assert all(row["file"] > facts["bytes"] * 0.99 for row in rows)
        assert all(row["recall"] > record["about"]["target"] - 0.001 for row in rows if row["queries"] == facts["nq"])
