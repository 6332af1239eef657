# SPDX-License-Identifier: GPL-2.0-only
"""How a job comes into the database, which is SQLite here; PostgreSQL is tested with masters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy
from buildbot.db.model import Model

from job_records import UUID, Tables
from latent_libvirt.jobs.listing import Filters, page
from latent_libvirt.jobs.queries import (
    Job,
    find,
)
from latent_libvirt.jobs.request import JobRequest
from latent_libvirt.jobs.submission import (
    _UNFINISHED,
    Accepted,
    Order,
    _insert,
    _look_first,
    _or_refused,
)
from latent_libvirt.jobs.table import jobs
from latent_libvirt.jobs.web.problems import RefusedError

REQUEST = JobRequest(builder="check", properties={"a": [1]}, reason="to see", priority=3)
ORDER = Order(REQUEST, "check", UUID, f"https://ci/jobs/{UUID}", "tests", 1000)


@pytest.fixture
def active(tables: Tables) -> int:
    """Give the id of a master that has the builder."""
    master = tables.add_master("alpha")
    tables.add_builder("check", master)
    return master


def add_stamp(tables: Tables) -> int:
    return tables.add(
        Model.sourcestamps,
        ss_hash=str(tables.count(Model.sourcestamps)),
        repository="",
        project="",
        codebase="",
        created_at=0,
    )


def insert(tables: Tables, order: Order = ORDER) -> Accepted | RefusedError | None:
    return _or_refused(tables.connection, _insert, order, [add_stamp(tables)])


def listed(
    tables: Tables, filters: Filters, builders: frozenset[str] | None = None
) -> tuple[list[Job], str | None]:
    with tables.connection.begin():
        return page(tables.connection, filters, builders)


def test_a_job_can_be_found_by_its_uuid(tables: Tables, active: int) -> None:
    accepted = insert(tables)
    job = find(tables.connection, UUID)

    assert isinstance(accepted, Accepted)
    assert accepted.is_new
    assert job is not None
    assert (job.builder, job.reason, job.priority, job.token) == ("check", "to see", 3, "tests")
    assert job.properties == {"a": [1], "job_uuid": UUID, "job_url": f"https://ci/jobs/{UUID}"}
    assert (job.can_run, job.attempts, job.finished_at) == (True, (), None)


def test_again_it_is_the_same(tables: Tables, active: int) -> None:
    first, second = insert(tables), insert(tables)
    assert second == replace(first, is_new=False)  # type: ignore[type-var]
    assert tables.count(Model.buildsets) == tables.count(jobs) == 1


def test_what_is_claimed_is_not_told_to_masters_again(tables: Tables, active: int) -> None:
    accepted = insert(tables)
    assert isinstance(accepted, Accepted)
    claims = Model.buildrequest_claims
    tables.add(claims, brid=accepted.build_request, masterid=active, claimed_at=0)
    again = insert(tables)
    assert isinstance(again, Accepted)
    assert (accepted.waits, again.waits) == (True, False)


def test_another_content_is_refused(tables: Tables, active: int) -> None:
    insert(tables)
    refused = insert(tables, replace(ORDER, request=JobRequest(builder="check")))
    assert isinstance(refused, RefusedError)
    assert refused.status == 409


def test_without_an_active_master_nothing_is_left_behind(tables: Tables) -> None:
    tables.add_builder("check", tables.add_master("gone", active=False))
    for builder in ("check", "unknown"):
        refused = insert(tables, replace(ORDER, builder=builder))
        assert isinstance(refused, RefusedError)
        assert refused.status == 422
    assert tables.count(Model.buildsets) == tables.count(Model.buildrequests) == 0


def test_a_list_ends_where_the_next_page_begins(tables: Tables, active: int) -> None:
    uuids = [UUID[:-2] + f"{number:02}" for number in range(5)]
    for uuid in uuids:
        insert(tables, replace(ORDER, uuid=uuid))

    first, cursor = listed(tables, Filters(limit=3))
    insert(tables, replace(ORDER, uuid=UUID))
    second, end = listed(tables, Filters(limit=3, cursor=cursor))

    assert [job.uuid for job in first + second] == uuids[::-1]
    assert end is None


def test_a_list_shows_what_may_be_seen_and_is_asked_for(tables: Tables, active: int) -> None:
    insert(tables)

    def found(builders: frozenset[str] | None = None, **filters: str) -> int:
        return len(listed(tables, Filters.model_validate(filters), builders)[0])

    assert found() == found(frozenset({"check"})) == 1
    assert found(frozenset()) == found(frozenset({"other"})) == 0
    assert found(state="waiting") == found(state="unfinished") == found(builder="check") == 1
    assert found(state="running") == found(state="finished") == found(result="success") == 0
    assert found(since="1970-01-01T00:16:40Z") == 1
    assert found(until="1970-01-01T00:16:40Z") == 0


def test_a_list_can_be_searched_by_a_property(tables: Tables, active: int) -> None:
    given: dict[str, Any] = {"package": "hello", "count": 3, "text": "3"}
    given |= {"odd": 'a", "b%_', "yes": True}
    insert(tables, replace(ORDER, request=JobRequest(builder="check", properties=given)))

    def found(text: str) -> int:
        return len(listed(tables, Filters.model_validate({"property": text}))[0])

    for each in ("package", "package=hello", "count=3", "text=3", 'odd=a", "b%_', "yes=true"):
        assert found(each) == 1, each
    for each in ("pack", "package=", "package=hell", "package=Hello", "odd=a", "count=03", "="):
        assert found(each) == 0, each
    next_page = Filters.model_validate({"property": "a=b"}).for_next_page
    assert next_page == {"property": "a=b"}


def test_a_token_has_so_many_unfinished_jobs_and_no_more(tables: Tables, active: int) -> None:
    order = replace(ORDER, quota=2)
    uuids = [UUID[:-2] + f"{number:02}" for number in range(4)]
    first, second, third = (insert(tables, replace(order, uuid=uuid)) for uuid in uuids[:3])
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    assert isinstance(third, RefusedError)
    assert (third.status, third.kind) == (429, "too-many-unfinished")

    again = insert(tables, replace(order, uuid=uuids[0]))
    other = insert(tables, replace(order, uuid=uuids[3], token="other"))
    assert isinstance(again, Accepted)
    assert not again.is_new
    assert isinstance(other, Accepted)
    assert tables.count(Model.buildsets) == 3

    with tables.connection.begin():
        done = Model.buildrequests.update().where(Model.buildrequests.c.id == first.build_request)
        tables.connection.execute(done.values(complete=1))
    assert isinstance(insert(tables, replace(order, uuid=uuids[2])), Accepted)


def test_what_would_be_refused_is_seen_before_anything_is_kept(tables: Tables, active: int) -> None:
    assert _or_refused(tables.connection, _look_first, ORDER) is None
    nobodys = replace(ORDER, builder="nobody's")
    assert isinstance(_or_refused(tables.connection, _look_first, nobodys), RefusedError)
    accepted = insert(tables)
    assert isinstance(accepted, Accepted)

    again = _or_refused(tables.connection, _look_first, ORDER)
    assert again == replace(accepted, is_new=False)
    full = replace(ORDER, uuid=str(uuid4()), quota=1)
    assert isinstance(_or_refused(tables.connection, _look_first, full), RefusedError)


def statements_of(tables: Tables, order: Order) -> list[str]:
    statements: list[str] = []
    stamp = add_stamp(tables)

    def asked(_connection: object, _cursor: object, text: str, *_more: object) -> None:
        statements.append(" ".join(text.split()))

    sqlalchemy.event.listen(tables.connection, "before_cursor_execute", asked)
    _or_refused(tables.connection, _insert, order, [stamp])
    sqlalchemy.event.remove(tables.connection, "before_cursor_execute", asked)
    return statements


def test_jobs_of_a_token_wait_for_each_other_only_to_be_counted(
    tables: Tables, active: int
) -> None:
    insert(tables, replace(ORDER, quota=9))
    *written, locked, counted = statements_of(tables, replace(ORDER, uuid=str(uuid4()), quota=9))

    assert all(each.startswith("INSERT INTO") for each in written)
    assert not any("quotas" in each for each in written)
    assert "FROM latent_libvirt_quotas" in locked
    assert counted.startswith("SELECT count(")


def test_jobs_of_a_token_without_a_quota_do_not_wait_for_each_other(
    tables: Tables, active: int
) -> None:
    assert not any("quotas" in each for each in statements_of(tables, ORDER))


def test_a_job_that_was_added_while_this_one_was_is_the_same(tables: Tables, active: int) -> None:
    narrow = replace(ORDER, quota=1)
    first = insert(tables, narrow)
    assert isinstance(first, Accepted)
    assert insert(tables, narrow) == replace(first, is_new=False)
    assert tables.count(Model.buildsets) == 1


def test_jobs_that_have_finished_cost_nothing_when_those_of_a_token_are_counted(
    tables: Tables,
) -> None:
    with tables.connection.begin():
        explained = sqlalchemy.text(f"EXPLAIN QUERY PLAN {_UNFINISHED}")
        plan = tables.connection.execute(explained, {"complete_1": 0, "name": "tests"}).all()
    steps = [row[-1] for row in plan]

    assert any("buildrequests USING INDEX buildrequests_complete" in step for step in steps), steps
    assert not any(step.startswith("SCAN") for step in steps), steps
