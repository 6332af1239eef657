# SPDX-License-Identifier: GPL-2.0-only
"""The phases of one VM's life, each timed."""

from __future__ import annotations

import time
from collections.abc import Callable


class Timeline:
    """Seconds spent in each phase, one after the other.

    :param clock: a monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._ended: dict[str, float] = {}
        self._current: tuple[str, float] | None = None

    def enter(self, phase: str) -> None:
        """End the current phase, if there is one, and begin *phase*; entered again, it adds up."""
        self.finish()
        self._current = (phase, self._clock())

    def finish(self) -> None:
        """End the current phase."""
        if self._current is not None:
            phase, began = self._current
            self._ended[phase] = self._ended.get(phase, 0.0) + self._clock() - began
            self._current = None

    @property
    def age(self) -> float:
        """Seconds since the timeline was made."""
        return self._clock() - self._began

    @property
    def current(self) -> tuple[str, float] | None:
        """The current phase and the seconds since it began, if there is one."""
        if self._current is None:
            return None
        phase, began = self._current
        return phase, self._clock() - began

    @property
    def phases(self) -> dict[str, float]:
        """The phases that have ended, in order, with their seconds."""
        return dict(self._ended)

    def __str__(self) -> str:
        return ", ".join(f"{phase} {seconds:.2f} s" for phase, seconds in self._ended.items())
