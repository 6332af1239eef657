# SPDX-License-Identifier: GPL-2.0-only
"""The order that follows from what waits in a real database with Buildbot's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

import memory_database
from latent_libvirt.master.choosing.fair_order import FairOrder
from latent_libvirt.pool.fair_share import FairShare
from request_tables import RequestTables


@pytest.fixture
def queue() -> Iterator[RequestTables]:
    engine = memory_database.engine()
    with engine.connect() as connection:
        yield RequestTables(connection)
    engine.dispose()


def a_builder(name: str, *, of_a_pool: bool = True) -> Any:
    worker = SimpleNamespace(pool_name="pool") if of_a_pool else SimpleNamespace()
    return SimpleNamespace(name=name, workers=[SimpleNamespace(worker=worker)])


class Master:
    """A master whose database is that of *queue*, and which remembers whom it tried again."""

    def __init__(self, queue: RequestTables) -> None:
        self.reactor = Clock()
        self.tried: list[str] = []
        self.botmaster = SimpleNamespace(maybeStartBuildsForBuilder=self.tried.append)
        self.db = SimpleNamespace(pool=SimpleNamespace(do=self._do))
        self._queue = queue

    def _do(self, question: Callable[[sqlalchemy.Connection], Any]) -> Deferred[Any]:
        return succeed(question(self._queue.connection))


@pytest_twisted.ensureDeferred
async def test_who_has_fewest_vms_comes_first_unless_a_request_is_more_urgent(
    queue: RequestTables,
) -> None:
    for name, priority in [("greedy", 0), ("modest", 0), ("urgent", 1)]:
        queue.add(name, priority=priority)
    builders = [a_builder(name) for name in ("greedy", "modest", "urgent", "idle")]

    order = await FairOrder(Master(queue), FairShare()).prioritize(
        builders, ["greedy", "urgent", "urgent"]
    )

    assert [builder.name for builder in order] == ["urgent", "modest", "greedy", "idle"]
    assert set(map(id, order)) == set(map(id, builders))


@pytest_twisted.ensureDeferred
async def test_a_builder_whose_turn_ends_is_tried_again_in_a_later_turn_of_the_reactor(
    queue: RequestTables,
) -> None:
    master = Master(queue)
    for name in ("greedy", "modest"):
        queue.add(name)
        queue.add(name)
    order = FairOrder(master, FairShare())
    greedy, modest = a_builder("greedy"), a_builder("modest")
    first, second = await order.prioritize([greedy, modest], [])
    assert order.is_turn_of(first, 0)
    order.fair_share.took(first.name)

    assert not order.is_turn_of(first, 0), "the other has none yet"

    assert master.tried == []
    master.reactor.advance(0)
    assert master.tried == [first.name]
    assert order.is_turn_of(second, 0)


@pytest_twisted.ensureDeferred
async def test_a_builder_without_workers_of_a_pool_waits_for_nobody(queue: RequestTables) -> None:
    queue.add("check")
    queue.add("bare-metal")
    order = FairOrder(Master(queue), FairShare())
    bare_metal = a_builder("bare-metal", of_a_pool=False)
    await order.prioritize([bare_metal, a_builder("check")], ["bare-metal"] * 9)

    for _ in range(3):
        assert order.is_turn_of(bare_metal, 0)
        order.fair_share.took("bare-metal")
