# SPDX-License-Identifier: GPL-2.0-only
"""Waiting for a slot, by Erlang's formula for a queue with several servers.

It takes arrivals as independent, and the lengths of jobs as exponential. Jobs of similar lengths
wait less, so its waits are bounds. Little's law gives the slots that are taken on average.
"""

from __future__ import annotations

import math
from typing import Final

MOST_BUSY: Final = 100_000
"""Slots that may be taken on average: it bounds the search for a number of slots."""


def has_to_wait(busy: float, slots: int) -> float:
    """Return the probability that a job has to wait, from 0 to 1.

    :param busy: slots that are taken on average.
    """
    if busy >= slots:
        return 1.0
    return _of_waiting(_blocked(busy, slots), busy, slots)


def wait_of(share: float, busy: float, slots: int, seconds: float) -> float:
    """Return the wait that this share of jobs does not exceed; infinite if slots do not suffice.

    :param seconds: that a job takes its slot for, on average.
    """
    if busy >= slots:
        return math.inf
    return _wait(has_to_wait(busy, slots), share, slots - busy, seconds)


def slots_for(busy: float, seconds: float, *, wait: float, share: float) -> int:
    """Return the fewest slots with which *share* of the jobs wait for *wait* seconds at most."""
    slots, blocked = 0, 1.0
    while True:
        slots += 1
        blocked = _next(blocked, busy, slots)
        if slots > busy:
            waits = _of_waiting(blocked, busy, slots)
            if _wait(waits, share, slots - busy, seconds) <= wait:
                return slots


def _wait(waits: float, share: float, free: float, seconds: float) -> float:
    """Return the wait at that share: those who wait do so for an exponential time."""
    rest = 1 - share
    return 0.0 if waits <= rest else math.log(waits / rest) * seconds / free


def _blocked(busy: float, slots: int) -> float:
    """Return Erlang's B, the probability that a job finds all slots taken if none may wait."""
    blocked = 1.0
    for number in range(1, slots + 1):
        blocked = _next(blocked, busy, number)
    return blocked


def _next(blocked: float, busy: float, slots: int) -> float:
    return busy * blocked / (slots + busy * blocked)


def _of_waiting(blocked: float, busy: float, slots: int) -> float:
    """Return Erlang's C from his B."""
    return blocked / (1 - busy / slots * (1 - blocked))
