# SPDX-License-Identifier: GPL-2.0-only
"""Members, the fence, and what is settled at a death, on a real PostgreSQL without a master."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.process.results import FAILURE, RETRY, SUCCESS
from buildbot.util.sautils import hash_columns

from buildmaster import wait_for
from installation import database_url, make_database
from latent_libvirt.multimaster import (
    membership,
    orphans,
)
from latent_libvirt.multimaster.fencing import (
    Fence,
    FencedError,
)
from latent_libvirt.multimaster.membership import Entry
from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL

DEAD, ALIVE = 1, 2


@pytest.fixture
def engine(postgresql: PrivatePostgreSQL, template: Path) -> sa.Engine:
    """Give Buildbot's database with two masters among the members, and a builder."""
    assert template.exists()
    url = database_url(postgresql, make_database(postgresql))
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        membership.create(connection)
        for number in (DEAD, ALIVE):
            insert(connection, Model.masters, id=number, name=f"m{number}", active=1)
            membership.register(connection, number, f"life-{number}")
        insert(connection, Model.builders, id=1, name="check")
        insert(connection, Model.buildsets, id=1, submitted_at=0)
    return engine


def insert(connection: sa.Connection, table: sa.Table, **values: Any) -> None:
    if "name_hash" in table.c:
        values["name_hash"] = hash_columns(values["name"])
    if table is Model.masters:
        values["last_active"] = 0
    connection.execute(table.insert().values(values))


def add_request(
    connection: sa.Connection, number: int, *results: int | None, by: int = DEAD, complete: int = 0
) -> None:
    """Add a request that a master has claimed, with builds that have come to *results*."""
    values = {"buildsetid": 1, "builderid": 1, "submitted_at": 0, "priority": 0}
    insert(connection, Model.buildrequests, id=number, complete=complete, **values)
    insert(connection, Model.buildrequest_claims, brid=number, masterid=by, claimed_at=0)
    for attempt, result in enumerate(results):
        insert(
            connection,
            Model.builds,
            id=10 * number + attempt,
            number=10 * number + attempt,
            builderid=1,
            buildrequestid=number,
            masterid=by,
            started_at=0,
            complete_at=None if result is None else 1,
            results=result,
            state_string="",
            locks_duration_s=0,
        )


def claims(connection: sa.Connection) -> dict[int, int]:
    rows = connection.execute(sa.select(Model.buildrequest_claims))
    return {row.brid: row.masterid for row in rows}


