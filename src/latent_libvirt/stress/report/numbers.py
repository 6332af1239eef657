# SPDX-License-Identifier: GPL-2.0-only
"""Percentiles and means of measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import quantiles


@dataclass(frozen=True)
class Spread:
    """Percentiles of some numbers; all are 0 if there were none."""

    count: int = 0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    most: float = 0.0

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Spread:
        """Return the percentiles of *numbers*."""
        ordered = sorted(numbers)
        if not ordered:
            return cls()
        p50, p95, p99 = (percentile(ordered, share) for share in (0.5, 0.95, 0.99))
        return cls(len(ordered), p50, p95, p99, ordered[-1])


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest number that at least that share of all numbers do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def mean(numbers: Iterable[float]) -> float:
    """Return the mean; 0 of nothing."""
    found = list(numbers)
    return sum(found) / len(found) if found else 0.0


@dataclass(frozen=True)
class Middle:
    """The middle of some numbers: the median and the quartiles."""

    count: int = 0
    median: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Middle:
        """Return the middle of *numbers*; all is 0 of nothing."""
        found = sorted(numbers)
        if len(found) < 2:  # noqa: PLR2004 - quantiles needs two
            return cls(len(found), *found * 3) if found else cls()
        low, median, high = quantiles(found, method="inclusive")
        return cls(len(found), median, low, high)

    @property
    def notch(self) -> float:
        """How far the median may be off: McGill's notch of a box plot, for 95 %.

        R. McGill and others, Variations of Box Plots, The American Statistician 32 (1978).
        """
        return 1.57 * (self.high - self.low) / math.sqrt(max(1, self.count))
