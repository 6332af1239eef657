# SPDX-License-Identifier: GPL-2.0-only
"""Rule by which a new version of an image is accepted or withdrawn, without state.

The new version is withdrawn if its failures would be a rare chance with two equally good versions:
Fisher's exact test, one-sided, below :data:`RARE`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Final

RARE: Final = 0.005
"""Probability below which chance is no explanation. A trial is judged after each build, so a few in
a hundred trials of a version that is as good as the former one end wrongly."""

ENOUGH: Final = 20
"""Builds of the new version, after which it is accepted."""

PRIOR: Final = 10
"""Good starts that the former version is given in advance: it was in use. So three failed starts
withdraw a version that never starts, even if nothing else has started since."""


@dataclass(frozen=True)
class Tally:
    """What became of starts, or of builds."""

    good: int = 0
    bad: int = 0

    @property
    def all(self) -> int:
        """How many there were."""
        return self.good + self.bad

    def noted(self, *, good: bool) -> Tally:
        """Return the tally with one more."""
        return Tally(self.good + good, self.bad + (not good))

    def __str__(self) -> str:
        return f"{self.bad} of {self.all}"


def chance(new: Tally, old: Tally) -> float:
    """Return the probability that *new* has so many failures, or more, of those of both.

    That is with as many of each as there were, and all of them as likely to fail.
    """
    everything, failures = new.all + old.all, new.bad + old.bad
    ways = comb(everything, new.all)
    most = min(failures, new.all)
    worse = (
        comb(failures, bad) * comb(everything - failures, new.all - bad)
        for bad in range(new.bad, most + 1)
    )
    return sum(worse) / ways


@dataclass(frozen=True)
class Counts:
    """What was seen of both versions since the new one was first seen."""

    new_starts: Tally = Tally()
    old_starts: Tally = Tally()
    new_builds: Tally = Tally()
    old_builds: Tally = Tally()

    @property
    def defect(self) -> str:
        """Why the new version is clearly worse, in words, empty if it is not."""
        former = Tally(self.old_starts.good + PRIOR, self.old_starts.bad)
        if self.new_starts.bad and chance(self.new_starts, former) < RARE:
            return f"{self.new_starts} starts failed, with the former version {self.old_starts}"
        if self.new_builds.bad and chance(self.new_builds, self.old_builds) < RARE:
            return f"{self.new_builds} builds failed, with the former version {self.old_builds}"
        return ""

    @property
    def is_enough(self) -> bool:
        """Whether the new version has served long enough."""
        return self.new_builds.all >= ENOUGH

    def __str__(self) -> str:
        return f"{self.new_starts} starts and {self.new_builds} builds failed"
