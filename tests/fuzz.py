"""Damaged files for every reader: `python -m tests.fuzz 600` looks for ten minutes; the tests look for seconds.

Each file is read in a process of its own, with little memory, and killed if it does not end, so that a crash is seen and not shared.
"""

import contextlib
import gzip
import hashlib
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import hypothesis
import numpy as np
from hypothesis import strategies as st

import mlpq
from mlpq.data import named, readers

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (80, 6)).astype(np.float32)
SPARE_MEMORY = 1 << 30  # bytes: far more than any of these files may ask for
SECONDS = 120  # of a busy machine, its start included; a file takes milliseconds
VALUES = [0, 1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


class Edit(NamedTuple):
    """What is done to a file at a place, which is a fraction of its length."""

    kind: str
    place: float
    value: int


EDITS = st.lists(
    st.builds(
        Edit,
        st.sampled_from(["flip", "write 1", "write 4", "write 8", "cut", "drop", "repeat"]),
        st.one_of(st.floats(0, 1), st.floats(0, 0.05)),  # headers stand at the beginning
        st.one_of(st.sampled_from(VALUES), st.integers(0, 255)),
    ),
    min_size=1,
    max_size=6,
)


def edited(content: bytes, edits: list[Edit]) -> bytes:
    data = bytearray(content)
    for kind, place, value in edits:
        at = min(int(place * len(data)), len(data) - 1)
        if at < 0:
            break
        if kind == "flip":
            data[at] ^= 1 << value % 8
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + value % 64]
        elif kind == "repeat":
            data[at:at] = data[at : at + value % 64]
        else:
            size = int(kind[-1])
            data[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")
    return bytes(data)


def write_hdf5(path: Path, **options: Any) -> None:
    D, I = mlpq.ground_truth(X, X[:7] + 1, 100)
    arrays = {"train": X, "test": X[:7] + 1, "neighbors": I.astype(np.int32), "distances": np.sqrt(D)}
    labels = {"train_labels": np.arange(80) % 10, "test_labels": np.arange(7)}
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = "euclidean"
        for name, array in (arrays | labels).items():
            file.create_dataset(name, data=array, **options)


def write_vecs(path: Path, item: str) -> None:
    np.array([(6, row) for row in X], [("d", "<i4"), ("x", item, (6,))]).tofile(path)


def write_bin(path: Path, item: str) -> None:
    path.write_bytes(np.array(X.shape, "<u4").tobytes() + X.astype(item).tobytes())


def write_angular(path: Path) -> None:
    D, I = mlpq.ground_truth(X, X[:7] + 1, 80, metric="cosine")
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = "angular"  # of variable length: it lies in the heap
        file["train"], file["test"], file["neighbors"], file["distances"] = X, X[:7] + 1, I, D / 2


def write_bare_angular(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["train"], file["test"], file.attrs["distance"] = X, X[:7] + 1, "angular"


def write_index(path: Path, **options: Any) -> None:
    mlpq.MultiLevelPQ(6, 4, 2, nbits=3, keep_originals=True, **options).train(X).add(X).save(path)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "rows.npy": lambda path: np.save(path, X),
    "columns.npy": lambda path: np.save(path, np.asfortranarray(X.astype(">f8"))),
    "stored.npz": lambda path: np.savez(path, xb=X, xq=X[:5]),
    "deflated.npz": lambda path: np.savez_compressed(path, xb=X, xq=X[:5]),
    "x.fvecs": lambda path: write_vecs(path, "<f4"),
    "x.bvecs": lambda path: write_vecs(path, "u1"),
    "x.fbin": lambda path: write_bin(path, "<f4"),
    "x.u8bin": lambda path: write_bin(path, "u1"),
    "x.i8bin": lambda path: write_bin(path, "i1"),
    "contiguous.hdf5": write_hdf5,
    "angular.hdf5": write_angular,
    "bare.hdf5": write_bare_angular,
    "deflated.hdf5": lambda path: write_hdf5(path, compression="gzip", chunks=True),
    "plain.index": lambda path: write_index(path, m=3),
    "reduced.index": lambda path: write_index(path, m=2, pca_dim=4, codebook_dtype="uint8"),
    "x.gz": lambda path: path.write_bytes(gzip.compress(bytes([0, 0, 8, 2, 0, 0, 0, 80, 0, 0, 0, 6]) + X.astype("u1").tobytes())),
}  # fmt: skip


def search(path: Path, mmap: bool) -> list[bytes]:
    index = mlpq.MultiLevelPQ.load(path, mmap=mmap)
    assert index.ntotal == len(X)
    return [] if mmap else [array.tobytes() for array in index._arrays().values()]


def read(path: Path) -> object:
    """Read the file as its name says. What an index holds, and what a digest vouches for, is returned whole."""
    if path.suffix == ".index":
        search(path, mmap=True)
        return search(path, mmap=False)
    if path.suffix == ".gz":
        return readers.read_idx(path, SHA256).tobytes()
    if path.suffix == ".hdf5":
        with contextlib.suppress(ValueError):  # of a download, whose message names the address
            named._check_hdf5(path)
    ds = mlpq.load_dataset(path)
    assert np.isfinite(ds.xb).all()
    assert ds.gt.max() < len(ds.xb)
    return None


SHA256 = hashlib.sha256(bytes([0, 0, 8, 2, 0, 0, 0, 80, 0, 0, 0, 6]) + X.astype("u1").tobytes()).hexdigest()


def serve(questions: Connection, folder: Path, read: Callable[[Path], object]) -> None:
    """Read each file that is named, and say how that ended."""
    named.cache_folder = lambda: folder / "cache"
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + SPARE_MEMORY,) * 2)
    while True:
        path = questions.recv()
        try:
            questions.send(("read", read(path)))
        except ValueError as error:
            questions.send(("refused" if str(path) in str(error) else "nameless", str(error)))
        except BaseException:
            questions.send(("failed", traceback.format_exc()))


