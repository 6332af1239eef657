# SPDX-License-Identifier: GPL-2.0-only
"""Which masters are dead: by Buildbot's own tables and its own answers, in a real database.

Only what joins the two in a running master is replaced: the thread pool and the paths of its data
API.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.data.masters import EXPIRE_MINUTES, MastersEndpoint
from buildbot.db.masters import MastersConnectorComponent
from buildbot.db.model import Model
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

import memory_database
from latent_libvirt.host.names import Owner
from latent_libvirt.master.peers import (
    HEARTBEAT,
    TIMEOUT,
    dead_owners,
    failed_over_owners,
)

MINUTE = 60.0


class Masters:
    """The masters of one database; the first of them asks."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self._engine = engine
        db = SimpleNamespace(pool=SimpleNamespace(do=self._do), model=Model)
        self.table = MastersConnectorComponent(db)
        self.master = SimpleNamespace(
            reactor=self.clock, masterid=1, db=SimpleNamespace(masters=self.table)
        )
        self.table.parent = SimpleNamespace(master=self.master)
        endpoint = MastersEndpoint(SimpleNamespace(), self.master)
        self.master.data = SimpleNamespace(get=lambda path: endpoint.get(None, {}))
        self.started_at = self.clock.seconds()

    def _do(self, function: Callable[..., Any]) -> Deferred[Any]:
        with self._engine.connect() as connection:
            answer = function(connection)
            connection.commit()
        return succeed(answer)

    async def are(self, *names: str) -> None:
        """Let masters of these names be there, and be active."""
        for name in names:
            number = await self.table.findMasterId(name)
            await self.table.setMasterState(number, True)

    async def stops(self, name: str) -> None:
        """Let the database say that a master is not there any more."""
        await self.table.setMasterState(await self.table.findMasterId(name), False)

    async def dead(self, *pools: str) -> frozenset[str]:
        """Return who is dead."""
        return await dead_owners(self.master, pools or ("pool",), since=self.started_at)


@pytest.fixture
def masters() -> Any:
    engine = memory_database.engine()
    yield Masters(engine)
    engine.dispose()


def owner(master: str, pool: str = "pool") -> str:
    return Owner(master, pool).id


@pytest_twisted.ensureDeferred
async def test_one_that_is_there_is_not_dead_however_long_it_has_said_nothing(
    masters: Masters,
) -> None:
    await masters.are("self", "other")
    masters.clock.advance(24 * 60 * MINUTE)

    assert not await masters.dead()


@pytest.mark.parametrize(
    ("minutes", "is_dead"), [(0, False), (1, False), (10, False), (11, True), (100_000, True)]
)
@pytest_twisted.ensureDeferred
async def test_one_that_has_stopped_is_dead_when_it_may_not_come_back(
    masters: Masters, minutes: int, *, is_dead: bool
) -> None:
    await masters.are("self", "other")
    await masters.stops("other")
    masters.clock.advance(minutes * MINUTE)

    assert await masters.dead() == ({owner("other")} if is_dead else set())


@pytest_twisted.ensureDeferred
async def test_the_one_that_asks_is_not_dead_whatever_the_database_says(masters: Masters) -> None:
    await masters.are("self")
    await masters.stops("self")
    masters.clock.advance(60 * MINUTE)

    assert not await masters.dead()


@pytest_twisted.ensureDeferred
async def test_one_that_is_back_is_not_dead_any_more(masters: Masters) -> None:
    await masters.are("self", "other")
    await masters.stops("other")
    masters.clock.advance(60 * MINUTE)
    assert await masters.dead()

    await masters.are("other")

    assert not await masters.dead()


@pytest_twisted.ensureDeferred
async def test_one_that_the_database_does_not_know_is_not_dead(masters: Masters) -> None:
    await masters.are("self", "other")
    await masters.stops("other")
    masters.clock.advance(60 * MINUTE)

    assert owner("of another database") not in await masters.dead()
    assert owner("othe") not in await masters.dead()


@pytest_twisted.ensureDeferred
async def test_all_pools_of_a_dead_one_are_dead_and_none_of_another(masters: Masters) -> None:
    await masters.are("self", "other", "living")
    await masters.stops("other")
    masters.clock.advance(60 * MINUTE)

    assert await masters.dead("a", "b") == {owner("other", "a"), owner("other", "b")}


@pytest_twisted.ensureDeferred
async def test_after_an_upgrade_of_the_database_all_have_time_to_come_back(
    masters: Masters,
) -> None:
    await masters.are("self", "other")
    await masters.stops("other")
    await masters.table.setAllMastersActiveLongTimeAgo()  # what upgrade-master does
    masters.clock.advance(5 * MINUTE)
    masters.started_at = masters.clock.seconds()
    await masters.are("self")
    await masters.stops("other")  # what the first master to start says of it

    masters.clock.advance(10 * MINUTE)
    assert not await masters.dead()
    masters.clock.advance(MINUTE)
    assert await masters.dead() == {owner("other")}


def test_a_peers_timeout_is_buildbots_own() -> None:
    assert timedelta(minutes=EXPIRE_MINUTES) == TIMEOUT


class Heartbeat:
    """What knows who was declared dead."""

    async def names_of_the_dead(self) -> list[str]:
        return ["other"]


@pytest_twisted.ensureDeferred
async def test_builds_of_one_that_was_declared_dead_are_given_to_others() -> None:
    services = SimpleNamespace(namedServices={HEARTBEAT: Heartbeat()})
    master = SimpleNamespace(service_manager=services)

    assert await failed_over_owners(master, ("a", "b")) == {
        owner("other", "a"),
        owner("other", "b"),
    }


@pytest_twisted.ensureDeferred
async def test_without_a_heartbeat_nobody_is_declared_dead() -> None:
    master = SimpleNamespace(service_manager=SimpleNamespace(namedServices={}))

    assert not await failed_over_owners(master, ("pool",))
