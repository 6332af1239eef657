# SPDX-License-Identifier: GPL-2.0-only
"""Connections to PostgreSQL, with the name of the master, timeouts and keepalive.

This makes connections, and says after which errors a statement may be tried again. SQLAlchemy and
Buildbot do everything else, such as the pool of connections and the transactions.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import sqlalchemy
from sqlalchemy.engine import URL
from sqlalchemy.exc import InvalidatePoolError
from twisted.logger import Logger

log = Logger()

INCARNATION: Final = secrets.token_hex(8)
"""A name that no other process has, not even a later one of the same master."""

RETRY_FOR: Final = 24 * 3600.0
"""Seconds for which a master waits for a database that it has been connected to: as long as
Buildbot itself repeats a statement (``DBThreadPool.MAX_OPERATIONALERROR_TIME``)."""

FIRST_RETRY_FOR: Final = 60.0
"""The same, before its first connection: an address or a password may be wrong."""

PAUSE: Final = 0.5  # seconds between two attempts
COMPLAIN_EVERY: Final = 10.0  # seconds

# libpq's. A peer that has vanished is given up after about 15 s, on idle connections too.
CONNECTION: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}

IDLE: Final = 1.0
"""Seconds for which a connection is idle before it is asked whether it still works. Asked before
each use, that was one in five of all round trips to the database."""

_LAST_USE: Final = "latent_libvirt_last_use"

ROLLED_BACK: Final = "40"  # class of SQLSTATEs: deadlocks and the like; nothing has been done


def application_name(life: str) -> str:
    """Return what PostgreSQL calls the connections of a process (``pg_stat_activity``)."""
    return f"buildbot-{life}"


@dataclass(frozen=True)
class Connector:
    """Makes connections: for SQLAlchemy's ``creator``.

    Two are equal if they connect to the same, so that a reconfig sees no change in ``c["db"]``.

    :param url: of the database; not shown, since it may hold a password.
    """

    url: str = field(repr=False)

    def __call__(self) -> Any:
        """Return a DBAPI connection, as soon as there can be one. Blocks.

        :raises psycopg2.OperationalError: the database cannot be reached, for long.
        """
        began = time.monotonic()
        complained = began - COMPLAIN_EVERY + 1
        while True:
            try:
                return self.at_once()
            except _operational_error() as error:
                now = time.monotonic()
                if now - began > (RETRY_FOR if _has_connected else FIRST_RETRY_FOR):
                    raise
                if now - complained > COMPLAIN_EVERY:
                    complained = now
                    log.warn("waiting for the database: {error}", error=str(error).strip())
            time.sleep(PAUSE)

    def at_once(self) -> Any:
        """Return a DBAPI connection. Blocks, for a few seconds at most.

        :raises psycopg2.OperationalError: the database cannot be reached.
        """
        global _has_connected  # noqa: PLW0603 - it is the process that has
        import psycopg2  # noqa: PLC0415 - an extra: masters with separate databases lack it

        arguments, more = _dialect(self.url).create_connect_args(_parsed(self.url))
        keywords = CONNECTION | more | {"application_name": application_name(INCARNATION)}
        connection = psycopg2.connect(*arguments, **keywords)
        _has_connected = True
        return connection


_has_connected = False


def make_resilient(engine: Any) -> None:
    """Let Buildbot repeat what a lost connection has undone, whenever it notices the loss.

    A connection that was idle is asked first whether it still works. So the loss is noticed before
    a statement fails, unless the connection was in use a moment ago.

    :param engine: Buildbot's own engine; it asks ``should_retry`` after an error in a statement.
    """
    sqlalchemy.event.listen(engine, "checkin", _note_use)
    sqlalchemy.event.listen(engine, "checkout", partial(_see_that_it_works, engine.dialect))
    engine.should_retry = may_be_repeated(engine.should_retry)
    # Buildbot rolls back after it has read something, and takes an error there for a mistake here.
    engine.dialect.do_rollback = _if_connected(engine.dialect.do_rollback)


def _note_use(_connection: Any, record: Any) -> None:
    record.info[_LAST_USE] = time.monotonic()


def _see_that_it_works(dialect: Any, connection: Any, record: Any, _proxy: Any) -> None:
    """Let the pool replace a connection that was idle and is lost. Blocks.

    :raises InvalidatePoolError: it is lost, and so are those that are older.
    """
    last_use = record.info.get(_LAST_USE)
    if last_use is None or time.monotonic() - last_use < IDLE:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def may_be_repeated(otherwise: Callable[[Exception], bool]) -> Callable[[Exception], bool]:
    """Return the function that decides after an error whether Buildbot repeats a statement.

    Buildbot's own answer knows MySQL and SQLite. What a transaction has done is undone when its
    connection is lost; only if that happens between its commit and the answer to it, it is not,
    and is then done twice.

    :param otherwise: Buildbot's own answer.
    """

    def is_passing(error: Exception) -> bool:
        if getattr(error, "connection_invalidated", False):
            return True
        state = getattr(getattr(error, "orig", None), "pgcode", None) or ""
        return state.startswith(ROLLED_BACK) or otherwise(error)

    return is_passing


def _if_connected(roll_back: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a roll-back that is content with a lost connection: the server has rolled back."""

    def roll_back_unless_lost(connection: Any) -> None:
        try:
            roll_back(connection)
        except Exception:
            if not connection.closed:
                raise

    return roll_back_unless_lost


def _parsed(url: str) -> URL:
    return sqlalchemy.make_url(url)


def _dialect(url: str) -> Any:
    return _parsed(url).get_dialect()()


def _operational_error() -> type[Exception]:
    import psycopg2  # noqa: PLC0415

    error: type[Exception] = psycopg2.OperationalError
    return error
