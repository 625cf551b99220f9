"""Processes of their own, each for one thing to measure: libraries do not meet, and memory is that of one thing alone.

The parent sends (command, arguments) through a pipe and waits; between two commands a child sleeps in `recv`. It dies
with its parent, however that ends.
"""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

import numpy as np

from mlpq._check import Array

Report = dict[str, Any]
PATIENCE = 2.0  # seconds for an idle process to end by itself


class Shared:
    """Arrays in one file without a name, which all processes map: held in memory once, and gone with the last of them.

    May be pickled while a child is spawned.
    """

    def __init__(self, **arrays: Array) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as this
        self._places: dict[str, tuple[str, tuple[int, ...], int]] = {}
        for name, array in arrays.items():
            self._file.seek(-(-self._file.tell() // mmap.PAGESIZE) * mmap.PAGESIZE)
            self._places[name] = (array.dtype.str, array.shape, self._file.tell())
            array.tofile(self._file)
        self._file.flush()

    def __getstate__(self) -> tuple[Any, ...]:
        return DupFd(self._file.fileno()), self._places

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._file, self._places = os.fdopen(state[0].detach(), "rb"), state[1]

    def close(self) -> None:
        """Let go of the file; those who have mapped it keep it."""
        self._file.close()

    def arrays(self) -> dict[str, Array]:
        """Return the arrays, read-only."""
        return {
            name: np.asarray(np.memmap(self._file, dtype, "r", offset, shape))
            for name, (dtype, shape, offset) in self._places.items()
        }


class LeftOut(Exception):
    """Something that cannot be had here: not installed, or not for this data."""


class Child:
    """The parent's side of one process.

    Args:
        name: for messages.
        make: called in the process before the first command; whose methods are the commands. Must be picklable.
    """

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(end, make), daemon=True)
        self.process.start()
        end.close()

    def ask(self, command: str, *arguments: Any) -> Report:
        """Return what the process answers.

        Raises:
            LeftOut: `make` raised ImportError or ValueError.
            RuntimeError: anything else went wrong, or the process died.
        """
        try:
            self.pipe.send((command, arguments))
            outcome, value = self.pipe.recv()
        except (EOFError, ConnectionError):
            self.process.join(1)
            raise RuntimeError(f"{self.name}: its process died (exit code {self.process.exitcode})") from None
        if outcome == "left out":
            raise LeftOut(value)
        if outcome == "failed":
            raise RuntimeError(f"{self.name} failed\n{value}")
        report: Report = value
        return report

    def stop(self) -> None:
        """End the process: an idle one ends with the pipe, a busy one is killed; it holds nothing worth keeping."""
        self.pipe.close()
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()


def _serve(pipe: Connection, make: Callable[[], Any]) -> None:
    """Answer the parent until it is gone: ("ok", result), ("left out", why) or ("failed", traceback)."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    made: Any = None
    while True:
        try:
            command, arguments = pipe.recv()
        except EOFError:
            return
        try:
            made = made or make()
            pipe.send(("ok", getattr(made, command)(*arguments)))
        except Exception as error:
            left_out = made is None and isinstance(error, ImportError | ValueError)
            pipe.send(("left out", str(error)) if left_out else ("failed", traceback.format_exc()))


def _die_with_parent() -> None:
    """Have Linux kill this process when its parent dies; elsewhere the end of the pipe ends it between two commands."""
    parent = multiprocessing.parent_process()
    if sys.platform == "linux" and parent is not None:
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent.pid:  # it died before that call
            os._exit(1)


def _status(name: str) -> int | None:
    """Return one of Linux's own counts of this process's memory, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def peak() -> int:
    """Return the most memory that was resident since `forget_peak`, or ever where that is not possible."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def resident() -> int:
    """Return the memory that is resident, after what was freed is given back."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc keeps freed blocks
        libc.malloc_trim(0)
    return _status("VmRSS") or peak()


def forget_peak() -> None:
    """Start the peak anew; Linux only."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
