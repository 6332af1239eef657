# SPDX-License-Identifier: GPL-2.0-only
"""Connections to the database, and which errors are worth another attempt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import psycopg2
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from latent_libvirt.multimaster import database
from latent_libvirt.multimaster.database import (
    Connector,
    make_resilient,
    may_be_repeated,
)

URL = "postgresql+psycopg2://buildbot:secret@db/buildbot"


def never(_error: Exception) -> bool:
    return False


def error(*, code: str | None = None, lost: bool = False) -> OperationalError:
    cause = psycopg2.OperationalError()
    found = OperationalError("SELECT 1", {}, cause, connection_invalidated=lost)
    found.orig = cast("Any", SimpleNamespace(pgcode=code))
    return found


@pytest.mark.parametrize(
    ("what", "again"),
    [
        (error(lost=True), True),
        (error(code="40P01"), True),  # a deadlock
        (error(code="40001"), True),  # a serialisation failure
        (error(code="53100"), False),  # a full disk
        (error(), False),
        (ValueError(), False),
    ],
)
def test_what_was_rolled_back_may_be_repeated(what: Exception, *, again: bool) -> None:
    assert may_be_repeated(never)(what) is again


def test_buildbots_own_answer_counts_too() -> None:
    assert may_be_repeated(lambda _: True)(ValueError())


class Connection:
    """A connection to PostgreSQL that cannot roll back."""

    def __init__(self, *, closed: int) -> None:
        self.closed = closed

    def rollback(self) -> None:
        raise psycopg2.InterfaceError("it cannot")


def test_a_lost_connection_needs_no_roll_back() -> None:
    engine: Any = create_engine(URL)
    engine.should_retry = never
    make_resilient(engine)

    engine.dialect.do_rollback(Connection(closed=2))
    with pytest.raises(psycopg2.InterfaceError):
        engine.dialect.do_rollback(Connection(closed=0))


def asked(monkeypatch: pytest.MonkeyPatch, *, idle: float, works: bool = True) -> tuple[int, int]:
    """Use a connection three times; return how often it was asked, and how many there were.

    :param idle: seconds after which it counts as idle.
    """
    engine: Any = create_engine("sqlite://", poolclass=QueuePool)
    engine.should_retry = never
    make_resilient(engine)
    pings: list[object] = []

    def ping(connection: object) -> bool:
        pings.append(connection)
        if not works:
            raise engine.dialect.loaded_dbapi.OperationalError("the server has gone")
        return True

    monkeypatch.setattr(engine.dialect, "do_ping", ping)
    monkeypatch.setattr(database, "IDLE", idle)
    used = set()
    for _ in range(3):
        with engine.connect() as connection:
            used.add(connection.connection.dbapi_connection)
    engine.dispose()
    return len(pings), len(used)


def test_a_connection_that_was_used_a_moment_ago_is_not_asked_whether_it_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert asked(monkeypatch, idle=1000.0) == (0, 1)


def test_a_connection_that_was_idle_is_asked_and_replaced_if_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert asked(monkeypatch, idle=0.0) == (2, 1)
    assert asked(monkeypatch, idle=0.0, works=False) == (2, 3)


def test_two_connectors_to_the_same_are_equal_and_show_no_password() -> None:
    assert Connector(URL) == Connector(URL)
    assert "secret" not in repr(Connector(URL))


def test_it_waits_until_the_database_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([psycopg2.OperationalError("down")] * 3 + ["a connection"])

    def connect(**keywords: object) -> object:
        assert keywords["application_name"] == f"buildbot-{database.INCARNATION}"
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    monkeypatch.setattr(database, "PAUSE", 0)
    monkeypatch.setattr(psycopg2, "connect", connect)

    assert Connector(URL)() == "a connection"


def test_a_database_that_was_never_there_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(**_keywords: object) -> object:
        raise psycopg2.OperationalError("no such user")

    monkeypatch.setattr(database, "FIRST_RETRY_FOR", 0)
    monkeypatch.setattr(database, "_has_connected", False)
    monkeypatch.setattr(psycopg2, "connect", connect)

    with pytest.raises(psycopg2.OperationalError, match="no such user"):
        Connector(URL)()
