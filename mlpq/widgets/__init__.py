"""Explorers: figures with controls, alive in a notebook and in the rendered book. See `base.py`."""

from mlpq.widgets.arena import Arena
from mlpq.widgets.base import Explorer
from mlpq.widgets.bytes import Bytes
from mlpq.widgets.codebook import Codebook
from mlpq.widgets.codec import Codec
from mlpq.widgets.drift import Drift
from mlpq.widgets.frontier import Frontier
from mlpq.widgets.kernel import Kernel
from mlpq.widgets.lab import Lab
from mlpq.widgets.lloyd import Lloyd
from mlpq.widgets.meaning import Meaning
from mlpq.widgets.opq import Opq
from mlpq.widgets.probe import Probe
from mlpq.widgets.rotation import Rotation
from mlpq.widgets.search import Search
from mlpq.widgets.table import Table
from mlpq.widgets.welcome import Welcome

EXPLORERS: tuple[type[Explorer], ...] = (
    Welcome,
    Lloyd,
    Probe,
    Codec,
    Table,
    Codebook,
    Search,
    Meaning,
    Frontier,
    Bytes,
    Opq,
    Rotation,
    Arena,
    Kernel,
    Drift,
)
__all__ = [
    "EXPLORERS",
    "Arena",
    "Bytes",
    "Codebook",
    "Codec",
    "Drift",
    "Explorer",
    "Frontier",
    "Kernel",
    "Lab",
    "Lloyd",
    "Meaning",
    "Opq",
    "Probe",
    "Rotation",
    "Search",
    "Table",
    "Welcome",
]
