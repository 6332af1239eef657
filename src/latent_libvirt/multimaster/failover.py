# SPDX-License-Identifier: GPL-2.0-only
"""Failover: a master declares peers dead that are gone, and reclaims what they leave.

``failure_detector.py`` decides which peers are gone, and ``orphans.py`` what becomes of their rows.
All masters watch each other. The database lets one of them fail over each dead one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from twisted.logger import Logger

from latent_libvirt.multimaster import (
    membership,
    orphans,
)
from latent_libvirt.multimaster.failure_detector import (
    FailureDetector,
)

if TYPE_CHECKING:
    from latent_libvirt.multimaster.failure_detector import (
        FailureTimeouts,
    )
    from latent_libvirt.multimaster.membership import (
        Entry,
        Look,
    )
    from latent_libvirt.multimaster.orphans import Orphans

log = Logger()


class FailoverMonitor:
    """Fails dead masters over, on behalf of *master*."""

    def __init__(self, master: Any, timeouts: FailureTimeouts) -> None:
        self._master = master
        self._detector = FailureDetector(timeouts)

    async def see_to(self, look: Look) -> None:
        """Fail over every master that has been silent for too long."""
        for suspect in self._detector.suspects(look, observer=self._master.masterid):
            await self._fail_over(suspect, silent=look.now - suspect.seen)

    async def _fail_over(self, suspect: Entry, *, silent: float) -> None:
        left = await self._master.db.pool.do_with_transaction(_fail_over, suspect)
        if left is None:
            return
        peer = await self._master.data.get(("masters", suspect.masterid))
        log.warn(
            "master {name} has said nothing for {silent:.1f} s{connected} and is declared dead; it "
            "leaves {left}",
            name=peer["name"],
            silent=silent,
            connected="" if suspect.connected else ", is not connected to the database",
            left=orphans.in_words(left),
        )
        self._master.data.rtypes.master.produceEvent(peer, "stopped")
        await orphans.announce(self._master, left)


def _fail_over(connection: sa.Connection, suspect: Entry) -> Orphans | None:
    """Declare a master dead and settle what it has left, both or neither. Blocks."""
    if not membership.declare_dead(connection, suspect):
        return None
    return orphans.reclaim(connection, suspect.masterid)
