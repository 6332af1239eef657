# SPDX-License-Identifier: GPL-2.0-only
"""What waits, as a real database with Buildbot's tables counts it, and the order that follows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.db.model import Model
from sqlalchemy.dialects import postgresql
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from latent_libvirt import fair_order
from latent_libvirt.fair_order import FairOrder, waiting_requests
from latent_libvirt.turns import Waiting


class Queue:
    """Build requests in a database."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self.connection = connection
        self._ids = itertools.count(1)
        self._builders: dict[str, int] = {}
        self._insert(Model.buildsets, id=1, submitted_at=0, complete=0, external_idstring="")
        for number in (1, 2):
            name = f"master-{number}"
            self._insert(
                Model.masters, id=number, name=name, name_hash=name, active=1, last_active=0
            )

    def add(
        self,
        builder: str,
        submitted_at: int = 100,
        *,
        priority: int = 0,
        complete: int = 0,
        claimed_by: int | None = None,
    ) -> None:
        number = next(self._ids)
        self._insert(
            Model.buildrequests,
            id=number,
            buildsetid=1,
            builderid=self._builder(builder),
            priority=priority,
            submitted_at=submitted_at,
            complete=complete,
        )
        if claimed_by is not None:
            claims = Model.buildrequest_claims
            self._insert(claims, brid=number, masterid=claimed_by, claimed_at=0)

    def _builder(self, name: str) -> int:
        if name not in self._builders:
            number = self._builders[name] = len(self._builders) + 1
            self._insert(Model.builders, id=number, name=name, name_hash=name)
        return self._builders[name]

    def _insert(self, table: sqlalchemy.Table, **values: Any) -> None:
        self.connection.execute(table.insert().values(**values))


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/state.sqlite")
    Model.metadata.create_all(engine)
    with engine.connect() as connection:
        yield Queue(connection)
    engine.dispose()


def test_requests_are_counted_by_builder_and_priority_with_the_oldest_of_each(
    queue: Queue,
) -> None:
    queue.add("check", 300)
    queue.add("check", 200)
    queue.add("check", 400, priority=5)
    queue.add("docs", 100, priority=-1)

    assert waiting_requests(queue.connection) == {
        "check": Waiting({0: 2, 5: 1}, {0: 200.0, 5: 400.0}),
        "docs": Waiting({-1: 1}, {-1: 100.0}),
    }


@pytest.mark.parametrize(
    "state",
    [{"claimed_by": 1}, {"claimed_by": 2}, {"complete": 1}, {"complete": 1, "claimed_by": 1}],
)
def test_what_some_master_has_taken_or_is_done_does_not_wait(
    queue: Queue, state: dict[str, Any]
) -> None:
    queue.add("check", 200)
    queue.add("check", 100, **state)
    queue.add("busy", 50, **state)

    assert waiting_requests(queue.connection) == {"check": Waiting({0: 1}, {0: 200.0})}


def test_nothing_waits_in_an_empty_database(queue: Queue) -> None:
    assert waiting_requests(queue.connection) == {}


def test_the_database_is_asked_once_and_tells_a_row_per_builder_and_priority(
    queue: Queue,
) -> None:
    for _ in range(500):
        queue.add("check")
        queue.add("docs", priority=1)
    asked: list[str] = []
    sqlalchemy.event.listen(
        queue.connection, "before_cursor_execute", lambda _c, _u, text, *_: asked.append(text)
    )

    assert sum(waiting_requests(queue.connection)["check"].requests.values()) == 500
    assert len(asked) == 1
    assert len(queue.connection.execute(fair_order._QUERY).all()) == 2


def test_postgresql_is_asked_in_its_own_words() -> None:
    text = str(
        fair_order._QUERY.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    )

    # PostgreSQL refuses what is selected and neither aggregated nor grouped by.
    assert "GROUP BY builders.name, buildrequests.priority" in text


# The order.


def a_builder(name: str, *, of_a_pool: bool = True) -> Any:
    worker = SimpleNamespace(pool_name="pool") if of_a_pool else SimpleNamespace()
    return SimpleNamespace(name=name, workers=[SimpleNamespace(worker=worker)])


class Master:
    """A master whose database is that of *queue*, and which remembers whom it tried again."""

    def __init__(self, queue: Queue) -> None:
        self.reactor = Clock()
        self.tried: list[str] = []
        self.botmaster = SimpleNamespace(maybeStartBuildsForBuilder=self.tried.append)
        self.db = SimpleNamespace(pool=SimpleNamespace(do=self._do))
        self._queue = queue

    def _do(self, question: Callable[[sqlalchemy.Connection], Any]) -> Deferred[Any]:
        return succeed(question(self._queue.connection))


@pytest_twisted.ensureDeferred
async def test_who_has_fewest_vms_comes_first_unless_a_request_is_more_urgent(
    queue: Queue,
) -> None:
    for name, priority in [("greedy", 0), ("modest", 0), ("urgent", 1)]:
        queue.add(name, priority=priority)
    builders = [a_builder(name) for name in ("greedy", "modest", "urgent", "idle")]

    order = await FairOrder(Master(queue)).prioritize(builders, ["greedy", "urgent", "urgent"])

    assert [builder.name for builder in order] == ["urgent", "modest", "greedy", "idle"]
    assert set(map(id, order)) == set(map(id, builders))


@pytest_twisted.ensureDeferred
async def test_a_builder_whose_turn_ends_is_tried_again_in_a_later_turn_of_the_reactor(
    queue: Queue,
) -> None:
    master = Master(queue)
    for name in ("greedy", "modest"):
        queue.add(name)
        queue.add(name)
    order = FairOrder(master)
    greedy, modest = a_builder("greedy"), a_builder("modest")
    first, second = await order.prioritize([greedy, modest], [])
    assert order.is_turn_of(first, 0)
    order.turns.took(first.name)

    assert not order.is_turn_of(first, 0), "the other has none yet"

    assert master.tried == []
    master.reactor.advance(0)
    assert master.tried == [first.name]
    assert order.is_turn_of(second, 0)


@pytest_twisted.ensureDeferred
async def test_a_builder_without_workers_of_a_pool_waits_for_nobody(queue: Queue) -> None:
    queue.add("check")
    queue.add("bare-metal")
    order = FairOrder(Master(queue))
    bare_metal = a_builder("bare-metal", of_a_pool=False)
    await order.prioritize([bare_metal, a_builder("check")], ["bare-metal"] * 9)

    for _ in range(3):
        assert order.is_turn_of(bare_metal, 0)
        order.turns.took("bare-metal")
