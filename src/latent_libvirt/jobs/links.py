# SPDX-License-Identifier: GPL-2.0-only
"""JobLinks: every build that belongs to a job says so, also those that it has triggered.

The builds of a job itself, and what somebody rebuilds of it, have the properties ``job_uuid`` and
``job_url`` from their buildset. Here the builds get them that descend from one of those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy
from buildbot import config
from buildbot.db.model import Model
from buildbot.util.service import BuildbotService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.jobs import table
from latent_libvirt.jobs.document import Addresses
from latent_libvirt.jobs.manager import jobs_url
from latent_libvirt.jobs.reserved import JOB_URL, JOB_UUID
from latent_libvirt.jobs.settings import WANTED_URL, is_public_url
from latent_libvirt.jobs.table import jobs
from latent_libvirt.upstream.calls import written_like

log = Logger()

_DEEPEST = 50
"""Generations of triggered builds."""


class JobLinks(BuildbotService):
    """Sets the properties of the job on each build of this master that descends from one.

    :param url: the public URL above ``/jobs``, as in ``JobApi``; Buildbot's own if not given.
    """

    name: str = "job-links"

    @written_like('util.JobLinks(url="https://ci.example.org/")')
    def checkConfig(self, *, url: str | None = None) -> None:
        """Refuse what cannot work."""
        if not is_public_url(url):
            config.error(f"JobLinks: url {WANTED_URL}, not {url!r}")
        self._url: str | None = None
        self._consumer: Any = None

    def reconfigService(self, url: str | None = None) -> Deferred[None]:
        """Apply the configuration."""
        self._url = url
        return Deferred.fromCoroutine(self._begin())

    async def _begin(self) -> None:
        await self.master.db.pool.do_with_engine(table.create)
        if self._consumer is None:
            self._consumer = await self.master.mq.startConsuming(
                self._build_is_new, ("builds", None, "new")
            )

    def stopService(self) -> Deferred[None]:
        """Set nothing any more."""
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await maybeDeferred(consumer.stopConsuming)  # Buildbot's simple one returns nothing
        await super().stopService()

    def _build_is_new(self, _key: Any, build: Mapping[str, Any]) -> Deferred[None] | None:
        if build["masterid"] != self.master.masterid:
            return None
        return in_background(self._link(build["buildid"]), "a build has no link")

    async def _link(self, build_id: int) -> None:
        build = self._running(build_id)
        if build is None:
            return
        uuid = build.getProperty(JOB_UUID) or await self.master.db.pool.do(find_job, build_id)
        if uuid is not None:
            buildbot = self.master.config.buildbotURL
            url = Addresses(jobs_url(self._url, buildbot), buildbot).job(uuid)
            await self._set(build, {JOB_UUID: uuid, JOB_URL: url})

    async def _set(self, build: Any, wanted: Mapping[str, str]) -> None:
        """Set what a build does not have from its buildset."""
        missing = {name: to for name, to in wanted.items() if build.getProperty(name) != to}
        for name, value in missing.items():
            build.setProperty(name, value, self.name)
        if missing:
            await self.master.data.updates.setBuildProperties(build.buildid, build)

    def _running(self, build_id: int) -> Any:
        """Return Buildbot's object of a build that runs here."""
        builds = (b for each in self.master.botmaster.builders.values() for b in each.building)
        return next((build for build in builds if build.buildid == build_id), None)


def find_job(connection: sqlalchemy.Connection, build: int) -> str | None:
    """Return the UUID of the job that a build, or one that it descends from, belongs to. Blocks."""
    current: int | None = build
    for _generation in range(_DEEPEST):
        found = connection.execute(_query(current)).first()
        if found is None:
            return None
        if found.uuid is not None:
            return str(found.uuid)
        if (current := found.parent) is None:
            return None
    return None


def _query(build: int | None) -> sqlalchemy.Select[Any]:
    """Return the job of a build's buildset, and which build that was triggered or rebuilt from."""
    builds, requests, buildsets = Model.builds, Model.buildrequests, Model.buildsets
    parent = sqlalchemy.func.coalesce(buildsets.c.parent_buildid, buildsets.c.rebuilt_buildid)
    return (
        sqlalchemy.select(jobs.c.uuid, parent.label("parent"))
        .join_from(builds, requests, requests.c.id == builds.c.buildrequestid)
        .join(buildsets, buildsets.c.id == requests.c.buildsetid)
        .outerjoin(jobs, jobs.c.buildsetid == buildsets.c.id)
        .where(builds.c.id == build)
    )
