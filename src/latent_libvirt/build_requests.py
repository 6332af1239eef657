# SPDX-License-Identifier: GPL-2.0-only
"""The build requests that nobody has claimed, by questions to Buildbot's database.

Buildbot's own data API would bring every waiting request as an object; with 25,000 of them
(buildbot #3395) that holds up the master. Here the database counts, and a builder's requests come
with no more than it takes to choose one. What follows from the answers is the business of
``fair_order.py``, ``waiting.py`` and ``build_chooser.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

import sqlalchemy
from buildbot.db.model import Model
from buildbot.util import epoch2datetime

from latent_libvirt.queues import Queue


def unclaimed(connection: sqlalchemy.Connection) -> dict[str, dict[int, Queue]]:
    """Return the requests that no master has claimed, by builder's name and priority. Blocks."""
    found: dict[str, dict[int, Queue]] = defaultdict(dict)
    for builder, priority, requests, since in connection.execute(QUERY):
        found[builder][priority] = Queue(requests, float(since))
    return dict(found)


def of_builder(connection: sqlalchemy.Connection, builderid: int) -> list[dict[str, Any]]:
    """Return the unclaimed requests of a builder, those that come first first. Blocks.

    Each has the keys of Buildbot's data API that are needed to make a ``BuildRequest`` of it.
    """
    return [
        {**row, "submitted_at": epoch2datetime(row["submitted_at"])}
        for row in connection.execute(OF_BUILDER, {"builder": builderid}).mappings()
    ]


def values(
    connection: sqlalchemy.Connection, builderid: int, names: Collection[str]
) -> dict[str, dict[int, str]]:
    """Return the values of some properties in a builder's unclaimed requests. Blocks.

    What comes from the changes of a request is part of its value.

    :return: for each name, the value by the request's buildset, as far as there is one.
    """
    found: dict[str, dict[int, str]] = {name: {} for name in names}
    for query in (OF_CHANGES, OF_BUILDSETS):
        parameters = {"builder": builderid, "names": list(names)}
        for name, buildset, value in connection.execute(query, parameters):
            found[name][buildset] = found[name].get(buildset, "") + value
    return found


_REQUESTS, _CLAIMS = Model.buildrequests, Model.buildrequest_claims
_JOINED = _REQUESTS.outerjoin(_CLAIMS, _REQUESTS.c.id == _CLAIMS.c.brid)
_UNCLAIMED = (_REQUESTS.c.complete == 0, _CLAIMS.c.brid.is_(None))
_BUILDER = _REQUESTS.c.builderid == sqlalchemy.bindparam("builder")


def _query() -> sqlalchemy.Select[Any]:
    requests, builders = _REQUESTS, Model.builders
    return (
        sqlalchemy.select(
            builders.c.name,
            requests.c.priority,
            sqlalchemy.func.count(),
            sqlalchemy.func.min(requests.c.submitted_at),
        )
        .select_from(_JOINED.join(builders, requests.c.builderid == builders.c.id))
        .where(*_UNCLAIMED)
        .group_by(builders.c.name, requests.c.priority)
    )


def _of_builder() -> sqlalchemy.Select[Any]:
    requests = _REQUESTS.c
    return (
        sqlalchemy.select(
            requests.id.label("buildrequestid"),
            requests.buildsetid,
            requests.builderid,
            requests.priority,
            requests.submitted_at,
            requests.waited_for,
        )
        .select_from(_JOINED)
        .where(_BUILDER, *_UNCLAIMED)
        .order_by(requests.priority.desc(), requests.id)
    )


def _of_buildsets() -> sqlalchemy.Select[Any]:
    properties = Model.buildset_properties
    return _values(
        properties,
        _JOINED.join(properties, properties.c.buildsetid == _REQUESTS.c.buildsetid),
    )


def _of_changes() -> sqlalchemy.Select[Any]:
    properties, changes, stamps = (
        Model.change_properties,
        Model.changes,
        Model.buildset_sourcestamps,
    )
    return _values(
        properties,
        _JOINED.join(stamps, stamps.c.buildsetid == _REQUESTS.c.buildsetid)
        .join(changes, changes.c.sourcestampid == stamps.c.sourcestampid)
        .join(properties, properties.c.changeid == changes.c.changeid),
    ).order_by(changes.c.changeid)


def _values(properties: sqlalchemy.Table, joined: sqlalchemy.FromClause) -> sqlalchemy.Select[Any]:
    name = properties.c.property_name
    return (
        sqlalchemy.select(name, _REQUESTS.c.buildsetid, properties.c.property_value)
        .select_from(joined)
        .where(_BUILDER, *_UNCLAIMED)
        .where(name.in_(sqlalchemy.bindparam("names", expanding=True)))
    )


QUERY = _query()
OF_BUILDER = _of_builder()
OF_BUILDSETS = _of_buildsets()
OF_CHANGES = _of_changes()
