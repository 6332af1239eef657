# SPDX-License-Identifier: GPL-2.0-only
"""What would be done in threads, or in many turns of the reactor, done when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from twisted.internet.task import Clock


class Reactor(Clock):
    """A clock that runs what comes from threads when it is told to go on."""

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        """Have *function* called by the next :meth:`advance`."""
        self.callLater(0, function, *args)


def all_of(steps: Iterator[None]) -> None:
    """Do all steps at once."""
    for _step in steps:
        pass
