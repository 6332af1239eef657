# SPDX-License-Identifier: GPL-2.0-only
"""The build requests that nobody has claimed, by questions to Buildbot's database.

Buildbot's own data API would bring every waiting request as an object; with 25,000 of them
(buildbot #3395) that holds up the master. Here the database counts, and a builder's requests come
with no more than it takes to choose one. What follows from the answers is decided in
``fair_order.py``, ``waiting.py`` and ``build_chooser.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from buildbot.db.model import Model
from buildbot.util import epoch2datetime

from latent_libvirt.master.queue.queues import Queue

Row = sqlalchemy.Row[Any]


@dataclass(frozen=True)
class WaitingRequest:
    """A request that no master has claimed.

    :param since: when it began to wait, seconds since the epoch. That is when it was submitted, or
        when its last build ended, such as one that has lost its VM.
    :param parent: the id of the build that waits for it; ``None`` if none does.
    :param masters: the names of the masters that run now and have its builder.
    """

    id: int
    builder: str
    priority: int
    since: float
    parent: int | None = None
    masters: tuple[str, ...] = ()


def foremost(connection: sqlalchemy.Connection, most: int) -> list[WaitingRequest]:
    """Return at most *most* requests that no master has claimed, by priority and age. Blocks."""
    masters: dict[int, list[str]] = defaultdict(list)
    for builder, master in connection.execute(_MASTERS):
        masters[builder].append(master)
    return [
        WaitingRequest(
            id=row.id,
            builder=row.name,
            priority=row.priority,
            since=float(row.since),
            parent=row.parent_buildid if row.waited_for else None,
            masters=tuple(masters[row.builderid]),
        )
        for row in connection.execute(FOREMOST.limit(most))
    ]


def waiting(connection: sqlalchemy.Connection) -> dict[str, Queue]:
    """Return the requests that no master has claimed, by builder's name. Blocks.

    Each waits since it was submitted, or since its last build ended.
    """
    return {
        builder: Queue(requests, float(since))
        for builder, requests, since in connection.execute(WAITING)
    }


def unclaimed(connection: sqlalchemy.Connection) -> dict[str, dict[float, Queue]]:
    """Return the requests that no master has claimed, by builder's name and priority. Blocks.

    Those that a build waits for come half a step before others of their priority. Their order is
    that in which they were submitted, whatever became of their builds.
    """
    found: dict[str, dict[float, Queue]] = defaultdict(dict)
    for builder, priority, requests, since in connection.execute(QUERY):
        found[builder][priority] = Queue(requests, float(since))
    return dict(found)


def of_builder(connection: sqlalchemy.Connection, builderid: int) -> list[Row]:
    """Return the unclaimed requests of a builder, those that come first first. Blocks."""
    return list(connection.execute(OF_BUILDER, {"builder": builderid}))


def as_data(row: Row) -> dict[str, Any]:
    """Return what Buildbot's data API says of a request, as far as choosers need it."""
    return {
        "buildrequestid": row.id,
        "buildsetid": row.buildsetid,
        "builderid": row.builderid,
        "priority": row.priority,
        "submitted_at": epoch2datetime(row.submitted_at),
        "waited_for": bool(row.waited_for),
    }


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


_REQUESTS, _CLAIMS, _SETS = Model.buildrequests, Model.buildrequest_claims, Model.buildsets
_JOINED = _REQUESTS.outerjoin(_CLAIMS, _REQUESTS.c.id == _CLAIMS.c.brid)
_WITH_SETS = _JOINED.join(_SETS, _SETS.c.id == _REQUESTS.c.buildsetid)
_UNCLAIMED = (_REQUESTS.c.complete == 0, _CLAIMS.c.brid.is_(None))
_BUILDER = _REQUESTS.c.builderid == sqlalchemy.bindparam("builder")

# A build that waits for another one has a VM, which nobody else gets before the other has ended.
# Literals: PostgreSQL does not take two parameters of one value for the same in GROUP BY.
_AWAITED = sqlalchemy.and_(
    _REQUESTS.c.waited_for == sqlalchemy.literal_column("1"), _SETS.c.parent_buildid.is_not(None)
)
_URGENCY = (
    sqlalchemy.cast(_REQUESTS.c.priority, sqlalchemy.Float)
    + sqlalchemy.case(
        (_AWAITED, sqlalchemy.literal_column("0.5")), else_=sqlalchemy.literal_column("0.0")
    )
).label("urgency")

_ENDED = (
    sqlalchemy.select(sqlalchemy.func.max(Model.builds.c.complete_at))
    .where(Model.builds.c.buildrequestid == _REQUESTS.c.id)
    .correlate(_REQUESTS)
    .scalar_subquery()
)
_SINCE = sqlalchemy.func.coalesce(_ENDED, _REQUESTS.c.submitted_at)


def _query() -> sqlalchemy.Select[Any]:
    builders = Model.builders
    return (
        sqlalchemy.select(
            builders.c.name,
            _URGENCY,
            sqlalchemy.func.count(),
            sqlalchemy.func.min(_REQUESTS.c.submitted_at),
        )
        .select_from(_WITH_SETS.join(builders, _REQUESTS.c.builderid == builders.c.id))
        .where(*_UNCLAIMED)
        .group_by(builders.c.name, _URGENCY)
    )


def _waiting() -> sqlalchemy.Select[Any]:
    builders = Model.builders
    return (
        sqlalchemy.select(builders.c.name, sqlalchemy.func.count(), sqlalchemy.func.min(_SINCE))
        .select_from(_JOINED.join(builders, _REQUESTS.c.builderid == builders.c.id))
        .where(*_UNCLAIMED)
        .group_by(builders.c.name)
    )


def _of_builder() -> sqlalchemy.Select[Any]:
    requests = _REQUESTS.c
    return (
        sqlalchemy.select(
            requests.id,
            requests.buildsetid,
            requests.builderid,
            requests.priority,
            requests.submitted_at,
            requests.waited_for,
            _URGENCY,
        )
        .select_from(_WITH_SETS)
        .where(_BUILDER, *_UNCLAIMED)
        .order_by(_URGENCY.desc(), requests.id)
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


def _foremost() -> sqlalchemy.Select[Any]:
    builders, requests = Model.builders, _REQUESTS.c
    return (
        sqlalchemy.select(
            requests.id,
            requests.builderid,
            builders.c.name,
            requests.priority,
            _SINCE.label("since"),
            requests.waited_for,
            _SETS.c.parent_buildid,
        )
        .select_from(_WITH_SETS.join(builders, requests.builderid == builders.c.id))
        .where(*_UNCLAIMED)
        .order_by(_URGENCY.desc(), requests.submitted_at, requests.id)
    )


def _masters() -> sqlalchemy.Select[Any]:
    masters, having = Model.masters, Model.builder_masters
    return (
        sqlalchemy.select(having.c.builderid, masters.c.name)
        .select_from(having.join(masters, having.c.masterid == masters.c.id))
        .where(masters.c.active == 1)
        .order_by(masters.c.name)
    )


QUERY = _query()
OF_BUILDER = _of_builder()
OF_BUILDSETS = _of_buildsets()
OF_CHANGES = _of_changes()
FOREMOST = _foremost()
WAITING = _waiting()
_MASTERS = _masters()
