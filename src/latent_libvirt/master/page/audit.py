# SPDX-License-Identifier: GPL-2.0-only
"""The audit log of the page: who asked for what, when, and what came of it.

It is ``vms-audit.log`` in the base directory of the master with the web UI, with a line of JSON for
each action. A thread writes it, since a disk may be slow. A file that cannot be written is reported
in the master's log, and stops no action.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.jobs.audit import append
from latent_libvirt.jobs.rate_limit import RateLimit
from latent_libvirt.timers import passed

log = Logger()

FILE: Final = "vms-audit.log"

LONGEST: Final = 200
"""Characters of what a user wrote."""

REFUSED_A_MINUTE: Final = 60
"""Lines about actions that were refused. What was done always has one."""

DONE: Final = "done"

LOOK: Final = 600.0
"""Seconds without a look at a screen after which the next one is another look."""


class PageAudit:
    """Writes the lines of one master."""

    def __init__(self, directory: Path, reactor: Any) -> None:
        self._path = directory / FILE
        self._reactor = reactor
        self._refused = RateLimit(REFUSED_A_MINUTE, partial(passed, reactor))
        self._lock = DeferredLock()

    def note(self, facts: dict[str, Any], outcome: str, why: str = "") -> None:
        """Note an action; never fails.

        :param facts: the user, where from, the pool, and what was wanted.
        :param outcome: ``done``, ``refused`` or ``failed``.
        """
        if outcome == "refused" and self._refused.wait(""):
            return
        when = datetime.fromtimestamp(self._reactor.seconds(), UTC)
        record = {"time": when.isoformat(timespec="milliseconds"), **facts, "outcome": outcome}
        if why:
            record["why"] = why
        text = json.dumps({name: _bounded(value) for name, value in record.items()}) + "\n"
        in_background(self._lock.run(self._write, text), f"{self._path} cannot be written")

    def _write(self, text: str) -> Any:
        threads = self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, threads, append, self._path, text)


class Looks:
    """Users that look at screens. A page asks every few seconds, and that is one look."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._until: dict[tuple[str, str], float] = {}

    def is_new(self, user: str, vm: str) -> bool:
        """Note that *user* looks at *vm*; return whether it is the first time for a while."""
        now = passed(self._reactor)
        self._until = {key: until for key, until in self._until.items() if until > now}
        is_known = (user, vm) in self._until
        self._until[user, vm] = now + LOOK
        return not is_known


def _bounded(value: Any) -> Any:
    return value[:LONGEST] if isinstance(value, str) else value
