# SPDX-License-Identifier: GPL-2.0-only
"""What is stored of a build's properties, in Buildbot's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy
from buildbot.db.model import Model
from buildbot.process.properties import Properties
from twisted.internet.defer import Deferred

import job_records
from job_records import Tables
from latent_libvirt.master.database.build_properties import Digests, Sourced, install, store

BUILD = 7


@pytest.fixture
def tables() -> Iterator[Tables]:
    with job_records.tables() as tables:
        yield tables


def stored(
    tables: Tables, wanted: Sourced, build: int = BUILD, *, known: Digests | None = None
) -> tuple[list[str], list[str]]:
    """Store properties; return the names of those that have changed, and the statements."""
    statements: list[str] = []

    def asked(_connection: object, _cursor: object, text: str, *_more: object) -> None:
        statements.append(text.split(maxsplit=1)[0])

    sqlalchemy.event.listen(tables.connection, "before_cursor_execute", asked)
    with tables.connection.begin():
        changed, _all = store(tables.connection, build, wanted, known)
    sqlalchemy.event.remove(tables.connection, "before_cursor_execute", asked)
    return changed, statements


def kept(tables: Tables, build: int = BUILD) -> dict[str, tuple[str, str]]:
    table = Model.build_properties
    with tables.connection.begin():
        rows = tables.connection.execute(table.select().where(table.c.buildid == build)).all()
    assert len({row.name for row in rows}) == len(rows)
    return {row.name: (row.value, row.source) for row in rows}


def test_any_number_of_new_properties_takes_two_statements(tables: Tables) -> None:
    many: Sourced = {f"p{number}": (number, "test") for number in range(40)}
    assert stored(tables, many) == (list(many), ["SELECT", "INSERT"])
    assert kept(tables) == {name: (str(value), "test") for name, (value, _) in many.items()}


def test_what_is_known_to_be_stored_is_not_read_again(tables: Tables) -> None:
    first: Sourced = {"label": ("a", "test")}
    _names, known = store(tables.connection, BUILD, first)
    tables.connection.commit()

    more: Sourced = {"label": ("b", "test"), "size": (1, "test")}
    assert stored(tables, more, known=known) == (["label", "size"], ["INSERT", "UPDATE"])
    assert kept(tables) == {"label": ('"b"', "test"), "size": ("1", "test")}


def test_what_is_remembered_of_a_value_is_short_however_long_it_is(tables: Tables) -> None:
    _names, known = store(tables.connection, BUILD, {"output": ("x" * 1_000_000, "guest")})

    assert len(known["output"]) <= 64


def test_what_has_not_changed_is_not_written(tables: Tables) -> None:
    same: Sourced = {"label": ("a", "test"), "sizes": ([1, None], "test")}
    stored(tables, same)
    assert stored(tables, same) == ([], ["SELECT"])


def test_another_value_or_source_replaces_the_one_before(tables: Tables) -> None:
    stored(tables, {"a": (1, "test"), "b": (1, "test"), "c": (1, "test")})
    wanted: Sourced = {"a": (2, "test"), "b": (1, "step"), "c": (1, "test"), "d": (1, "")}
    changed, _ = stored(tables, wanted)
    assert changed == ["a", "b", "d"]
    assert kept(tables) == {
        "a": ("2", "test"),
        "b": ("1", "step"),
        "c": ("1", "test"),
        "d": ("1", ""),
    }


def test_another_build_has_other_properties(tables: Tables) -> None:
    stored(tables, {"a": (1, "test")})
    stored(tables, {"a": (2, "test")}, build=8)
    assert kept(tables) == {"a": ("1", "test")}
    assert kept(tables, 8) == {"a": ("2", "test")}


def test_the_properties_of_a_build_are_stored_one_time_after_the_other() -> None:
    under_way: list[tuple[int, Deferred[tuple[list[str], Digests]]]] = []

    def begin(
        _store: object, build: int, _wanted: Sourced, _known: Digests | None
    ) -> Deferred[tuple[list[str], Digests]]:
        under_way.append((build, Deferred()))
        return under_way[-1][1]

    # What the database does, and when, is the point.
    master: Any = SimpleNamespace(
        data=SimpleNamespace(updates=SimpleNamespace()),
        db=SimpleNamespace(
            pool=SimpleNamespace(do_with_transaction=begin),
            builds=SimpleNamespace(checkLength=lambda *_: None),
        ),
    )
    install(master)
    for build in (BUILD, BUILD, 8):
        master.data.updates.setBuildProperties(build, Properties(a=1))
    assert [build for build, _ in under_way] == [BUILD, 8]
    under_way[0][1].callback(([], {}))
    assert [build for build, _ in under_way] == [BUILD, 8, BUILD]
