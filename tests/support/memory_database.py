# SPDX-License-Identifier: GPL-2.0-only
"""Buildbot's tables in a database in memory: made once, and copied for each test."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy
from buildbot.db.model import Model

from latent_libvirt.jobs import table


def engine(*, with_jobs: bool = False, **options: Any) -> sqlalchemy.Engine:
    """Return an engine whose database has Buildbot's tables, which are empty.

    :param with_jobs: whether it has the table of jobs, too.
    :param options: of the engine.
    """
    made = sqlalchemy.create_engine("sqlite://", **options)
    with made.connect() as connection:
        _driver(connection).deserialize(_tables(with_jobs=with_jobs))
    return made


@cache
def _tables(*, with_jobs: bool) -> bytes:
    template = sqlalchemy.create_engine("sqlite://")
    Model.metadata.create_all(template)
    if with_jobs:
        table.create(template)
    with template.connect() as connection:
        content: bytes = _driver(connection).serialize()
    template.dispose()
    return content


def _driver(connection: sqlalchemy.Connection) -> Any:
    """Return what Python's sqlite3 connects with."""
    return connection.connection.driver_connection
