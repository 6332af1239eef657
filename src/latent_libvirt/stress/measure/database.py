# SPDX-License-Identifier: GPL-2.0-only
"""Measurements by way of the database: the queue, what became of jobs, and time by statement."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row

# Statements with this comment are no part of the load, and are left out of its time.
_QUEUE: Final = """
SELECT /* stress harness */
       count(*) FILTER (WHERE complete = 0) AS unfinished,
       count(*) FILTER (WHERE complete = 0 AND claims.brid IS NULL) AS waiting,
       count(*) FILTER (WHERE complete = 1) AS finished,
       min(submitted_at) FILTER (WHERE complete = 0 AND claims.brid IS NULL) AS oldest
FROM buildrequests LEFT JOIN buildrequest_claims AS claims ON claims.brid = buildrequests.id
"""

_JOBS: Final = """
SELECT /* stress harness */ external_idstring AS uuid, submitted_at, complete_at, results
FROM buildsets WHERE external_idstring IS NOT NULL
"""

_LOAD: Final = """
FROM /* stress harness */ pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
AND query NOT LIKE '%stress harness%' AND query NOT LIKE '%pg_stat_statements%'
"""

_TIME: Final = f"SELECT sum(calls) AS calls, sum(total_exec_time) / 1000 AS seconds {_LOAD}"

_STATEMENTS: Final = f"""
SELECT query, sum(calls) AS calls, sum(total_exec_time) / 1000 AS seconds, sum(rows) AS rows
{_LOAD} GROUP BY query
"""

SLOWEST: Final = 25
"""How many statements are kept, of those that have taken most of the time."""


class Database:
    """One connection to the database of a deployment, for one thread.

    :param url: what SQLAlchemy connects to.
    """

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        self._before: dict[str, Row] = {}

    def measure_statements(self) -> None:
        """Begin to measure the time of statements: what they have taken before does not count.

        :raises sa.exc.SQLAlchemyError: the extension pg_stat_statements cannot be used.
        """
        self._before = {row["query"]: row for row in self._rows(_STATEMENTS)}

    def install_statistics(self) -> None:
        """Let a database of the harness have the extension."""
        self._do("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def queue(self) -> list[Row]:
        """Return the numbers of requests at this moment, and the age of the oldest that waits."""
        (row,) = self._rows(_QUEUE)
        now, oldest = time.time(), row.pop("oldest")
        return [{"at": now, **row, "age": 0.0 if oldest is None else max(0.0, now - oldest)}]

    def jobs(self) -> list[Row]:
        """Return when each job was accepted, and when it ended; in whole seconds."""
        return self._rows(_JOBS)

    def time(self) -> list[Row]:
        """Return how many statements there were, and what time they have taken."""
        (row,) = self._rows(_TIME)
        return [{"at": time.time(), **{key: float(value or 0) for key, value in row.items()}}]

    def statements(self) -> list[Row]:
        """Return the statements that have taken most of the time since the measurement began."""
        found = [row for each in self._rows(_STATEMENTS) if (row := self._since(each))["calls"]]
        return sorted(found, key=lambda row: -row["seconds"])[:SLOWEST]

    def _since(self, row: Row) -> Row:
        before = self._before.get(row["query"], {})
        numbers = ("calls", "seconds", "rows")
        return row | {name: float(row[name] or 0) - float(before.get(name, 0)) for name in numbers}

    def _rows(self, statement: str) -> list[Row]:
        with self._engine.connect() as connection:
            found = connection.execute(sa.text(statement)).mappings()
            return [dict(row) for row in found]

    def _do(self, statement: str) -> Any:
        with self._engine.begin() as connection:
            return connection.execute(sa.text(statement))
