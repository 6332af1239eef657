# SPDX-License-Identifier: GPL-2.0-only
"""What is read of a buildset, from Buildbot's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, make_dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy
from buildbot.db.model import Model

import job_records
from job_records import Tables
from latent_libvirt.master.database import buildsets

ROW: dict[str, Any] = {
    "external_idstring": "try-7",
    "reason": "forced",
    "submitted_at": 1000,
    "complete": 1,
    "complete_at": 1060,
    "results": 2,
    "parent_relationship": None,
}


@pytest.fixture
def tables() -> Iterator[Tables]:
    with job_records.tables() as tables:
        yield tables


def add(tables: Tables, stamps: int, **values: Any) -> int:
    """Add a buildset with that many source stamps; return its id."""
    buildset = tables.add(Model.buildsets, **{**ROW, **values})
    for number in range(stamps):
        stamp = tables.add(
            Model.sourcestamps,
            ss_hash=f"{buildset}.{number}",
            repository="",
            codebase=str(number),
            project="",
            created_at=1,
        )
        tables.add(Model.buildset_sourcestamps, buildsetid=buildset, sourcestampid=stamp)
    return buildset


@pytest.mark.parametrize("stamps", [0, 1, 3])
def test_a_buildset_is_read_with_its_source_stamps_by_one_statement(
    tables: Tables, stamps: int
) -> None:
    add(tables, 2)  # another one
    buildset = add(tables, stamps)
    statements: list[str] = []

    def asked(_connection: object, _cursor: object, text: str, *_more: object) -> None:
        statements.append(text)

    sqlalchemy.event.listen(tables.connection, "before_cursor_execute", asked)
    found = buildsets.find(tables.connection, buildset)

    assert found is not None
    assert asdict(found) == {
        **ROW,
        "bsid": buildset,
        "submitted_at": datetime.fromtimestamp(1000, UTC),
        "complete": True,
        "complete_at": datetime.fromtimestamp(1060, UTC),
        "parent_buildid": None,
        "rebuilt_buildid": None,
        "sourcestamps": list(range(3, 3 + stamps)),
    }
    assert len(statements) == 1


def test_one_that_has_not_ended_has_no_time_of_its_end(tables: Tables) -> None:
    found = buildsets.find(tables.connection, add(tables, 1, complete=0, complete_at=None))
    assert found is not None
    assert (found.complete, found.complete_at) == (False, None)


def test_a_buildset_that_is_not_there_is_none(tables: Tables) -> None:
    assert buildsets.find(tables.connection, add(tables, 1) + 1) is None


def test_a_buildset_with_a_field_of_a_later_buildbot_is_read_as_that_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = make_dataclass("BuildSetModel", [*buildsets.FIELDS, "cost"])
    monkeypatch.setattr(buildsets, "BuildSetModel", later)

    assert not buildsets.is_known()
