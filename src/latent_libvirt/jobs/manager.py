# SPDX-License-Identifier: GPL-2.0-only
"""Service for clients, behind HTTP or anything else: start, look up, list and cancel jobs.

``resource.py`` has HTTP.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import uuid4

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.jobs import reserved
from latent_libvirt.jobs.audit import AuditLog
from latent_libvirt.jobs.cancellation import cancel
from latent_libvirt.jobs.document import Addresses, full, summary
from latent_libvirt.jobs.listing import builder_names, page
from latent_libvirt.jobs.queries import (
    find,
)
from latent_libvirt.jobs.rate_limit import RateLimit
from latent_libvirt.jobs.request import LABEL
from latent_libvirt.jobs.submission import (
    Order,
    accept,
)
from latent_libvirt.jobs.tokens import LiveTokens
from latent_libvirt.jobs.web import problems
from latent_libvirt.plain_text import strict_values
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.jobs import models
    from latent_libvirt.jobs.listing import Filters
    from latent_libvirt.jobs.queries import (
        Job,
    )
    from latent_libvirt.jobs.request import JobRequest
    from latent_libvirt.jobs.settings import Settings
    from latent_libvirt.jobs.tokens import Token


class JobManager:
    """Serves the clients of one master's job API."""

    def __init__(self, master: Any, settings: Settings) -> None:
        self._master = master
        self.settings = settings
        path = Path(os.path.join(master.basedir, settings.tokens))  # noqa: PTH118 - either may be absolute
        self._tokens = LiveTokens(path, master.reactor.seconds)
        self._rate = RateLimit(settings.posts_per_minute, partial(passed, master.reactor))
        self.proxies = frozenset(settings.proxies)
        audit = settings.audit_log
        self.audit_log = AuditLog(
            None if audit is None else Path(master.basedir, audit), master.reactor
        )

    @property
    def where(self) -> Addresses:
        """Where things are, by the configuration that counts now."""
        buildbot = self._master.config.buildbotURL
        return Addresses(jobs_url(self.settings.url, buildbot), buildbot)

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return float(self._master.reactor.seconds())

    # Who asks.

    def authenticate(self, authorization: str | None) -> Token:
        """Return the token in an ``Authorization`` header.

        :raises RefusedError: 401, if there is none that is valid.
        """
        return self._tokens.authenticate(authorization)

    def reader(self, authorization: str | None) -> Token | None:
        """Return the token that limits what is shown; ``None`` if all may see all.

        :raises RefusedError: 401.
        """
        if self.settings.read == "anyone":
            return None
        return self.authenticate(authorization)

    def count(self, token: Token) -> None:
        """Count a POST, whatever becomes of it.

        :raises RefusedError: 429, if there were too many.
        """
        if wait := self._rate.wait(token.name):
            raise problems.too_many(self.settings.posts_per_minute or 0, wait)

    # What they ask.

    async def start(self, token: Token, request: JobRequest) -> tuple[models.Job, bool]:
        """Start a job; return its document, and whether it was not there before.

        :raises RefusedError: if it is refused; then nothing was started.
        """
        order = self._order(token, request)
        accepted = await accept(self._master, order)
        return self.document(await self.job(accepted.uuid)), accepted.is_new

    def _order(self, token: Token, request: JobRequest) -> Order:
        builder = self._builder(request)
        self._check_scope(token, request, builder)
        if request.callback_url is not None and not self.settings.may_call(request.callback_url):
            raise problems.callback_not_allowed(request.callback_url)
        self._check_properties(token, request, builder)
        self._check_size(request)
        uuid = str(request.uuid or uuid4())
        url = self.where.job(uuid)
        return Order(request, builder, uuid, url, token.name, int(self.now), token.quota)

    def _check_scope(self, token: Token, request: JobRequest, builder: str) -> None:
        if not token.may_use(builder):
            raise problems.not_yours(token.name, builder)
        label = request.wanted_label
        if label is not None and not token.may_ask_for(label):
            raise problems.not_in_scope(token.name, f"label {label!r}", "#/label")
        if request.priority > token.priority:
            what = f"priorities above {token.priority}"
            raise problems.not_in_scope(token.name, what, "#/priority")

    def _check_properties(self, token: Token, request: JobRequest, builder: str) -> None:
        names = request.properties.keys()
        if set_here := names & reserved.configured(self._master.config, builder):
            raise problems.properties_refused(set_here, f"the builder {builder} sets it itself")
        refused = {name for name in names if name != LABEL and not token.may_set(name)}
        if of_steps := set(filter(reserved.is_for_steps, refused)):
            raise problems.properties_refused(of_steps, "some of Buildbot's steps interpret it")
        if refused:
            name = min(refused)
            where = problems.pointer("properties", name)
            raise problems.not_in_scope(token.name, f"property {name!r}", where)

    def _check_size(self, request: JobRequest) -> None:
        """Refuse a size that a pool of this master would refuse to the build."""
        label = request.wanted_label
        if label is None:
            return
        for service in self._master.service_manager.namedServices.values():
            if (check := getattr(service, "check_chosen_size", None)) is not None:
                try:
                    check(label, request.properties)
                except LatentLibvirtError as error:
                    raise problems.size_refused(error) from error

    def _builder(self, request: JobRequest) -> str:
        """Return the builder that is meant; where labels are configured, others are none."""
        label = request.wanted_label
        of_label = None if label is None else self.settings.builder_of(label)
        if label is not None and of_label is None and self.settings.labels:
            raise problems.unknown_label(label)
        builder = request.builder or of_label
        if builder is None:
            raise problems.unknown_label(label or "")
        return builder

    async def job(self, uuid: str, reader: Token | None = None) -> Job:
        """Return a job.

        :param reader: who asks, if not everybody may see everything.
        :raises RefusedError: if there is none of that UUID (404), or it is not for them (403).
        """
        job: Job | None = await self._master.db.pool.do(find, canonical(uuid))
        if job is None:
            raise problems.no_such_job(uuid)
        if reader is not None and not reader.may_use(job.builder):
            raise problems.not_yours(reader.name, job.builder)
        return job

    def document(self, job: Job) -> models.Job:
        """Return the document of a job."""
        return full(job, self.where, self.now)

    async def cancel(self, token: Token, uuid: str) -> Job:
        """Cancel a job, unless it has ended; return it.

        :raises RefusedError: if there is none (404), or the token is not for its builder (403).
        """
        job = await self.job(uuid, reader=token)
        if job.finished_at is None:
            await cancel(self._master, job, by=token.name)
        return await self.job(uuid)

    async def jobs(self, filters: Filters, reader: Token | None) -> models.Page:
        """Return a page of a list of jobs."""
        builders = await self._visible(reader)
        found, cursor = await self._master.db.pool.do(page, filters, builders)
        where, now = self.where, self.now
        following = None
        if cursor is not None:
            arguments = urlencode({**filters.for_next_page, "cursor": cursor})
            following = f"{where.jobs}?{arguments}"
        return {
            "jobs": [summary(job, where, now) for job in found],
            "next": cursor,
            "next_url": following,
        }

    async def _visible(self, reader: Token | None) -> frozenset[str] | None:
        if reader is None:
            return None
        names = await self._master.db.pool.do(builder_names)
        return frozenset(filter(reader.may_use, names))


def jobs_url(url: str | None, buildbot: str) -> str:
    """Return the URL of ``/jobs``.

    :param url: what the configuration says is above it; if nothing, that of Buildbot is.
    """
    return f"{(url or buildbot).rstrip('/')}/jobs"


def canonical(uuid: str) -> str:
    """Return a UUID as it is stored, however its letters are written.

    :raises RefusedError: 404, if it is none.
    """
    try:
        return str(strict_values.uuid(uuid))
    except ValueError:
        raise problems.no_such_job(uuid) from None
