# SPDX-License-Identifier: GPL-2.0-only
"""Limit of the rate at which a token may start jobs: a token bucket (pure; the clock is given)."""

from __future__ import annotations

import math
from collections.abc import Callable

_MINUTE = 60.0


class RateLimit:
    """Lets each name through so often in a minute, and as often at once.

    It holds for one master: behind several, as much more gets through.

    :param per_minute: ``None`` is no limit.
    :param clock: returns seconds that no step of a clock changes, see ``timers.passed``.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def wait(self, name: str) -> int:
        """Return 0 and count it; or the seconds, rounded up, until the next one gets through."""
        if self.per_minute is None:
            return 0
        # What is kept is when the bucket will be full again: each job takes it further away.
        now, each = self._clock(), _MINUTE / self.per_minute
        full_at = max(now, self._full_at.get(name, now)) + each
        if (excess := full_at - now - _MINUTE) > 1e-6:  # noqa: PLR2004 - clocks are floats
            return max(1, math.ceil(excess))
        self._full_at[name] = full_at
        return 0
