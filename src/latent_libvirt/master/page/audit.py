# SPDX-License-Identifier: GPL-2.0-only
"""The audit log of the page: who asked for what, when, and what came of it.

It is ``vms-audit.log`` in the base directory of the master with the web UI, with a line of JSON for
each action. A client that is refused too often has a line a minute that says how often. A thread
writes the file, since a disk may be slow. A file that cannot be written is reported in the master's
log, and stops no action.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.jobs.audit import append
from latent_libvirt.jobs.rate_limit import ClientLimit, client_of
from latent_libvirt.master.page.rights import ANONYMOUS
from latent_libvirt.timers import passed

log = Logger()

FILE: Final = "vms-audit.log"

LONGEST: Final = 200
"""Characters of what a user wrote."""

REFUSED_A_MINUTE: Final = 60
"""Lines about refused actions of a user who is logged in, or of an address without a login.

What was done always has a line."""

ALL_REFUSED_A_MINUTE: Final = 600
"""Lines about refused actions of all users, and as many of all addresses."""

SUMMED_UP_AFTER: Final = 60.0
"""Seconds after which a line says how many refused actions of a client have none."""

MOST_SUMMED_UP: Final = 100
"""Clients that have such a line. All others have one together."""

_OTHERS: Final = "several others"

DONE: Final = "done"

LOOK: Final = 600.0
"""Seconds without a look at a screen after which the next one is another look."""


@dataclass
class _LeftOut:
    """Refused actions of a client that have no line."""

    user: str
    address: str
    count: int = 0


class PageAudit:
    """Writes the lines of one master."""

    def __init__(self, directory: Path, reactor: Any) -> None:
        self._path = directory / FILE
        self._reactor = reactor
        self._limits = {is_known: self._limit() for is_known in (False, True)}
        self._left_out: dict[str, _LeftOut] = {}
        self._lock = DeferredLock()

    def _limit(self) -> ClientLimit:
        clock = partial(passed, self._reactor)
        return ClientLimit(REFUSED_A_MINUTE, ALL_REFUSED_A_MINUTE, clock)

    def note(self, facts: dict[str, Any], outcome: str, why: str = "") -> None:
        """Note an action; never fails.

        :param facts: the user, where from, the pool, and what was wanted.
        :param outcome: ``done``, ``refused`` or ``failed``. An export is ``allowed`` first.
        """
        if outcome == "refused" and not self._has_room(facts):
            return
        self._add({**facts, "outcome": outcome, **({"why": why} if why else {})})

    def _has_room(self, facts: dict[str, Any]) -> bool:
        """Return whether a refused action has a line; count it if not."""
        user, address = str(facts.get("user")), str(facts.get("from"))
        is_known = user != ANONYMOUS
        client = user if is_known else client_of(address)
        if self._limits[is_known].lets_through(client):
            return True
        key = f"{is_known} {client}"
        if key not in self._left_out and len(self._left_out) >= MOST_SUMMED_UP:
            key, user, address = "", _OTHERS, _OTHERS
        if not self._left_out:
            self._reactor.callLater(SUMMED_UP_AFTER, self._sum_up)
        self._left_out.setdefault(key, _LeftOut(user, address)).count += 1
        return False

    def _sum_up(self) -> None:
        """Write how many refused actions of each client have no line."""
        found, self._left_out = self._left_out, {}
        for each in found.values():
            who = {"user": each.user, "from": each.address}
            self._add({**who, "outcome": "refused", "left_out": each.count})

    def _add(self, facts: dict[str, Any]) -> None:
        when = datetime.fromtimestamp(self._reactor.seconds(), UTC)
        record = {"time": when.isoformat(timespec="milliseconds"), **facts}
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
