# SPDX-License-Identifier: GPL-2.0-only
"""Takeover of schedulers and change sources by a scheduler master that stands by.

Buildbot runs each scheduler and change source on one master at a time. The others of the same name
try every five minutes whether it is free (``ClusteredBuildbotService``). Here they try as soon as a
master is gone. The web UI and the job API need no takeover, since each scheduler master serves
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Takeover:
    """Lets the schedulers and change sources of *master* try now."""

    def __init__(self, master: Any) -> None:
        self._master = master

    async def take_over(self) -> None:
        """Claim what no other master has any more."""
        for service in self._waiting():
            await service._activityPoll()  # noqa: SLF001 - what its own timer does

    def _waiting(self) -> Iterator[Any]:
        for manager in (self._master.scheduler_manager, self._master.change_svc):
            for service in manager:
                if getattr(service, "active", None) is False:
                    yield service
