# SPDX-License-Identifier: GPL-2.0-only
"""The one question to the database, with Buildbot's own tables in a file of SQLite's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from buildbot.db.model import Model
from sqlalchemy.dialects import postgresql

from latent_libvirt.master.queue.build_requests import (
    FOREMOST,
    QUERY,
    WAITING,
    WaitingRequest,
    foremost,
    of_builder,
    unclaimed,
    values,
)
from latent_libvirt.master.queue.queues import Queue
from request_tables import RequestTables

MANY = 25_000
"""Pending requests of buildbot #3395."""


@pytest.fixture
def requests(tmp_path: Path) -> Iterator[RequestTables]:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/state.sqlite")
    Model.metadata.create_all(engine)
    with engine.connect() as connection:
        yield RequestTables(connection)
    engine.dispose()


def test_requests_are_counted_by_builder_and_priority_with_the_oldest_of_each(
    requests: RequestTables,
) -> None:
    requests.add("check", 300)
    requests.add("check", 200)
    requests.add("check", 400, priority=5)
    requests.add("docs", 100, priority=-1)

    assert unclaimed(requests.connection) == {
        "check": {0: Queue(2, 200.0), 5: Queue(1, 400.0)},
        "docs": {-1: Queue(1, 100.0)},
    }


@pytest.mark.parametrize(
    "state",
    [{"claimed_by": 1}, {"claimed_by": 2}, {"complete": 1}, {"complete": 1, "claimed_by": 1}],
)
def test_what_some_master_has_taken_or_is_done_does_not_wait(
    requests: RequestTables, state: dict[str, Any]
) -> None:
    requests.add("check", 200)
    requests.add("check", 100, **state)
    requests.add("busy", 50, **state)

    assert unclaimed(requests.connection) == {"check": {0: Queue(1, 200.0)}}


def test_nothing_waits_in_an_empty_database(requests: RequestTables) -> None:
    assert unclaimed(requests.connection) == {}


def test_with_25000_requests_the_database_counts_and_tells_a_row_per_builder_and_priority(
    requests: RequestTables,
) -> None:
    requests.add("check", 100, count=MANY)
    requests.add("docs", 100, count=10)
    asked: list[str] = []
    sqlalchemy.event.listen(
        requests.connection, "before_cursor_execute", lambda _c, _u, text, *_: asked.append(text)
    )

    assert unclaimed(requests.connection)["check"] == {0: Queue(MANY, 100.0)}
    assert len(asked) == 1
    assert len(requests.connection.execute(QUERY).all()) == 2


def test_requests_of_the_past_cost_nothing(requests: RequestTables) -> None:
    plan = requests.connection.execute(
        sqlalchemy.text(f"EXPLAIN QUERY PLAN {QUERY}"), {"complete_1": 0}
    ).all()

    steps = [row[-1] for row in plan]
    assert any("buildrequests USING INDEX buildrequests_complete" in step for step in steps), steps
    assert not any(step.startswith("SCAN") for step in steps), steps


@pytest.mark.parametrize(("parent", "waited_for"), [(7, 1), (7, 0), (None, 1)])
def test_what_a_build_waits_for_comes_half_a_step_before_others(
    requests: RequestTables, parent: int | None, waited_for: int
) -> None:
    requests.add("check", 100)
    requests.add("check", 200, waited_for=waited_for, parent=parent)
    requests.add("check", 300, priority=1)
    expected = [3, 2, 1] if parent and waited_for else [3, 1, 2]

    assert [row.id for row in of_builder(requests.connection, 1)] == expected
    assert (0.5 in unclaimed(requests.connection)["check"]) == (expected == [3, 2, 1])


def test_a_property_has_the_value_of_the_request_and_of_its_changes(
    requests: RequestTables,
) -> None:
    requests.add("check", 100, properties={"label": '["a", "S"]', "more": '["x", "S"]'})
    requests.add("check", 100, properties={})
    requests.add("check", 100, changes={"label": '["b", "C"]'})
    requests.add("check", 100, properties={"label": '["z", "S"]'}, claimed_by=1)

    found = values(requests.connection, 1, ["label", "none"])

    assert found == {"label": {2: '["a", "S"]', 4: '["b", "C"]'}, "none": {}}


def test_the_foremost_are_those_of_the_highest_priority_and_then_the_oldest(
    requests: RequestTables,
) -> None:
    requests.add("check", 300)
    requests.add("check", 200)
    requests.add("docs", 400, priority=5)
    requests.add("check", 100, claimed_by=1)
    requests.add("check", 100, complete=1)
    requests.serve("check", 1, 2)

    both = ("master-1", "master-2")
    assert foremost(requests.connection, 2) == [
        WaitingRequest(3, "docs", 5, 400.0),
        WaitingRequest(2, "check", 0, 200.0, masters=both),
    ]
    assert len(foremost(requests.connection, 9)) == 3


def test_a_request_whose_build_has_lost_its_vm_waits_from_then_on(requests: RequestTables) -> None:
    requests.add("check", 100)
    requests.add("check", 200)
    requests.built(1, 300, 400)
    requests.built(1, 250, 350)
    requests.built(2, 250, None)

    found = foremost(requests.connection, 9)

    assert [(each.id, each.since) for each in found] == [(1, 400.0), (2, 200.0)], "the order stays"


@pytest.mark.parametrize("query", [FOREMOST, WAITING])
def test_the_builds_of_a_request_are_found_by_an_index(
    requests: RequestTables, query: sqlalchemy.Select[Any]
) -> None:
    plan = requests.connection.execute(
        sqlalchemy.text(f"EXPLAIN QUERY PLAN {query}"), {"complete_1": 0}
    ).all()

    steps = [row[-1] for row in plan]
    assert any("builds USING INDEX builds_buildrequestid" in step for step in steps), steps


def test_only_a_build_that_waits_for_a_request_is_its_parent(requests: RequestTables) -> None:
    requests.add("check", 300, waited_for=1, parent=7)
    requests.add("check", 400, waited_for=0, parent=7)

    assert [each.parent for each in foremost(requests.connection, 9)] == [7, None]


def test_postgresql_is_asked_in_its_own_words() -> None:
    text = str(
        QUERY.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    )

    # PostgreSQL refuses what is selected and neither aggregated nor grouped by.
    selected, grouped = text.split("GROUP BY builders.name, ")
    assert f"{grouped} AS urgency" in selected
