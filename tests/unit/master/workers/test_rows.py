# SPDX-License-Identifier: GPL-2.0-only
"""Rows of workers in Buildbot's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from buildbot.db.model import Model
from sqlalchemy import insert, select

import job_records
from job_records import Tables
from latent_libvirt.master.workers import rows

MASTER, OTHER = 1, 2
BUILDERS = {"check": 11, "other": 12}
SERVICE = "module.Class"


@pytest.fixture
def tables() -> Iterator[Tables]:
    with job_records.tables() as tables:
        connection = tables.connection
        of_master = [
            {"id": 10 * master + number, "builderid": number, "masterid": master}
            for master in (MASTER, OTHER)
            for number in BUILDERS.values()
        ]
        names = [{"id": n, "name": name, "name_hash": name} for name, n in BUILDERS.items()]
        connection.execute(insert(Model.builders), names)
        connection.execute(insert(Model.builder_masters), of_master)
        connection.commit()
        yield tables


def written(tables: Tables, workers: dict[str, list[str]], **more: Any) -> list[str]:
    """Write rows; return the first word of each statement."""
    statements: list[str] = []

    def asked(_connection: object, _cursor: object, text: str, *_more: object) -> None:
        statements.append(text.split(maxsplit=1)[0])

    sqlalchemy.event.listen(tables.connection, "before_cursor_execute", asked)
    rows.write(tables.connection, MASTER, workers, service=SERVICE, **more)
    sqlalchemy.event.remove(tables.connection, "before_cursor_execute", asked)
    return statements


def configured(tables: Tables) -> set[tuple[str, int]]:
    table, workers = Model.configured_workers, Model.workers
    query = select(workers.c.name, table.c.buildermasterid).select_from(table.join(workers))
    return {(row.name, row.buildermasterid) for row in tables.connection.execute(query)}


def test_many_workers_cost_as_many_statements_as_few(tables: Tables) -> None:
    few = written(tables, {"a-1": ["check"]})
    many = written(tables, {f"b-{number}": ["check", "other"] for number in range(400)})
    assert len(many) == len(few)
    assert many.count("INSERT") == 3
    assert len(configured(tables)) == 801


def test_what_is_there_is_not_written_again(tables: Tables) -> None:
    workers = {"a-1": ["check"], "a-2": ["check", "other"]}
    written(tables, workers)
    before = configured(tables)
    assert set(written(tables, workers)) == {"SELECT"}
    assert configured(tables) == before


def test_a_service_of_another_class_has_another_id(tables: Tables) -> None:
    tables.connection.execute(insert(Model.objects), [{"name": "a-1", "class_name": "other"}])
    written(tables, {"a-1": ["check"]})
    query = select(Model.objects.c.class_name).where(Model.objects.c.name == "a-1")
    assert {row.class_name for row in tables.connection.execute(query)} == {"other", SERVICE}


def test_what_is_absent_has_no_builders_of_this_master(tables: Tables) -> None:
    written(tables, {"a-1": ["check"], "a-2": ["check"], "by-hand": ["other"]})
    ids = {row.name: row.id for row in tables.connection.execute(select(Model.workers))}
    elsewhere = [{"workerid": ids["a-2"], "buildermasterid": 10 * OTHER + 11}]
    tables.connection.execute(insert(Model.configured_workers), elsewhere)

    written(tables, {"a-1": ["check"]}, absent=["a-2", "a-3"])

    there = {("a-1", 21), ("by-hand", 22), ("a-2", 10 * OTHER + 11)}
    assert configured(tables) == there


def test_builders_that_the_master_does_not_have_yet_are_left_out(tables: Tables) -> None:
    written(tables, {"a-1": ["check", "to come"]})
    assert configured(tables) == {("a-1", 21)}


def test_what_another_master_has_added_at_the_same_moment_is_left_to_buildbot(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tables, {"a-1": ["check"]})
    monkeypatch.setattr(rows, "_ids", lambda *_: {})  # as it was a moment before
    written(tables, {"a-1": ["other"], "a-2": ["check"]})
    assert configured(tables) == {("a-1", 21)}
