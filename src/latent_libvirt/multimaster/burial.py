# SPDX-License-Identifier: GPL-2.0-only
"""What a master does about peers that are gone: declares them dead, and sees to what they leave.

Whom to suspect is decided in ``suspicion.py``; what becomes of what they leave, in ``estate.py``.
All masters look after each other; the database lets one of them bury each dead one.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from twisted.logger import Logger

from latent_libvirt.multimaster import estate, roll
from latent_libvirt.multimaster.estate import Estate
from latent_libvirt.multimaster.roll import Entry, Look
from latent_libvirt.multimaster.suspicion import Patience, Suspicion

log = Logger()


class Undertaker:
    """Buries the dead, on behalf of *master*."""

    def __init__(self, master: Any, patience: Patience) -> None:
        self._master = master
        self._suspicion = Suspicion(patience)

    async def see_to(self, look: Look) -> None:
        """Bury whoever has been silent for too long."""
        for suspect in self._suspicion.suspects(look, observer=self._master.masterid):
            await self._bury(suspect, silent=look.now - suspect.seen)

    async def _bury(self, suspect: Entry, *, silent: float) -> None:
        left = await self._master.db.pool.do_with_transaction(_bury, suspect)
        if left is None:
            return
        peer = await self._master.data.get(("masters", suspect.masterid))
        log.warn(
            "master {name} has said nothing for {silent:.1f} s{connected} and is declared dead; it "
            "leaves {left}",
            name=peer["name"],
            silent=silent,
            connected="" if suspect.connected else ", is not connected to the database",
            left=estate.in_words(left),
        )
        self._master.data.rtypes.master.produceEvent(peer, "stopped")
        await estate.announce(self._master, left)


def _bury(connection: sa.Connection, suspect: Entry) -> Estate | None:
    """Declare a master dead and settle its estate, both or neither. Blocks."""
    if not roll.declare_dead(connection, suspect):
        return None
    return estate.settle(connection, suspect.masterid)
