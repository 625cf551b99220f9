"""Explorers: figures with controls, alive in a notebook and in the rendered book. See `base.py`."""

from mlpq.widgets.base import Explorer
from mlpq.widgets.lloyd import Lloyd

EXPLORERS: tuple[type[Explorer], ...] = (Lloyd,)
__all__ = ["EXPLORERS", "Explorer", "Lloyd"]
