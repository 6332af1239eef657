# SPDX-License-Identifier: GPL-2.0-only
"""Masters that will not come back for their VMs, by Buildbot's database.

Masters that share a database share hosts, too. A master that stops for an upgrade is back in a
minute and adopts what it has left; one that has said nothing for :data:`TIMEOUT` is dead, and the
others free what is still there of it. With ``multimaster/``, the builds of one that is killed are
given to others within seconds; the VMs that ran them are of no use from then on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from buildbot.util import epoch2datetime

from latent_libvirt.host.names import Owner

HEARTBEAT: Final = "latent_libvirt.heartbeat"
"""The service that has a master among the members (``multimaster/heartbeat.py``)."""

TIMEOUT = timedelta(minutes=10)
"""Buildbot's own: it takes a master for dead after as long (``data/masters.py``)."""


_FORGOTTEN = epoch2datetime(0)
"""When all masters were there last, by a database after ``buildbot upgrade-master``."""


async def dead_owners(master: Any, pools: Collection[str], *, since: float) -> frozenset[str]:
    """Return the ids of the owners whose master is dead.

    A master that is not in the database uses another one: nothing is known of it, it is not dead.
    One of which an upgrade has made the database forget when it was there last is given as long as
    if it had been there until the one that asks has begun to look.

    :param master: the one that asks; it is alive.
    :param pools: the names that the owners' pools may have.
    :param since: when the one that asks has begun to look, in seconds since the epoch.
    """
    now = epoch2datetime(master.reactor.seconds())
    known = await master.data.get(("masters",))
    dead = [
        other["name"]
        for other in known
        if other["masterid"] != master.masterid
        and not other["active"]
        and now - _last_seen(other, since) > TIMEOUT
    ]
    return frozenset(Owner(name, pool).id for name in dead for pool in pools)


async def failed_over_owners(master: Any, pools: Collection[str]) -> frozenset[str]:
    """Return the ids of the owners whose builds were given to other masters.

    :param master: the one that asks.
    :param pools: the names that the owners' pools may have.
    """
    heartbeat = master.service_manager.namedServices.get(HEARTBEAT)
    names = [] if heartbeat is None else await heartbeat.names_of_the_dead()
    return frozenset(Owner(name, pool).id for name in names for pool in pools)


def _last_seen(other: Mapping[str, Any], since: float) -> datetime:
    """Return until when *other*, a master, may have been there."""
    last_active: datetime = other["last_active"]
    return epoch2datetime(since) if last_active == _FORGOTTEN else last_active
