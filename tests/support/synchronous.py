# SPDX-License-Identifier: GPL-2.0-only
"""A reactor without threads, for what would be handed over from one."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock


class Reactor(Clock):
    """A clock that runs what comes from threads when it is told to go on."""

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        """Have *function* called by the next :meth:`advance`."""
        self.callLater(0, function, *args)
