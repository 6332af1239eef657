# SPDX-License-Identifier: GPL-2.0-only
"""Submission of a job: its row, its buildset and its build request, in one transaction.

Buildbot's ``addBuildset`` commits separately. A crash, or another master with the same UUID, could
come between the buildset and the row. So this makes the same inserts, and sends the same messages
afterwards that let masters start the build.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy
from buildbot.db.model import Model
from sqlalchemy.exc import IntegrityError
from twisted.logger import Logger

from latent_libvirt.jobs import strict_json
from latent_libvirt.jobs.callbacks import normal
from latent_libvirt.jobs.reserved import JOB_URL, JOB_UUID
from latent_libvirt.jobs.table import jobs, quotas
from latent_libvirt.jobs.web import problems
from latent_libvirt.jobs.web.problems import RefusedError

if TYPE_CHECKING:
    from latent_libvirt.jobs.request import JobRequest

log = Logger()

SOURCE = "Job API"
"""What Buildbot shows as where a property is from."""

_UNIQUE_SOURCE = "Scheduler"
"""What makes Buildbot never collapse two requests with different values into one build."""

TRIES = 3
"""How often a job is tried to be added: another POST may add the token's row, then the same job."""


@dataclass(frozen=True)
class Order:
    """A job that is to be started.

    :param builder: which one, whether the client named it or its label.
    :param uuid: its canonical text.
    :param token: the name of the token that it is started with.
    :param now: seconds since the epoch.
    :param quota: how many jobs of the token may be unfinished; ``None`` is no limit.
    """

    request: JobRequest
    builder: str
    uuid: str
    url: str
    token: str
    now: int
    quota: int | None = None

    @property
    def properties(self) -> dict[str, tuple[Any, str]]:
        """The buildset's properties, each with its source."""
        given = {name: (value, SOURCE) for name, value in self.request.properties.items()}
        label = {} if self.request.label is None else {"label": (self.request.label, SOURCE)}
        names = {JOB_UUID: (self.uuid, _UNIQUE_SOURCE), JOB_URL: (self.url, _UNIQUE_SOURCE)}
        return given | label | names

    @property
    def reason(self) -> str:
        """What people see in Buildbot's UI."""
        return self.request.reason or f"job of {self.token}"


@dataclass(frozen=True)
class Accepted:
    """A job that is in the database.

    :param is_new: whether this request has put it there.
    :param waits: whether nobody has claimed its build request yet.
    """

    uuid: str
    buildset: int
    build_request: int
    is_new: bool
    waits: bool


async def accept(master: Any, order: Order) -> Accepted:
    """Put a job into the database, unless it is there; return once that is certain.

    :raises RefusedError: if no active master has its builder (422), or its UUID is that of another
        job (409).
    """
    accepted = await _in_database(master, _look_first, order)
    if accepted is None:
        # Buildbot keeps them, and a copy of each patch, whatever becomes of the job.
        find = master.db.sourcestamps.findSourceStampId
        stamps = [await find(**stamp.for_buildbot) for stamp in order.request.sourcestamps]
        accepted = await _in_database(master, _insert, order, stamps)
        assert accepted is not None
    if accepted.waits:
        await _announce(master, accepted)
    return accepted


async def _in_database(
    master: Any, work: Callable[..., Accepted | None], *arguments: Any
) -> Accepted | None:
    done: Accepted | RefusedError | None = await master.db.pool.do(_or_refused, work, *arguments)
    if isinstance(done, RefusedError):
        raise done
    return done


def _or_refused(
    connection: sqlalchemy.Connection, work: Callable[..., Accepted | None], *arguments: Any
) -> Accepted | RefusedError | None:
    """Work in the database; a refusal is returned, since Buildbot would log it as an error of it.

    Blocks.
    """
    try:
        return work(connection, *arguments)
    except RefusedError as refused:
        return refused


def _look_first(connection: sqlalchemy.Connection, order: Order) -> Accepted | None:
    """Return the job if it is there; ``None`` if it may be added, as far as can be seen now.

    :raises RefusedError: if it would be refused.
    """
    with connection.begin():
        found = _find(connection, order)
        if found is None:
            if connection.execute(_active_builder(order)).scalar() is None:
                raise problems.unknown_builder(order.builder)
            _check_quota(connection, order)
        return found


def _insert(
    connection: sqlalchemy.Connection, order: Order, stamps: list[int], tries: int = TRIES
) -> Accepted:
    try:
        with connection.begin():
            return _add(connection, order, stamps)
    except IntegrityError:
        # Another POST was quicker with the job or the token's row, and its transaction has ended.
        # Or no active master has the builder any more.
        if tries == 1:
            raise
    return _look_first(connection, order) or _insert(connection, order, stamps, tries - 1)


def _add(connection: sqlalchemy.Connection, order: Order, stamps: list[int]) -> Accepted:
    """Add a job. Other jobs of its token wait for each other only to be counted.

    All writes come before the first read. So SQLite never has to turn a reader into a writer. The
    first read is that of the lock, after which all is seen that others have added.
    """
    buildset = _add_buildset(connection, order, stamps)
    request = _add_request(connection, order, buildset)
    _add_job(connection, order, buildset)
    if order.quota is not None:
        _wait_for_others(connection, order)
        _check_quota(connection, order, added=1)
    return Accepted(order.uuid, buildset, request, is_new=True, waits=True)


