"""What all benchmarks share: k, the number of cells, and what a record says of its circumstances."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from mlpq.data.datasets import Dataset

K = 10
PEERS = ("hnswlib", "usearch", "scann", "scalable-vs")  # the extra `bench`


def levels(ds: Dataset) -> tuple[int, int]:
    """Return n_inner for cells of 600 vectors on average, and n_outer, its root."""
    n_inner = max(1, round(len(ds.xb) / 600))
    return n_inner, max(1, round(n_inner**0.5))


def circumstances(ds: Dataset, threads: int) -> dict[str, Any]:
    """Return what was measured, on which machine and with which versions; of the peers, those installed."""
    size = {"dataset": ds.name, "n": len(ds.xb), "nq": len(ds.xq), "d": ds.d}
    return size | machine(threads)


def machine(threads: int) -> dict[str, Any]:
    """Return the machine, the threads and the versions."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if "model name" in line] if info.is_file() else []
    processor = models[0].partition(": ")[2] if models else platform.processor()
    return {
        "threads": threads, "machine": f"{processor} ({platform.machine()}), {os.cpu_count()} cores",
        "python": platform.python_version(), "numpy": np.__version__, "faiss": faiss.__version__,
    } | {name: version for name in PEERS if (version := installed(name))}  # fmt: skip


def installed(name: str) -> str | None:
    """Return the version of a package, or None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
