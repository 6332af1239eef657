# SPDX-License-Identifier: GPL-2.0-only
"""Connections that have not logged in yet, and the choice of the one that is closed for another.

Many guests share one address: those of ``user`` networks all come from 127.0.0.1. So a limit never
refuses a new connection. It closes the one that has waited longest for its login, among those of
the address that has most. A worker logs in within moments, while an idle connection gets old. A
flood from a worker's address has to be quicker than its login to harm it.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger

from latent_libvirt.master.workers.port.descriptors import descriptor_limit

log = Logger()

MOST_WAITING: Final = 256
"""Connections that have not logged in, of all addresses. Fewer where the process may open few
files: an eighth of them, so that the rest is left to database, web and builds."""

MOST_WAITING_OF_ONE: Final = 128
"""The same, of one address."""

COMPLAIN_EVERY: Final = 60.0
"""Seconds between two lines of the log about connections that were closed."""

Close = Callable[[str], None]
"""The method that closes a connection, for a reason. It stands for the connection."""


class Door:
    """The connections that have not logged in yet, oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[Close, str] = {}
        self._unsaid = 0
        self._said_at = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, close: Close, address: str) -> None:
        """Take a connection; close another one if they are too many."""
        self._waiting[close] = address
        most = min(MOST_WAITING, descriptor_limit() // 8)
        if self._of(address) > MOST_WAITING_OF_ONE:
            self._oldest(address)("too many connections of one address wait for their login")
        if len(self._waiting) > most:
            (busiest, _), *_ = Counter(self._waiting.values()).most_common(1)
            self._oldest(busiest)("too many connections wait for their login")

    def leave(self, close: Close) -> None:
        """Forget a connection: it has logged in, or has gone."""
        self._waiting.pop(close, None)

    def complain(self, address: str, reason: str, now: float) -> None:
        """Log that a connection was closed, once a minute at most: a flood is not to fill disks."""
        self._unsaid += 1
        if now - self._said_at < COMPLAIN_EVERY:
            return
        log.warn(
            "worker port: {count} connections were closed since the last such line; the last, from "
            "{address}: {reason}",
            count=self._unsaid,
            address=address,
            reason=reason,
        )
        self._unsaid, self._said_at = 0, now

    def _of(self, address: str) -> int:
        return sum(other == address for other in self._waiting.values())

    def _oldest(self, address: str) -> Close:
        return next(close for close, where in self._waiting.items() if where == address)


door = Door()
"""That of all ports of this process: they share its memory and its open files."""


def peer(transport: Any) -> str:
    """Return where a connection comes from: an address, or the network that one IPv6 host has."""
    host = str(getattr(transport.getPeer(), "host", "a local socket"))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6 and not address.is_loopback:  # noqa: PLR2004
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return host
