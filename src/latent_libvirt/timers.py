# SPDX-License-Identifier: GPL-2.0-only
"""Timers that go by the time that passes, whatever becomes of the clock.

Twisted notes for each timer the time of day at which it is due. When the clock steps forward by an
hour, the deadlines of all boots are over at once; when it steps back, timers are an hour late. Here
the reactor notices a step whenever it looks at the clock, and moves all timers with it: ours,
Buildbot's and Twisted's own. The time of day itself stays what the clock says, since Buildbot
writes it to its database.

What is kept as a moment instead of a timer is compared with :func:`passed`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.base import DelayedCall, ReactorBase
from twisted.logger import Logger
from twisted.python.runtime import seconds as time_of_day

log = Logger()

SMALLEST_STEP: Final = 1.0
"""Seconds. Less is what it takes to read two clocks, and does no harm."""


def passed(reactor: Any) -> float:
    """Return seconds of a clock that nobody sets; that of the test, if *reactor* is a test's."""
    return time.monotonic() if isinstance(reactor, ReactorBase) else float(reactor.seconds())


def cancel(timer: Any) -> None:
    """Cancel a timer of the reactor, if there is one that has not fired."""
    if timer is not None and timer.active():
        timer.cancel()


def install(reactor: Any) -> None:
    """Let the timers of *reactor* follow steps of the clock, if it is the clock that it goes by."""
    goes_by_the_clock = getattr(reactor, "seconds", None) is time_of_day
    if isinstance(reactor, ReactorBase) and goes_by_the_clock:
        seconds = _Seconds(reactor)
        reactor.seconds = seconds
        run = reactor.runUntilCurrent
        reactor.runUntilCurrent = lambda: seconds.during(run)  # type: ignore[method-assign]


class _Seconds:
    """The time of day; who asks for it moves the timers if the clock has been set."""

    def __init__(self, reactor: ReactorBase) -> None:
        self._reactor = reactor
        self._ahead = time.time() - time.monotonic()
        self._runs_timers = False
        self._to_move: list[tuple[DelayedCall, float]] = []

    def __call__(self) -> float:
        now = time.time()
        ahead = now - time.monotonic()
        step = ahead - self._ahead
        if abs(step) >= SMALLEST_STEP:
            self._ahead = ahead
            self._has_stepped(step)
        return now

    def during(self, run_timers: Callable[[], None]) -> None:
        """Let the reactor run the timers that are due."""
        self._runs_timers = True
        try:
            run_timers()
        finally:
            self._runs_timers = False
            moving, self._to_move = self._to_move, []
            _move(moving)

    def _has_stepped(self, step: float) -> None:
        calls: list[Any] = list(self._reactor.getDelayedCalls())
        moving = [(call, step) for call in calls]
        if step < 0 and self._runs_timers:
            # It runs what is due by the old clock: what was moved back now would be due as well.
            self._to_move += moving
        else:
            _move(moving)
        # It may be about to sleep until what was the next timer.
        self._reactor.wakeUp()
        log.warn(
            "the clock was set {direction} by {seconds:.0f} s; timers go by the time that passes",
            direction="forward" if step > 0 else "back",
            seconds=abs(step),
        )


def _move(calls: list[tuple[DelayedCall, float]]) -> None:
    for call, step in calls:
        if call.active():
            call.delay(step)
