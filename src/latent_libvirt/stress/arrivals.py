# SPDX-License-Identifier: GPL-2.0-only
"""Arrivals of jobs: pure functions from a number of jobs to the seconds at which they come.

All of them return exactly that many times, in order, from 0 to the length that was asked for. The
arrivals of a Poisson process, given their number, are independent draws from its rate; so they are
drawn like that.
"""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import Final, Literal

Kind = Literal["at-once", "poisson", "day", "bursts"]

DAY: Final = (2, 1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 19, 15, 17, 20, 19, 17, 13, 9, 7, 6, 5, 4, 3)
"""Relative rate of each hour of a working day, from midnight on."""


def arrivals(
    kind: Kind, count: int, *, during: float, random: Random, bursts: int = 1
) -> list[float]:
    """Return the seconds at which jobs arrive.

    :param during: seconds that arrivals are spread over.
    :param bursts: how many groups ``bursts`` has.
    """
    match kind:
        case "at-once":
            return [0.0] * count
        case "poisson":
            return sorted(random.uniform(0, during) for _ in range(count))
        case "day":
            return sorted(_in_a_day(random) * during for _ in range(count))
        case "bursts":
            return in_bursts(count, bursts, during)


def in_bursts(count: int, bursts: int, during: float) -> list[float]:
    """Return arrivals in groups at equal distances, whose sizes differ by one at most."""
    distance = during / max(1, bursts - 1)
    return [min(during, distance * (number * bursts // count)) for number in range(count)]


def _in_a_day(random: Random) -> float:
    """Return a moment of a day, from 0 to 1."""
    (hour,) = random.choices(range(len(DAY)), cum_weights=list(accumulate(DAY)))
    return (hour + random.random()) / len(DAY)
