# SPDX-License-Identifier: GPL-2.0-only
"""Back-off: how long to wait after so many failures in a row."""

from __future__ import annotations

from dataclasses import dataclass

_MOST_DOUBLINGS = 60


@dataclass(frozen=True)
class Backoff:
    """Pauses of which each is twice as long as the one before.

    :param first: seconds after the first failure.
    :param longest: seconds.
    """

    first: float
    longest: float

    def after(self, failures: int) -> float:
        """Return the seconds to wait after that many failures in a row, at least one."""
        doublings = min(max(failures, 1) - 1, _MOST_DOUBLINGS)
        return min(self.longest, self.first * 2.0**doublings)