def _wait_for_others(connection: sqlalchemy.Connection, order: Order) -> None:
    """Lock the row of a token until the transaction ends. Others count this job from then on."""
    mine = quotas.select().where(quotas.c.token == order.token).with_for_update()
    if connection.execute(mine).first() is None:
        connection.execute(quotas.insert().values(token=order.token, asked_at=order.now))


def _unfinished() -> sqlalchemy.Select[int]:
    """Return the query that counts the unfinished jobs of a token.

    It looks up the token of each unfinished request. With a join, PostgreSQL may look through all
    jobs that there ever were.
    """
    requests = Model.buildrequests.c
    token = sqlalchemy.select(jobs.c.token).where(jobs.c.buildsetid == requests.buildsetid)
    is_its = token.scalar_subquery() == sqlalchemy.bindparam("name")
    return sqlalchemy.select(sqlalchemy.func.count(requests.id)).where(
        requests.complete == 0, is_its
    )


_UNFINISHED = _unfinished()


def _check_quota(connection: sqlalchemy.Connection, order: Order, *, added: int = 0) -> None:
    """Count the unfinished jobs of a token.

    :param added: how many of them this order has added.
    :raises RefusedError: if there are too many.
    """
    if order.quota is None:
        return
    unfinished = connection.execute(_UNFINISHED, {"name": order.token}).scalar_one()
    if unfinished >= order.quota + added:
        raise problems.too_many_unfinished(order.token, order.quota)


def _find(connection: sqlalchemy.Connection, order: Order) -> Accepted | None:
    requests, claims = Model.buildrequests, Model.buildrequest_claims
    found = connection.execute(
        sqlalchemy.select(
            jobs.c.digest, jobs.c.buildsetid, requests.c.id, requests.c.complete, claims.c.masterid
        )
        .join_from(jobs, requests, jobs.c.buildsetid == requests.c.buildsetid)
        .outerjoin(claims, claims.c.brid == requests.c.id)
        .where(jobs.c.uuid == order.uuid)
    ).first()
    if found is None:
        return None
    digest, buildset, request, complete, claimed_by = found
    if digest != order.request.digest:
        raise problems.another_job(order.uuid)
    waits = not complete and claimed_by is None
    return Accepted(order.uuid, buildset, request, is_new=False, waits=waits)


def _active_builder(order: Order) -> sqlalchemy.Select[tuple[int]]:
    """Return the query for the id of a builder that a master can run, at this moment.

    A buildset of another would have no request at all and be a success, or wait for ever.
    """
    builders, masters, links = Model.builders, Model.masters, Model.builder_masters
    return (
        sqlalchemy.select(builders.c.id)
        .join_from(builders, links, links.c.builderid == builders.c.id)
        .join(masters, masters.c.id == links.c.masterid)
        .where(builders.c.name == order.builder, masters.c.active == 1)
        .limit(1)
    )


def _add_buildset(connection: sqlalchemy.Connection, order: Order, stamps: list[int]) -> int:
    buildset = _insert_row(
        connection,
        Model.buildsets,
        submitted_at=order.now,
        reason=order.reason,
        complete=0,
        results=-1,
        external_idstring=order.uuid,
    )
    connection.execute(
        Model.buildset_properties.insert(),
        [
            {"buildsetid": buildset, "property_name": n, "property_value": strict_json.dumps(value)}
            for n, value in order.properties.items()
        ],
    )
    connection.execute(
        Model.buildset_sourcestamps.insert(),
        [{"buildsetid": buildset, "sourcestampid": stamp} for stamp in stamps],
    )
    return buildset


def _add_request(connection: sqlalchemy.Connection, order: Order, buildset: int) -> int:
    return _insert_row(
        connection,
        Model.buildrequests,
        buildsetid=buildset,
        builderid=_active_builder(order).scalar_subquery(),
        priority=order.request.priority,
        complete=0,
        results=-1,
        submitted_at=order.now,
        waited_for=0,
    )


def _add_job(connection: sqlalchemy.Connection, order: Order, buildset: int) -> None:
    callback = order.request.callback_url
    _insert_row(
        connection,
        jobs,
        uuid=order.uuid,
        buildsetid=buildset,
        digest=order.request.digest,
        token=order.token,
        accepted_at=order.now,
        callback_url=None if callback is None else normal(callback),
        callback_due=None if callback is None else 0,
        callback_tries=0,
    )


def _insert_row(connection: sqlalchemy.Connection, table: sqlalchemy.Table, **values: Any) -> int:
    inserted = connection.execute(table.insert().values(**values)).inserted_primary_key
    assert inserted is not None
    return int(inserted[0])


async def _announce(master: Any, job: Accepted) -> None:
    """Announce to all masters that a request waits, as Buildbot does after ``addBuildset``.

    The job is in the database whatever happens here. A master that has missed the message finds the
    job when it starts, or with the next request of the same builder. A repeated POST sends the
    message again.
    """
    try:
        await master.data.getResourceType("buildrequest").generateEvent([job.build_request], "new")
        if job.is_new:
            await _announce_buildset(master, job.buildset)
    except Exception:  # noqa: BLE001 - the job is accepted
        log.failure("job {uuid}: could not be announced to the masters", uuid=job.uuid)


async def _announce_buildset(master: Any, number: int) -> None:
    buildset: Mapping[str, Any] = await master.data.get(("buildsets", str(number)))
    message = {**buildset, "scheduler": None}
    master.data.getResourceType("buildset").produceEvent(message, "new")
