# SPDX-License-Identifier: GPL-2.0-only
"""Buildbot's own tables in a file of SQLite's, with build requests that a test puts there."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import sqlalchemy
from buildbot.db.model import Model

MASTERS = (1, 2)


class RequestTables:
    """Fills the tables of build requests."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self.connection = connection
        self._ids = itertools.count(1)
        self._builds = itertools.count(1)
        self._builders: dict[str, int] = {}
        self._insert(Model.buildsets, id=1, submitted_at=0, complete=0, external_idstring="")
        for number in MASTERS:
            name = f"master-{number}"
            self._insert(
                Model.masters, id=number, name=name, name_hash=name, active=1, last_active=0
            )

    def add(
        self,
        builder: str,
        submitted_at: int = 100,
        *,
        count: int = 1,
        priority: int = 0,
        complete: int = 0,
        claimed_by: int | None = None,
        waited_for: int = 0,
        **of_set: Any,
    ) -> None:
        """Add *count* equal requests.

        :param of_set: what :meth:`_buildset` takes.
        """
        ids = [next(self._ids) for _ in range(count)]
        common = {
            "buildsetid": self._buildset(ids[0] + 1, **of_set) if of_set else 1,
            "waited_for": waited_for,
            "builderid": self._builder(builder),
            "priority": priority,
            "submitted_at": submitted_at,
            "complete": complete,
        }
        self.connection.execute(
            Model.buildrequests.insert(), [{"id": id_, **common} for id_ in ids]
        )
        for id_ in ids if claimed_by is not None else ():
            self._insert(Model.buildrequest_claims, brid=id_, masterid=claimed_by, claimed_at=0)

    def serve(self, builder: str, *masters: int) -> None:
        """Say which masters have *builder*."""
        for master in masters:
            self._insert(Model.builder_masters, builderid=self._builder(builder), masterid=master)

    def built(self, request: int, started_at: int, complete_at: int | None) -> None:
        """Add a build of a request."""
        number = next(self._builds)
        self._insert(
            Model.builds,
            id=number,
            number=number,
            builderid=1,
            buildrequestid=request,
            masterid=MASTERS[0],
            started_at=started_at,
            complete_at=complete_at,
            state_string="",
            locks_duration_s=0,
        )

    def _buildset(
        self,
        number: int,
        *,
        parent: int | None = None,
        properties: Mapping[str, str] | None = None,
        changes: Mapping[str, str] | None = None,
    ) -> int:
        """Add a set of requests; return its number.

        :param parent: the build that has triggered it.
        :param changes: the properties of its one change.
        """
        self._insert(
            Model.buildsets,
            id=number,
            submitted_at=0,
            complete=0,
            external_idstring="",
            parent_buildid=parent,
        )
        for name, value in (properties or {}).items():
            self._insert(
                Model.buildset_properties,
                buildsetid=number,
                property_name=name,
                property_value=value,
            )
        if changes:
            self._change(number, changes)
        return number

    def _change(self, number: int, properties: Mapping[str, str]) -> None:
        stamp = {"repository": "", "codebase": "", "project": ""}
        self._insert(Model.sourcestamps, id=number, ss_hash=str(number), created_at=0, **stamp)
        self._insert(Model.buildset_sourcestamps, buildsetid=number, sourcestampid=number)
        text = {"author": "", "comments": "", "revlink": "", "category": ""}
        self._insert(
            Model.changes,
            changeid=number,
            sourcestampid=number,
            when_timestamp=0,
            **text,
            **stamp,
        )
        for name, value in properties.items():
            self._insert(
                Model.change_properties, changeid=number, property_name=name, property_value=value
            )

    def _builder(self, name: str) -> int:
        if name not in self._builders:
            number = self._builders[name] = len(self._builders) + 1
            self._insert(Model.builders, id=number, name=name, name_hash=name)
        return self._builders[name]

    def _insert(self, table: sqlalchemy.Table, **values: Any) -> None:
        self.connection.execute(table.insert().values(**values))
