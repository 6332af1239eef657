# SPDX-License-Identifier: GPL-2.0-only
"""Tries of builders for which requests come: at once, and then no more often than Buildbot's.

Buildbot 4.3 tries builders when no request has come for a tenth of a second. That is most of what a
trivial job waits for, and with ten requests a second it does not try them at all. Here the first
request has its builder tried in the next turn of the reactor. The builders of those that follow are
tried together, a tenth of a second later. Buildbot still does so, too, and finds queues empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

INTERVAL: Final = 0.1
"""Seconds between two tries: what Buildbot waits for more requests."""


class PromptTries:
    """The tries of a distributor.

    :param distributor: Buildbot's; it merges what it is asked for while it is at work.
    """

    def __init__(self, distributor: Any, reactor: Any) -> None:
        self._distributor = distributor
        self._reactor = reactor
        self._wanted: set[int] = set()
        self._next: Any = None

    def hear(self, request: Mapping[str, Any]) -> None:
        """Have the builder of a request tried that waits from now on."""
        self._wanted.add(request["builderid"])
        if self._next is None:
            # Others who listen for the same message are to have heard it.
            self._next = self._reactor.callLater(0, self._try)

    def _try(self) -> None:
        self._next = None
        wanted, self._wanted = self._wanted, set()
        found = map(self._distributor.botmaster.getBuilderById, sorted(wanted))
        if names := [builder.name for builder in found if builder is not None]:
            self._next = self._reactor.callLater(INTERVAL, self._go_on)
            self._distributor.maybeStartBuildsOn(names)

    def _go_on(self) -> None:
        self._next = None
        if self._wanted:
            self._try()
