# SPDX-License-Identifier: GPL-2.0-only
"""JobApi: what makes a master serve jobs.

It is a Buildbot service, so that ``master.cfg`` configures it, ``buildbot checkconfig`` checks it,
and a reconfig changes it. Where its paths appear is in ``plugin.py`` (in Buildbot's
own web server) and ``listener.py`` (at a separate address).
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from buildbot import config
from buildbot.util.service import BuildbotService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt import timers
from latent_libvirt.jobs import readers, table
from latent_libvirt.jobs.background import BackgroundWork
from latent_libvirt.jobs.callbacks import Callbacks
from latent_libvirt.jobs.manager import JobManager
from latent_libvirt.jobs.settings import NAME, Settings
from latent_libvirt.jobs.web.early import Gate, guard
from latent_libvirt.jobs.web.listener import Listener
from latent_libvirt.upstream import failed_starts
from latent_libvirt.upstream.calls import refuse_wrong_call

log = Logger()

_SIGNATURE = inspect.signature(Settings)
_EXAMPLE = 'util.JobApi(tokens="tokens.json")'


class JobApi(BuildbotService):
    """Serves jobs: ``c["services"] = [util.JobApi(tokens="tokens.json")]``.

    :param tokens: the token file, from the master's base directory
        (``latent-libvirt token create``).
    :param url: the public URL above ``/jobs``, the same on all masters; Buildbot's, if not given.
    :param labels: which builder runs the jobs that name a label, by patterns of labels; the first
        that matches counts.
    :param read: whether ``"anyone"`` may see jobs, as in Buildbot's UI, or only a ``"token"``.
    :param posts_per_minute: of each token at each master; ``None`` is no limit.
    :param max_body: bytes of a request.
    :param audit_log: the file that says who asked for what, from the master's base directory;
        ``None`` is none.
    :param proxies: addresses of proxies, whose ``X-Forwarded-For`` the audit log believes.
    :param listen: a separate address, as a Twisted endpoint; with TLS like
        ``"ssl:8443:privateKey=key.pem:certKey=chain.pem"``.
    :param callback_hosts: patterns of the names of hosts that may get callbacks.
    :param callback_secret: what callbacks are signed with; ``util.Secret(...)`` or text.
    """

    name: str = NAME
    secrets = ("callback_secret",)

    def checkConfig(self, *args: Any, **arguments: Any) -> None:
        """Refuse what cannot work."""
        self.manager: JobManager | None = None
        self._is_open = False
        self._background: BackgroundWork | None = None
        self._listener: Listener | None = None
        self.callback_secret: Any = None
        self.hides_jobs = arguments.get("read") == "token"
        refuse_wrong_call(_SIGNATURE, args, arguments, example=_EXAMPLE)
        if self.name != NAME:
            config.error(
                "JobApi takes no name: a master has one job API, and its pages look for it"
            )
        settings = Settings(**arguments)
        for fault in settings.faults():
            config.error(fault)
        self.missing_tokens = settings.missing_tokens
        readers.install()

    def reconfigService(self, **arguments: Any) -> Deferred[None]:
        """Apply the configuration."""
        return Deferred.fromCoroutine(self._apply(Settings(**arguments)))

    async def _apply(self, settings: Settings) -> None:
        await self._end()
        timers.install(self.master.reactor)
        failed_starts.install()
        await self.master.db.pool.do_with_engine(table.create)
        self.manager = JobManager(self.master, settings)
        self._open_in_time()
        callbacks = Callbacks(self.master, settings, self.manager.document)
        self._background = BackgroundWork(self.master, callbacks)
        await self._background.start()
        if settings.listen is not None:
            self._listener = Listener(
                settings.listen, lambda: self.open_manager, reactor=self.master.reactor
            )
            await self._listener.start()

    @property
    def open_manager(self) -> JobManager | None:
        """Who serves clients; ``None`` as long as the master only starts."""
        return self.manager if self._is_open else None

    def _open_in_time(self) -> None:
        """Serve from when the master runs: until then its own builders are no active master's."""

        def opened(_result: Any) -> None:
            self._is_open = True
            guard(self.master.www.site, Gate(partial(manager_of, self.master), is_alone=False))

        # Buildbot holds this lock until it has started.
        self.master.initLock.run(opened, None)

    def stopService(self) -> Deferred[None]:
        """Serve no longer."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._end()
        await super().stopService()

    async def _end(self) -> None:
        manager, self.manager = self.manager, None
        if self._listener is not None:
            await self._listener.stop()
        if manager is not None:
            await manager.audit_log.stop()
        if self._background is not None:
            await self._background.stop()
        self._listener = self._background = None


def manager_of(master: Any) -> JobManager | None:
    """Return the job manager of a master; ``None`` without a ``JobApi`` that is ready."""
    service = master.service_manager.namedServices.get(NAME)
    return service.open_manager if isinstance(service, JobApi) else None
