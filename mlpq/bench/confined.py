"""A process within a limit of memory, whose reads from the disk are counted.

The limit is a control group of Linux's, version 1 or 2, whose files may usually be written by root alone. Files that are
mapped count towards it with what the kernel keeps of them. No limit of a process itself (`ulimit`) does that, so where
there are no such groups, no limit is set, and the record says so.
"""

from __future__ import annotations

import mmap
import os
import resource
from pathlib import Path

import numpy as np

from mlpq._check import Array
from mlpq.bench.child import resident

PAGE = 4096
GROUPS = Path("/sys/fs/cgroup")
V1, V2 = "memory.limit_in_bytes", "memory.max"
NO_LIMIT = "no limit set: control groups cannot be written here"


def confine(limit: int, name: str) -> str:
    """Put this process, with what it holds already, under a limit of bytes; return what was done, in words."""
    for kind, parent, file in (("v1", _own(), V1), ("v2", GROUPS, V2)):
        group = parent / name
        try:
            group.mkdir()
            (group / file).write_text(str(limit - resident()))  # what was taken before counts where it was taken
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError:
            if group.is_dir():
                release(name)
            continue
        return f"{limit:,} bytes, by a control group ({kind})"
    return NO_LIMIT


def _own() -> Path:
    """Return the folder of the group of version 1 that this process is in."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return GROUPS / "memory"
    own = next((line.split(":", 2)[2] for line in lines if ":memory:" in line), "/")
    return GROUPS / "memory" / own.strip("/")


def release(name: str) -> None:
    """Remove the group, of which all processes have ended."""
    for parent in (_own(), GROUPS):
        try:
            (parent / name).rmdir()
        except OSError:
            continue


class Counts:
    """What this process has read from the disk since it was made."""

    def __init__(self) -> None:
        self._bytes, self._faults = _read_bytes(), _faults()

    @property
    def bytes(self) -> int:
        """Bytes fetched from the disk, reading ahead included; 0 where the system does not tell."""
        return _read_bytes() - self._bytes

    @property
    def faults(self) -> int:
        """Times that this process had to wait for a page (major page faults)."""
        return _faults() - self._faults


def _read_bytes() -> int:
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


def forget(path: str | os.PathLike[str], mapped: mmap.mmap | None = None) -> None:
    """Have the system drop what it keeps of a file, and of this process's map of it; needs no rights beyond reading."""
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)  # a page that is mapped is not dropped
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Ahead:
    """Originals in a mapped file, of which all that are wanted are asked for at once, before the first is read.

    Stands in the place of `lists.originals`.
    """

    def __init__(self, vectors: np.memmap) -> None:
        self.vectors, self.dtype, self.shape = vectors, vectors.dtype, vectors.shape
        self.map: mmap.mmap = vectors.base  # type: ignore[assignment]
        self.start = vectors.offset % mmap.ALLOCATIONGRANULARITY  # of the array within the map

    def __getitem__(self, places: Array) -> Array:
        width = self.vectors.strides[0]
        for first in (self.start + np.asarray(places) * width).tolist():
            begin = first - first % mmap.PAGESIZE
            self.map.madvise(mmap.MADV_WILLNEED, begin, first + width - begin)
        return self.vectors[places]


def pages(places: Array, width: int, offset: int) -> int:
    """Return how many pages of 4,096 bytes hold the rows at some places, of `width` bytes, in a file from `offset` on."""
    first = offset + np.asarray(places) * width
    ends = zip((first // PAGE).tolist(), ((first + width - 1) // PAGE).tolist(), strict=True)
    return len({page for begin, last in ends for page in range(begin, last + 1)})
