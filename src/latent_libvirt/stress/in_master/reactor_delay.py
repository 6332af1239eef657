# SPDX-License-Identifier: GPL-2.0-only
"""Event-loop delay of the process that this runs in: how late its timers fire."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet import reactor as _reactor

from latent_libvirt.stress import clock

reactor: Any = _reactor

INTERVAL: Final = 0.05
"""Seconds between two timers: a loop that is held for that long is seen."""

EVERY: Final = 1.0
"""Seconds that a line is about."""


class ReactorDelay:
    """Measures until the process ends.

    :param write: receives a line of JSON for each second, with its newline.
    """

    def __init__(self, write: Callable[[str], object], clock: Any = reactor) -> None:
        self._write = write
        self._clock = clock
        self._delays: list[float] = []
        self._due = self._line_due = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._line_due = self._clock.seconds() + EVERY
        self._next()

    def _next(self) -> None:
        self._due = self._clock.seconds() + INTERVAL
        self._clock.callLater(INTERVAL, self._fired)

    def _fired(self) -> None:
        now = self._clock.seconds()
        self._delays.append(now - self._due)
        if now >= self._line_due:
            self._write(line(self._delays))
            self._delays = []
            self._line_due = now + EVERY
        self._next()


def line(delays: list[float]) -> str:
    """Return a line about the delays of the last second."""
    mean, most = sum(delays) / len(delays), max(delays)
    return json.dumps({"at": clock.now(), "mean": round(mean, 6), "max": round(most, 6)}) + "\n"


def measure_into(path: Path) -> None:
    """Measure, and write what was measured into a file."""
    file = path.open("a", buffering=1)
    reactor.callWhenRunning(ReactorDelay(file.write).start)
