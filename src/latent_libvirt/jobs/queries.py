# SPDX-License-Identifier: GPL-2.0-only
"""Queries for jobs: their rows, and those of their builds, steps and logs.

A page of jobs takes as many queries as one job. ``state.py`` and ``document.py`` use the results.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy
from buildbot.db.model import Model

from latent_libvirt.jobs.table import jobs as jobs_table

PREPARATION = "worker_preparation"
"""Buildbot's first step of each build: it ends when the worker is there."""

VM_PROPERTIES = ("vm_id", "vm_label", "vm_host", "vm_domain", "vm_image", "vm_phases")
"""What ``worker.py`` says to a build of its VM."""

MOST_LINKS = 100
"""Links of a step that are read."""


@dataclass(frozen=True)
class Log:
    """A log of a step."""

    id: int
    name: str
    slug: str
    lines: int
    complete: bool


@dataclass(frozen=True)
class Link:
    """A link that a step has, as to an artefact."""

    name: str
    url: str


@dataclass(frozen=True)
class Step:
    """A step of a build; times are seconds since the epoch."""

    id: int
    number: int
    name: str
    text: str
    result: int | None
    started_at: int | None
    finished_at: int | None
    hidden: bool
    logs: tuple[Log, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """A build of a job; times are seconds since the epoch."""

    id: int
    number: int
    builder_id: int
    master: str
    worker: str | None
    text: str
    result: int | None
    started_at: int
    finished_at: int | None
    steps: tuple[Step, ...] = ()
    vm: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ready_at(self) -> int | None:
        """When its worker was there; ``None`` if it is not yet, or never was."""
        for step in self.steps:
            if step.name == PREPARATION:
                return step.finished_at if step.result == 0 else None
        return None


@dataclass(frozen=True)
class Callback:
    """A callback and its outcome; times are seconds since the epoch."""

    due: int | None
    tries: int
    done_at: int | None
    error: str | None


@dataclass(frozen=True)
class Job:
    """A job; times are seconds since the epoch.

    :param id: grows from each accepted job to the next.
    :param properties: those that it was started with.
    :param claimed_by: the master that runs it, or is about to.
    :param can_run: whether an active master has its builder.
    :param attempts: oldest first.
    """

    id: int
    uuid: str
    buildset: int
    build_request: int
    builder: str
    token: str
    reason: str
    priority: int
    accepted_at: int
    finished_at: int | None
    result: int | None
    cancelled_at: int | None
    cancelled_by: str | None
    callback: Callback | None
    claimed_by: str | None
    claimed_at: int | None
    can_run: bool
    properties: Mapping[str, Any] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()


def find(connection: sqlalchemy.Connection, uuid: str) -> Job | None:
    """Return a job with all its attempts, steps and logs. Blocks."""
    query = select_jobs().where(jobs_table.c.uuid == uuid)
    found = load(connection, query, with_logs=True)
    if not found:
        return None
    (job,) = found
    return replace(job, properties=_properties(connection, job.buildset))


def load(
    connection: sqlalchemy.Connection, query: sqlalchemy.Select[Any], *, with_logs: bool
) -> list[Job]:
    """Return the jobs of a query that :func:`select_jobs` began, with their attempts. Blocks."""
    found = [_job(row) for row in connection.execute(query)]
    attempts = _attempts(connection, [job.build_request for job in found], with_logs=with_logs)
    runnable = _builders_that_run(connection)
    return [
        replace(
            job,
            attempts=tuple(attempts[job.build_request]),
            can_run=job.builder in runnable,
        )
        for job in found
    ]


def select_jobs() -> sqlalchemy.Select[Any]:
    """Begin a query of jobs: each with its request, builder and claim."""
    requests, claims = Model.buildrequests, Model.buildrequest_claims
    builders, masters, buildsets = Model.builders, Model.masters, Model.buildsets
    return (
        sqlalchemy.select(
            jobs_table,
            requests.c.id.label("request"),
            requests.c.priority,
            requests.c.complete,
            requests.c.complete_at,
            requests.c.results,
            buildsets.c.reason,
            builders.c.name.label("builder"),
            masters.c.name.label("claimed_by"),
            claims.c.claimed_at,
        )
        .join_from(jobs_table, buildsets, buildsets.c.id == jobs_table.c.buildsetid)
        .join(requests, requests.c.buildsetid == jobs_table.c.buildsetid)
        .join(builders, builders.c.id == requests.c.builderid)
        .outerjoin(claims, claims.c.brid == requests.c.id)
        .outerjoin(masters, masters.c.id == claims.c.masterid)
    )


def _job(row: Any) -> Job:
    callback = Callback(
        row.callback_due, row.callback_tries, row.callback_done_at, row.callback_error
    )
    return Job(
        id=row.id,
        uuid=row.uuid,
        buildset=row.buildsetid,
        build_request=row.request,
        builder=row.builder,
        token=row.token,
        reason=row.reason,
        priority=row.priority,
        accepted_at=row.accepted_at,
        finished_at=row.complete_at if row.complete else None,
        result=row.results if row.complete else None,
        cancelled_at=row.cancelled_at,
        cancelled_by=row.cancelled_by,
        callback=callback if row.callback_url else None,
        claimed_by=row.claimed_by,
        claimed_at=row.claimed_at,
        can_run=False,
    )


def _properties(connection: sqlalchemy.Connection, buildset: int) -> dict[str, Any]:
    table = Model.buildset_properties
    rows = connection.execute(
        sqlalchemy.select(table.c.property_name, table.c.property_value).where(
            table.c.buildsetid == buildset
        )
    )
    return {name: json.loads(value)[0] for name, value in rows}


def _builders_that_run(connection: sqlalchemy.Connection) -> set[str]:
    builders, masters, links = Model.builders, Model.masters, Model.builder_masters
    rows = connection.execute(
        sqlalchemy.select(builders.c.name)
        .join_from(builders, links, links.c.builderid == builders.c.id)
        .join(masters, masters.c.id == links.c.masterid)
        .where(masters.c.active == 1)
        .distinct()
    )
    return {name for (name,) in rows}


def _attempts(
    connection: sqlalchemy.Connection, requests: Collection[int], *, with_logs: bool
) -> dict[int, list[Attempt]]:
    """Return the builds of each build request."""
    found: dict[int, list[Attempt]] = defaultdict(list)
    rows = _rows(connection, _builds(), Model.builds.c.buildrequestid, requests)
    builds = [row.id for row in rows]
    steps = _steps(connection, builds, with_logs=with_logs)
    vms = _vms(connection, builds)
    for row in rows:
        found[row.buildrequestid].append(
            Attempt(
                id=row.id,
                number=row.number,
                builder_id=row.builderid,
                master=row.master,
                worker=row.worker,
                text=row.state_string,
                result=row.results,
                started_at=row.started_at,
                finished_at=row.complete_at,
                steps=tuple(steps[row.id]),
                vm=vms[row.id],
            )
        )
    return found


def _builds() -> sqlalchemy.Select[Any]:
    builds, masters, workers = Model.builds, Model.masters, Model.workers
    return (
        sqlalchemy.select(builds, masters.c.name.label("master"), workers.c.name.label("worker"))
        .join_from(builds, masters, masters.c.id == builds.c.masterid)
        .outerjoin(workers, workers.c.id == builds.c.workerid)
        .order_by(builds.c.id)
    )


def _steps(
    connection: sqlalchemy.Connection, builds: Collection[int], *, with_logs: bool
) -> dict[int, list[Step]]:
    """Return the steps of each build; without logs, only that of its preparation."""
    table = Model.steps
    query = sqlalchemy.select(table).order_by(table.c.buildid, table.c.number)
    if not with_logs:
        query = query.where(table.c.name == PREPARATION)
    rows = _rows(connection, query, table.c.buildid, builds)
    logs = _logs(connection, [row.id for row in rows] if with_logs else [])
    found: dict[int, list[Step]] = defaultdict(list)
    for row in rows:
        found[row.buildid].append(
            Step(
                id=row.id,
                number=row.number,
                name=row.name,
                text=row.state_string,
                result=row.results,
                started_at=row.started_at,
                finished_at=row.complete_at,
                hidden=bool(row.hidden),
                logs=tuple(logs[row.id]),
                links=_links(row.urls_json) if with_logs else (),
            )
        )
    return found


def _links(text: str) -> tuple[Link, ...]:
    """Return the links of a step, as Buildbot stores them."""
    found = json.loads(text)[:MOST_LINKS]
    return tuple(Link(str(each["name"]), str(each["url"])) for each in found)


def _logs(connection: sqlalchemy.Connection, steps: Collection[int]) -> dict[int, list[Log]]:
    table = Model.logs
    query = sqlalchemy.select(table).where(table.c.type != "d").order_by(table.c.id)
    found: dict[int, list[Log]] = defaultdict(list)
    for row in _rows(connection, query, table.c.stepid, steps):
        found[row.stepid].append(Log(row.id, row.name, row.slug, row.num_lines, bool(row.complete)))
    return found


def _vms(connection: sqlalchemy.Connection, builds: Collection[int]) -> dict[int, dict[str, Any]]:
    """Return the properties that each build has of its VM."""
    table = Model.build_properties
    query = sqlalchemy.select(table).where(table.c.name.in_(VM_PROPERTIES))
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in _rows(connection, query, table.c.buildid, builds):
        found[row.buildid][row.name] = json.loads(row.value)
    return found


def _rows(
    connection: sqlalchemy.Connection,
    query: sqlalchemy.Select[Any],
    column: sqlalchemy.ColumnElement[int],
    values: Collection[int],
) -> list[Any]:
    """Return the rows that belong to any of *values*."""
    return list(connection.execute(query.where(column.in_(values)))) if values else []
