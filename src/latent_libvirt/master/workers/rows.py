# SPDX-License-Identifier: GPL-2.0-only
"""Rows of many workers in Buildbot's database, written at once.

Buildbot 4.3 writes a worker's name, its id as a service, and its builders in three transactions for
each worker, one worker after the other. It looks first what is there. So it writes nothing where
all of that is there already. What these functions leave out, it writes itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy
from buildbot.db.model import Model
from sqlalchemy.exc import IntegrityError, ProgrammingError

AT_ONCE: Final = 500
"""Names or ids in one query. SQLite allows 32,766 parameters."""

Builders = Mapping[str, Collection[str]]
"""The names of each worker's builders, by the worker's name."""


def write(
    connection: sqlalchemy.Connection,
    master: int,
    workers: Builders,
    *,
    service: str,
    absent: Collection[str] = (),
) -> None:
    """Write the rows of *workers* that are not there. Blocks.

    :param service: the class of these workers, with its module.
    :param absent: the names of workers that the master's builders have no more, in spite of what an
        earlier process of the master has left.
    """
    try:
        _add_objects(connection, workers, service)
        ids = _added_workers(connection, workers)
        _configure(connection, master, {name: workers[name] for name in ids}, ids, {*absent})
        connection.commit()
    except (IntegrityError, ProgrammingError):  # another master has added some of them
        connection.rollback()


def _add_objects(connection: sqlalchemy.Connection, names: Collection[str], service: str) -> None:
    table = Model.objects
    known = {
        row.name
        for some in _batches(names)
        for row in connection.execute(
            sqlalchemy.select(table.c.name).where(
                table.c.name.in_(some), table.c.class_name == service
            )
        )
    }
    rows = [{"name": name, "class_name": service} for name in names if name not in known]
    if rows:
        connection.execute(table.insert(), rows)


def _added_workers(connection: sqlalchemy.Connection, names: Collection[str]) -> dict[str, int]:
    """Add what is missing; return the ids of all, by name."""
    known = _ids(connection, names)
    missing = [name for name in names if name not in known]
    default = {"info": {}, "paused": 0, "pause_reason": None, "graceful": 0}
    if missing:
        connection.execute(Model.workers.insert(), [{"name": name, **default} for name in missing])
    return known | _ids(connection, missing)


def _ids(connection: sqlalchemy.Connection, names: Collection[str]) -> dict[str, int]:
    table = Model.workers
    return {
        row.name: row.id
        for some in _batches(names)
        for row in connection.execute(
            sqlalchemy.select(table.c.id, table.c.name).where(table.c.name.in_(some))
        )
    }


def _configure(
    connection: sqlalchemy.Connection,
    master: int,
    workers: Builders,
    ids: Mapping[str, int],
    absent: Collection[str],
) -> None:
    """Say which builders of a master each worker has."""
    table, builders = Model.configured_workers, _builders(connection, master)
    configured = _configured(connection, master)
    wanted = {
        (ids[name], builders[each])
        for name, its in workers.items()
        for each in its
        if each in builders
    }
    there = {(row.workerid, row.buildermasterid) for row in configured}
    rows = [{"workerid": each, "buildermasterid": of} for each, of in sorted(wanted - there)]
    if rows:
        connection.execute(table.insert(), rows)
    for some in _batches([row.id for row in configured if row.name in absent]):
        connection.execute(table.delete().where(table.c.id.in_(some)))


def _builders(connection: sqlalchemy.Connection, master: int) -> dict[str, int]:
    """Return by name what stands for each builder of a master in other tables."""
    of_master, builders = Model.builder_masters, Model.builders
    query = sqlalchemy.select(of_master.c.id, builders.c.name).select_from(
        of_master.join(builders, of_master.c.builderid == builders.c.id)
    )
    rows = connection.execute(query.where(of_master.c.masterid == master))
    return {row.name: row.id for row in rows}


def _configured(connection: sqlalchemy.Connection, master: int) -> Sequence[Any]:
    of_master, table, workers = Model.builder_masters, Model.configured_workers, Model.workers
    query = sqlalchemy.select(
        table.c.id, table.c.workerid, table.c.buildermasterid, workers.c.name
    ).select_from(
        table.join(of_master, table.c.buildermasterid == of_master.c.id).join(
            workers, table.c.workerid == workers.c.id
        )
    )
    return connection.execute(query.where(of_master.c.masterid == master)).fetchall()


def _batches(items: Collection[Any]) -> Iterator[list[Any]]:
    listed = list(items)
    for first in range(0, len(listed), AT_ONCE):
        yield listed[first : first + AT_ONCE]