class Reader:
    """A process that reads files, replaced when it dies or takes too long."""

    def __init__(self, folder: Path, read: Callable[[Path], object] = read) -> None:
        self.folder, self.read = folder, read
        self.start()

    def start(self) -> None:
        self.questions, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=serve, args=(theirs, self.folder, self.read), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, path: Path) -> tuple[str, Any]:
        self.questions.send(path)
        try:
            if self.questions.poll(SECONDS):
                return self.questions.recv()
        except EOFError:
            self.process.join()
            exit_code = self.process.exitcode
            self.start()
            return "died", f"exit code {exit_code}"
        self.stop()
        self.start()
        return "too slow", f"more than {SECONDS} s"

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def looker(name: str, reader: Reader, examples: int) -> Callable[[], None]:
    """Return a search for an edit of the file `name` that is neither read nor refused."""
    seed = reader.folder / f"whole-{name}"
    if not seed.exists():
        WRITERS[name](seed)
    content = seed.read_bytes()
    outcome, expected = reader.ask(seed)
    assert outcome == "read", expected

    @hypothesis.settings(
        max_examples=examples, deadline=None, database=None, derandomize=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(EDITS)
    def look(edits: list[Edit]) -> None:
        path = reader.folder / name
        path.write_bytes(edited(content, edits))
        outcome, detail = reader.ask(path)
        counts[name, outcome] += 1
        assert outcome in ("read", "refused"), detail
        if outcome == "read":
            assert detail == expected, "damage was not noticed"

    return look


counts: Counter[tuple[str, str]] = Counter()


def main(seconds: float) -> None:
    end, number = time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(Path(folder))
        while time.monotonic() < end:
            for name in WRITERS:
                number += 1
                try:
                    hypothesis.seed(number)(looker(name, reader, 300))()
                except AssertionError:
                    traceback.print_exc()
        reader.stop()
    for (name, outcome), count in sorted(counts.items()):
        print(f"{name:18} {outcome:10} {count:8,}")


if __name__ == "__main__":
    main(float(sys.argv[1]))
