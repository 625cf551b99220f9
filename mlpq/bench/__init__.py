"""Benchmarks: `python -m mlpq.bench ratios|compare|sweep|scale|...`; what `compare` recorded, at equal recall."""

from mlpq.bench.fronts import at_equal_recall, at_recall
from mlpq.bench.ratios import plain_search
from mlpq.bench.report import about, read
from mlpq.bench.setting import K, circumstances, levels

__all__ = ["K", "about", "at_equal_recall", "at_recall", "circumstances", "levels", "plain_search", "read"]