def test_what_was_cut_off_is_run_again_and_what_had_ended_is_not(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_request(connection, 1, None)  # a build is running
        add_request(connection, 2, RETRY, SUCCESS)  # its result was not told yet
        add_request(connection, 3, FAILURE)
        add_request(connection, 4)  # claimed a moment ago
        add_request(connection, 5, SUCCESS, complete=1)
        add_request(connection, 6, None, by=ALIVE)

        left = orphans.reclaim(connection, DEAD)

        assert left.builds == (10,)
        assert left.requests == (1, 4)
        assert left.untold == {2: SUCCESS, 3: FAILURE}
        assert claims(connection) == {2: DEAD, 3: DEAD, 5: DEAD, 6: ALIVE}
        builds = Model.builds
        rows = connection.execute(sa.select(builds.c.id, builds.c.results))
        ended = {row.id: row.results for row in rows}
        assert ended[10] == RETRY
        assert ended[60] is None
        assert orphans.reclaim(connection, DEAD).requests == ()


def entry(engine: sa.Engine, number: int = DEAD) -> Entry:
    with engine.begin() as connection:
        return next(e for e in membership.look(connection).entries if e.masterid == number)


def test_one_that_has_stirred_meanwhile_is_not_declared_dead(engine: sa.Engine) -> None:
    seen = entry(engine)
    with engine.begin() as connection:
        assert membership.beat(connection, DEAD, "life-1")
    with engine.begin() as connection:
        assert not membership.declare_dead(connection, seen)
        assert not membership.declare_dead(connection, replace(entry(engine), life="another"))
        assert membership.declare_dead(connection, entry(engine))
        assert membership.names_of_the_dead(connection) == ["m1"]


def test_the_dead_stay_dead_and_come_back_with_another_life(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert membership.declare_dead(connection, entry(engine))
    with engine.begin() as connection:
        assert not membership.beat(connection, DEAD, "life-1")
        assert not membership.holds(connection, DEAD, "life-1")
        membership.sign_off(connection, DEAD, "life-1")
        assert membership.names_of_the_dead(connection) == ["m1"]
        membership.register(connection, DEAD, "next-life")
        assert membership.beat(connection, DEAD, "next-life")
        assert not membership.beat(connection, DEAD, "life-1")


def test_a_connection_is_known_by_its_life(engine: sa.Engine) -> None:
    assert not entry(engine).connected
    name = {"application_name": "buildbot-life-1"}
    named = sa.create_engine(engine.url, connect_args=name, poolclass=sa.pool.NullPool)
    with named.connect() as connection:
        connection.execute(sa.select(1))
        assert entry(engine).connected


class Guarded:
    """What a master writes through a fence."""

    def __init__(self, engine: sa.Engine) -> None:
        self.found_out = 0
        name = {"application_name": "buildbot-life-1"}
        self.engine = sa.create_engine(engine.url, connect_args=name, poolclass=sa.pool.NullPool)
        Fence(DEAD, "life-1", lost=self._lost).install(self.engine)

    def _lost(self) -> None:
        self.found_out += 1


def claim(connection: sa.Connection, request: int) -> None:
    claimed = Model.buildrequest_claims.insert()
    connection.execute(claimed.values(brid=request, masterid=DEAD, claimed_at=0))


def test_the_dead_can_read_but_not_claim(engine: sa.Engine) -> None:
    guarded = Guarded(engine)
    with engine.begin() as connection:
        add_request(connection, 1)
        connection.execute(Model.buildrequest_claims.delete())
    with guarded.engine.connect() as connection:
        claim(connection, 1)
        connection.rollback()
    with engine.begin() as connection:
        assert membership.declare_dead(connection, entry(engine))

    with guarded.engine.connect() as connection:
        assert connection.execute(sa.select(Model.builders.c.name)).scalar() == "check"
        with pytest.raises(FencedError):
            claim(connection, 1)
    assert guarded.found_out == 1


def test_who_is_frozen_in_a_transaction_does_not_hold_up_its_burial(engine: sa.Engine) -> None:
    guarded = Guarded(engine)
    with engine.begin() as connection:
        add_request(connection, 1)
        connection.execute(Model.buildrequest_claims.delete())
    frozen = guarded.engine.connect()
    claim(frozen, 1)  # and says nothing more

    with engine.begin() as connection:
        assert membership.declare_dead(connection, entry(engine))
        assert claims(connection) == {}

    with pytest.raises(sa.exc.OperationalError):
        frozen.commit()
    frozen.invalidate()
    frozen.close()


def test_a_claim_and_a_burial_at_the_same_moment_come_one_after_the_other(
    engine: sa.Engine,
) -> None:
    guarded = Guarded(engine)
    with engine.begin() as connection:
        add_request(connection, 1)
        connection.execute(Model.buildrequest_claims.delete())
    outcome: list[BaseException] = []

    def claim_it() -> None:
        try:
            with guarded.engine.begin() as connection:
                claim(connection, 1)
        except FencedError as error:
            outcome.append(error)

    claiming = threading.Thread(target=claim_it)
    with engine.begin() as failover:
        assert membership.declare_dead(failover, entry(engine))
        claiming.start()
        wait_until_it_waits(engine)
    claiming.join()

    assert len(outcome) == 1
    with engine.begin() as connection:
        assert claims(connection) == {}


def wait_until_it_waits(engine: sa.Engine) -> None:
    """Return once a session waits for a lock of another."""
    waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def waits() -> bool:
        with engine.begin() as connection:
            return bool(connection.execute(waiting).scalar())

    wait_for("a session to wait for a lock", waits)
