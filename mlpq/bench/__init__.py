"""Benchmarks: `python -m mlpq.bench ratios|compare|sweep|scale`, and the reader of what `compare` records."""

from mlpq.bench.ratios import plain_search
from mlpq.bench.report import about, read
from mlpq.bench.setting import K, circumstances, levels

__all__ = ["K", "about", "circumstances", "levels", "plain_search", "read"]
