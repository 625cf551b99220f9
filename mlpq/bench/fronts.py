"""Speed at equal recall: read along the Pareto fronts of two groups of points, never beyond the end of either."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from mlpq.judge.tuning import Row, pareto


class Reading(NamedTuple):
    """What a front answers at one recall.

    Attributes:
        recall: where it was read.
        below, above: the points of the front that it lies between; the same point twice where it lies on one, or where
            the front begins further right: its fastest point finds more than was asked.
    """

    recall: float
    below: Row
    above: Row

    @property
    def qps(self) -> float:
        """Queries per second: the logarithm is linear in recall from `below` to `above`."""
        return self._between(self.below["qps"], self.above["qps"])

    @property
    def rounds(self) -> list[float]:
        """Queries per second in every single round, from "seconds" and "nq" of the points."""
        # A record of an interrupted run has uneven numbers of rounds.
        pairs = zip(self.below["seconds"], self.above["seconds"], strict=False)
        return [self._between(self.below["nq"] / a, self.above["nq"] / b) for a, b in pairs]

    def _between(self, low: float, high: float) -> float:
        width = self.above["recall"] - self.below["recall"]
        share = (self.recall - self.below["recall"]) / width if width else 0.0
        return float(low ** (1 - share) * high**share)


class Comparison(NamedTuple):
    """Two fronts at equal recall; a side is None where its front ends before that recall.

    Attributes:
        recall: where both were read.
        ours, peers: what they answer there.
    """

    recall: float
    ours: Reading | None
    peers: Reading | None

    @property
    def ratio(self) -> float | None:
        """How many times the queries per second of the peers ours answers; None where a side is missing."""
        return self.ours.qps / self.peers.qps if self.ours and self.peers else None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the largest ratio that finer grids could show between the same points."""
        if not self.ours or not self.peers:
            return None
        least = self.ours.above["qps"] / self.peers.below["qps"]
        return least, self.ours.below["qps"] / self.peers.above["qps"]

    @property
    def rounds(self) -> tuple[float, float] | None:
        """The least and the largest ratio within one round."""
        if not self.ours or not self.peers:
            return None
        ratios = [a / b for a, b in zip(self.ours.rounds, self.peers.rounds, strict=False)]
        return min(ratios), max(ratios)


def at_recall(rows: Iterable[Row], recall: float) -> Reading | None:
    """Read the Pareto front of the rows at one recall, or return None where no row finds as much.

    Args:
        rows: of `read`, or others with "recall" and "qps".
        recall: from 0 to 1.

    Example:
        >>> at_recall([{"recall": 0.8, "qps": 900.0}, {"recall": 1.0, "qps": 100.0}], 0.9).qps
        300.0
    """
    front = sorted(pareto(rows, large=["recall", "qps"]), key=lambda row: (row["recall"], row["qps"]))
    after = bisect_left([row["recall"] for row in front], recall)
    if after == len(front):
        return None
    beside = after == 0 or front[after]["recall"] == recall
    return Reading(recall, front[after if beside else after - 1], front[after])


def at_equal_recall(ours: Iterable[Row], peers: Iterable[Row], recall: float) -> Comparison:
    """Compare the speeds of two groups of points at the same recall, each read along its own Pareto front.

    Between two points of a front the logarithm of queries per second is taken to be linear in recall. Left of a front its
    fastest point counts, which finds more than was asked; right of it, nothing.

    Args:
        ours, peers: rows of `read`, or others with "recall" and "qps"; `rounds` needs "seconds" and "nq", too.
        recall: from 0 to 1.

    Example:
        >>> graph = [{"recall": 0.8, "qps": 900.0}, {"recall": 1.0, "qps": 100.0}]
        >>> at_equal_recall([{"recall": 0.95, "qps": 600.0}], graph, 0.9).ratio
        2.0
    """
    return Comparison(recall, at_recall(ours, recall), at_recall(peers, recall))
