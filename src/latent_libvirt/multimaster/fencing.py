# SPDX-License-Identifier: GPL-2.0-only
"""Fencing: a master that was declared dead cannot write, even if it was frozen and wakes up later.

Each transaction of this master that changes who does what, or what has come of it, first locks its
row among the members (:func:`~latent_libvirt.multimaster.membership.holds`). Declaring a master
dead locks the same row the other way. So either such a transaction ends before that, and its
outcome is seen by the master that takes over, or it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql.dml import UpdateBase

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.multimaster import membership

GUARDED: Final = frozenset(
    {
        "buildrequest_claims",
        "buildrequests",
        "builds",
        "buildsets",
        "connected_workers",
        "masters",
        "scheduler_masters",
        "changesource_masters",
    }
)
"""Buildbot's tables that say who does what, and what has come of it. Steps and logs are not among
them: they are written often, and belong to a build which is."""

_CHECKED: Final = "latent_libvirt_fence"


class FencedError(LatentLibvirtError):
    """This master was declared dead: nothing of what it does counts any more."""


class Fence:
    """Guards what a master writes through an engine.

    :param lost: is called, in whichever thread it is found out, when the master is dead.
    """

    def __init__(self, masterid: int, incarnation: str, *, lost: Callable[[], None]) -> None:
        self._masterid = masterid
        self._incarnation = incarnation
        self._lost = lost

    def install(self, engine: sa.Engine) -> None:
        """Guard all transactions of *engine* from now on."""
        sa.event.listen(engine, "before_execute", self._before_execute)

    def _before_execute(
        self, connection: sa.Connection, statement: Any, *_parameters: object
    ) -> None:
        if is_guarded(statement) and not _is_checked(connection):
            if not membership.holds(connection, self._masterid, self._incarnation):
                self._lost()
                raise FencedError("this master was declared dead by another one")
            connection.info[_CHECKED] = connection.get_transaction()


def _is_checked(connection: sa.Connection) -> bool:
    """Return whether the lock is held: it goes with the transaction that took it."""
    transaction = connection.get_transaction()
    return transaction is not None and connection.info.get(_CHECKED) is transaction


def is_guarded(statement: Any) -> bool:
    """Return whether a statement changes one of the :data:`GUARDED` tables."""
    return isinstance(statement, UpdateBase) and getattr(statement.table, "name", "") in GUARDED
