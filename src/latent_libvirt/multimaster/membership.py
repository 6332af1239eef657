# SPDX-License-Identifier: GPL-2.0-only
"""Membership: a table in Buildbot's database with a row for each master's latest incarnation.

A master registers, writes a heartbeat every second, and unregisters when it stops. All times are
the database's: the clocks of masters do not matter. An incarnation that is dead stays dead; the
next process of that master registers as a new incarnation.

What is here blocks, and takes the connection to work with. Who is suspected when is decided in
``failure_detector.py``, what follows from a death is done in ``orphans.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from buildbot.db.model import Model
from sqlalchemy.dialects.postgresql import insert

from latent_libvirt.multimaster.database import application_name

State = Literal["here", "away", "dead"]

TABLE: Final = sa.Table(
    "latent_libvirt_masters",
    sa.MetaData(),
    # Of Buildbot's table of masters; no foreign key, so that its upgrades need not know of it.
    sa.Column("masterid", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("life", sa.String(32), nullable=False),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("seen", sa.Double, nullable=False),  # seconds since the epoch
    sa.Column("since", sa.Double, nullable=False),  # the same: when it got into that state
)

NOW: Final = sa.func.extract("epoch", sa.func.clock_timestamp())

_MAKING_LOCK: Final = 0x6C6C766D  # of pg_advisory_xact_lock: one master at a time makes the table
_LOCK_TIMEOUT: Final = "5s"


@dataclass(frozen=True)
class Entry:
    """One master, as the list of members has it.

    :param life: distinguishes its process from others of the same master.
    :param state: ``away`` has signed off, and ``dead`` was declared so by another.
    :param seen: when it last said that it is there, in seconds since the epoch.
    :param since: when it got into its state, in the same.
    :param connected: whether any connection of that process exists.
    """

    masterid: int
    life: str
    state: State
    seen: float
    since: float
    connected: bool


@dataclass(frozen=True)
class Look:
    """The list of members at one moment.

    :param now: that moment by the database's clock, in seconds since the epoch.
    :param server_since: when the database server was started, in the same.
    """

    now: float
    server_since: float
    entries: tuple[Entry, ...]


def create(connection: sa.Connection) -> None:
    """Make the table unless it is there."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MAKING_LOCK)))
    TABLE.create(connection, checkfirst=True)


def register(connection: sa.Connection, masterid: int, life: str) -> None:
    """Begin a life. An earlier one of the same master can do nothing from now on."""
    values = {"life": life, "state": "here", "seen": NOW, "since": NOW}
    connection.execute(
        insert(TABLE)
        .values(masterid=masterid, **values)
        .on_conflict_do_update(index_elements=[TABLE.c.masterid], set_=values)
    )


def beat(connection: sa.Connection, masterid: int, life: str) -> bool:
    """Say that a master is there; return whether its life still counts.

    Buildbot's own record is kept up, too: the web UI shows it.
    """
    written = connection.execute(
        TABLE.update().where(*_living(masterid, life)).values(seen=NOW, state="here")
    )
    if written.rowcount == 0:
        return False
    masters = Model.masters
    connection.execute(
        masters.update()
        .where(masters.c.id == masterid)
        .values(last_active=sa.cast(NOW, sa.Integer))
    )
    return True


def sign_off(connection: sa.Connection, masterid: int, life: str) -> None:
    """Say that a master stops in good order, and is not to be missed."""
    connection.execute(
        TABLE.update().where(*_living(masterid, life)).values(state="away", since=NOW)
    )


def holds(connection: sa.Connection, masterid: int, life: str) -> bool:
    """Return whether a life counts, and make that true until the transaction ends.

    A row that is locked so cannot be declared dead; its heartbeat goes on.
    """
    ask = sa.select(sa.literal(1)).select_from(TABLE).where(*_living(masterid, life))
    row = connection.execute(ask.with_for_update(key_share=True, read=True)).first()
    return row is not None


def look(connection: sa.Connection) -> Look:
    """Return what the list of members says now."""
    started = sa.func.extract("epoch", sa.func.pg_postmaster_start_time())
    now, server_since = connection.execute(sa.select(NOW, started)).one()
    rows = connection.execute(sa.select(TABLE, _is_connected()).order_by(TABLE.c.masterid))
    entries = tuple(Entry(**row._mapping) for row in rows)  # noqa: SLF001 - its public name
    return Look(float(now), float(server_since), entries)


def names_of_the_dead(connection: sa.Connection) -> list[str]:
    """Return the names of the masters that were declared dead and have not come back."""
    masters = Model.masters
    dead = sa.select(masters.c.name).join(TABLE, TABLE.c.masterid == masters.c.id)
    return list(connection.scalars(dead.where(TABLE.c.state == "dead")))


def declare_dead(connection: sa.Connection, entry: Entry) -> bool:
    """Declare a master dead unless it has stirred since *entry* was read; return whether it is.

    What it has begun to write is undone first, and it can write no more: its connections are
    ended, and new ones find it dead (:func:`holds`).
    """
    if connection.execute(sa.select(TABLE.c.life).where(*_unchanged(entry))).first() is None:
        return False
    _end_connections(connection, entry.life)
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
    locked = sa.select(TABLE.c.life).where(*_unchanged(entry)).with_for_update()
    if connection.execute(locked).first() is None:
        return False
    mark = TABLE.update().where(TABLE.c.masterid == entry.masterid)
    connection.execute(mark.values(state="dead", since=NOW))
    return True


def _living(masterid: int, life: str) -> tuple[Any, ...]:
    return (TABLE.c.masterid == masterid, TABLE.c.life == life, TABLE.c.state != "dead")


def _unchanged(entry: Entry) -> tuple[Any, ...]:
    return (*_living(entry.masterid, entry.life), TABLE.c.seen == entry.seen)


_ACTIVITY: Final = sa.table("pg_stat_activity", sa.column("pid"), sa.column("application_name"))


def _is_connected() -> Any:
    name = application_name("") + TABLE.c.life
    theirs = sa.select(_ACTIVITY.c.pid).where(_ACTIVITY.c.application_name == name)
    return theirs.exists().label("connected")


def _end_connections(connection: sa.Connection, life: str) -> None:
    theirs = _ACTIVITY.c.application_name == application_name(life)
    ended = sa.select(sa.func.pg_terminate_backend(_ACTIVITY.c.pid)).where(theirs)
    connection.execute(ended).all()
