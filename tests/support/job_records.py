# SPDX-License-Identifier: GPL-2.0-only
"""Jobs as the database knows them, made up; and Buildbot's tables in memory, to put some into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy
from buildbot.db.model import Model

import memory_database
from latent_libvirt.jobs.document import Addresses
from latent_libvirt.jobs.queries import (
    PREPARATION,
    Attempt,
    Callback,
    Job,
    Log,
    Step,
)

UUID = "6e04d74c-8b2c-4aa4-8e9a-0f0f0f0f0f0f"

WHERE = Addresses("https://ci.example/jobs", "https://ci.example/")

JOB = Job(
    id=1,
    uuid=UUID,
    buildset=11,
    build_request=12,
    builder="check",
    token="tests",
    reason="to see",
    priority=0,
    accepted_at=1000,
    finished_at=None,
    result=None,
    cancelled_at=None,
    cancelled_by=None,
    callback=Callback(due=0, tries=0, done_at=None, error=None),
    claimed_by=None,
    claimed_at=None,
    can_run=True,
)


def preparation(result: int | None = None) -> Step:
    """Return Buildbot's first step; *result* is what it has ended with, a second later."""
    finished_at = None if result is None else 1003
    return Step(1, 0, PREPARATION, "worker ready", result, 1002, finished_at, hidden=False)


def step(*, hidden: bool = False) -> Step:
    """Return a step that runs."""
    logs = (Log(7, "stdio", "stdio", 10, complete=False),)
    return Step(2, 1, "make", "making", None, 1003, None, hidden=hidden, logs=logs)


def attempt(*steps: Step, result: int | None = None) -> Attempt:
    """Return a build; *result* is what it has ended with."""
    return Attempt(
        id=21,
        number=5,
        builder_id=3,
        master="alpha:/srv",
        worker="w1",
        text="building",
        result=result,
        started_at=1002,
        finished_at=None if result is None else 1010,
        steps=steps,
        vm={"vm_id": "7f3a", "vm_host": "alpha", "vm_domain": "latent-libvirt-1"},
    )


def claimed(*attempts: Attempt) -> Job:
    """Return a job that a master has taken."""
    return replace(JOB, claimed_by="alpha:/srv", claimed_at=1001, attempts=attempts)


class Tables:
    """Buildbot's tables, and ours."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self.connection = connection

    def add(self, rows: sqlalchemy.Table, **values: Any) -> int:
        """Add a row; return its id."""
        with self.connection.begin():
            key = self.connection.execute(rows.insert().values(**values)).inserted_primary_key
        assert key is not None
        return int(key[0]) if key else 0

    def add_master(self, name: str, *, active: bool = True) -> int:
        """Add a master."""
        return self.add(Model.masters, name=name, name_hash=name, active=int(active), last_active=0)

    def add_builder(self, name: str, *masters: int) -> int:
        """Add a builder that these masters have."""
        builder = self.add(Model.builders, name=name, name_hash=name)
        for master in masters:
            self.add(Model.builder_masters, builderid=builder, masterid=master)
        return builder

    def count(self, rows: sqlalchemy.Table) -> int:
        """Return how many rows there are."""
        with self.connection.begin():
            query = sqlalchemy.select(sqlalchemy.func.count()).select_from(rows)
            return int(self.connection.execute(query).scalar_one())


@contextmanager
def tables() -> Iterator[Tables]:
    """Give empty tables."""
    engine = memory_database.engine(with_jobs=True)
    with engine.connect() as connection:
        yield Tables(connection)
    engine.dispose()
