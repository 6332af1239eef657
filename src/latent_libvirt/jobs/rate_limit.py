# SPDX-License-Identifier: GPL-2.0-only
"""Limits of rates, such as that at which a token may start jobs: token buckets.

They are pure, and the clock is given.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import Final

_MINUTE = 60.0

MOST_CLIENTS: Final = 1_000
"""Clients that have a separate limit at a time. Any others share one."""

ONE_CLIENT: Final = 64
"""Bits of an IPv6 address that say whose it is: one machine may have all that begin with them."""


class RateLimit:
    """Lets each name through so often in a minute, and as often at once.

    It holds for one master: behind several, as much more gets through.

    :param per_minute: ``None`` is no limit.
    :param clock: returns seconds that no step of a clock changes, see ``timers.passed``.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def wait(self, name: str) -> int:
        """Return 0 and count it; or the seconds, rounded up, until the next one gets through."""
        if self.per_minute is None:
            return 0
        # What is kept is when the bucket will be full again: each job takes it further away.
        now, each = self._clock(), _MINUTE / self.per_minute
        full_at = max(now, self._full_at.get(name, now)) + each
        if (excess := full_at - now - _MINUTE) > 1e-6:  # noqa: PLR2004 - clocks are floats
            return max(1, math.ceil(excess))
        self._full_at[name] = full_at
        return 0

    def forget_idle(self) -> None:
        """Keep nothing of names that may do all that a new one may."""
        now = self._clock()
        self._full_at = {name: at for name, at in self._full_at.items() if at > now}


class ClientLimit:
    """Lets each client through so often in a minute, and all of them together so often.

    So one client cannot use up what others need, and what is kept of clients is bounded.

    :param each: how often each of them.
    :param together: how often all of them.
    """

    def __init__(self, each: int, together: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._together = RateLimit(together, clock)
        self._clients = RateLimit(each, clock)
        self._others = RateLimit(each, clock)
        self._known: dict[str, float] = {}
        self._full_until = 0.0  # while nobody can be forgotten, nobody is looked for

    def lets_through(self, client: str) -> bool:
        """Count a client; return whether it gets through."""
        is_known = self._has_place(client)
        wait = self._clients.wait(client) if is_known else self._others.wait("")
        return not wait and not self._together.wait("")

    def _has_place(self, client: str) -> bool:
        """Return whether a client has a separate limit. It has that for a minute at least."""
        now = self._clock()
        if client not in self._known and len(self._known) >= MOST_CLIENTS:
            if now >= self._full_until:
                self._forget_idle(now)
            if len(self._known) >= MOST_CLIENTS:
                return False
        self._known[client] = now + _MINUTE
        return True

    def _forget_idle(self, now: float) -> None:
        self._known = {name: until for name, until in self._known.items() if until > now}
        self._full_until = min(self._known.values(), default=now)
        self._clients.forget_idle()


def client_of(address: str) -> str:
    """Return the client that has an address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4 or found.ipv4_mapped is not None:  # noqa: PLR2004
        return str(found)
    return str(ipaddress.IPv6Network((found.packed, ONE_CLIENT), strict=False))
