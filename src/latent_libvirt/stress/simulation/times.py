# SPDX-License-Identifier: GPL-2.0-only
"""Times of simulated VMs, drawn around medians that ``docs/explanation/benchmarks.md`` has."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Literal

Start = Literal["resumed", "booted"]

SPREAD: Final = 0.15
"""Standard deviation of the times' logarithms: nine of ten are within 28 % of the median."""

DESTROY: Final = 0.21
"""Seconds of ``virDomainDestroy``."""


@dataclass(frozen=True)
class StartTimes:
    """Seconds of the phases of a start.

    :param define: of the call that starts the domain.
    :param boot: from then until the guest waits for an identity.
    :param assign: from the identity to the guest's answer.
    :param attach: from there until the worker connects.
    """

    define: float
    boot: float
    assign: float
    attach: float

    def drawn(self, random: Random) -> StartTimes:
        """Return times of one start, with these as medians."""
        return StartTimes(*(seconds * random.lognormvariate(0, SPREAD) for seconds in self.phases))

    @property
    def phases(self) -> tuple[float, float, float, float]:
        """All of them, in order."""
        return self.define, self.boot, self.assign, self.attach


MEDIANS: Final[dict[Start, StartTimes]] = {
    "resumed": StartTimes(define=0.40, boot=0.01, assign=0.22, attach=0.10),
    "booted": StartTimes(define=0.35, boot=9.54, assign=0.10, attach=0.06),
}
"""Of VMs that are resumed, and of those that boot."""
