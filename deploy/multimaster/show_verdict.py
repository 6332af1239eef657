# SPDX-License-Identifier: GPL-2.0-only
"""What a run of the show has come to: pure arithmetic on what was seen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Final

from rest import RETRY, SUCCESS, State

MOST_FAILOVER: Final = 15.0
"""Seconds from a master's death until others may run all its jobs, at most."""


@dataclass(frozen=True)
class Verdict:
    """The line that the show ends with.

    :param accepted: jobs that were started.
    :param finished: jobs that ended with success.
    :param lost: jobs that did not.
    :param doubled: jobs with more than one build that counts.
    :param failover_s: seconds from the master's death until others could run all its jobs.
    :param max_vms_seen: on the host, at any one moment.
    :param slots: of the host.
    """

    accepted: int
    finished: int
    lost: int
    doubled: int
    failover_s: float
    max_vms_seen: int
    slots: int

    @classmethod
    def of(
        cls, states: Iterable[State], *, failover: float, max_vms_seen: int, slots: int
    ) -> Verdict:
        """Count."""
        ends = [ends_of(state) for state in states]
        finished = sum(end == [SUCCESS] for end in ends)
        doubled = sum(len(end) > 1 for end in ends)
        return cls(
            accepted=len(ends),
            finished=finished,
            lost=len(ends) - finished - doubled,
            doubled=doubled,
            failover_s=round(failover, 1),
            max_vms_seen=max_vms_seen,
            slots=slots,
        )

    def faults(self, *, most_failover: float = MOST_FAILOVER) -> Iterator[str]:
        """Say what is not as it has to be.

        :param most_failover: seconds that :attr:`failover_s` may be.
        """
        if self.lost:
            yield f"{self.lost} jobs did not end with success"
        if self.doubled:
            yield f"{self.doubled} jobs have more than one result"
        if self.max_vms_seen > self.slots:
            yield f"{self.max_vms_seen} VMs ran at once on a host with {self.slots} slots"
        if self.failover_s > most_failover:
            yield f"others could run the dead master's jobs only after {self.failover_s} s"

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def ends_of(state: State) -> list[int | None]:
    """Return the results of all builds of a job that count, and of those that still run."""
    return [attempt.results for attempt in state.attempts if attempt.results != RETRY]
