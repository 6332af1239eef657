# SPDX-License-Identifier: GPL-2.0-only
"""An address for the job API alone, apart from Buildbot's UI: hidden, or with TLS."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Site

from latent_libvirt.jobs.web.answers import as_problem
from latent_libvirt.jobs.web.early import (
    EarlyRequest,
    Gate,
)
from latent_libvirt.jobs.web.problems import nothing_here
from latent_libvirt.jobs.web.resource import JobsResource
from latent_libvirt.upstream import lengths

if TYPE_CHECKING:
    from latent_libvirt.jobs.manager import JobManager
    from latent_libvirt.jobs.web.answers import Answer
    from latent_libvirt.jobs.web.visit import Visit

log = Logger()

_IDLE_TIMEOUT = 60
"""Seconds after which a connection that says nothing is closed."""


class Listener:
    """Serves ``/jobs`` at an endpoint.

    :param endpoint: a description as Twisted has it, like ``ssl:8443:privateKey=...``.
    :param manager: returns who serves; ``None`` if nobody does yet.
    """

    def __init__(
        self, endpoint: str, manager: Callable[[], JobManager | None], *, reactor: Any
    ) -> None:
        lengths.install()
        root = _Root(manager)
        jobs: Any = JobsResource(manager)  # an IResource, whatever the types say
        root.putChild(b"jobs", jobs)
        self._site = _Site(
            root,
            requestFactory=partial(EarlyRequest, gates=[Gate(manager, is_alone=True)]),
            timeout=_IDLE_TIMEOUT,
            reactor=reactor,
        )
        self._endpoint = endpoint
        self._reactor = reactor
        self._port: Any = None

    async def start(self) -> None:
        """Begin to listen.

        :raises CannotListenError: if the address is taken, or not this machine's.
        """
        self._port = await serverFromString(self._reactor, self._endpoint).listen(self._site)
        log.info("jobs are served at {address}", address=self._port.getHost())

    async def stop(self) -> None:
        """Listen no longer."""
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()


class _Root(Resource):
    def __init__(self, manager: Callable[[], JobManager | None]) -> None:
        super().__init__()
        self._manager = manager

    def getChild(self, path: bytes, request: Any) -> Any:  # noqa: ARG002
        return _Nothing(self._manager)


class _Nothing(JobsResource):
    """Refuses whatever is asked, so that the audit log has it too."""

    async def _answer_of(self, visit: Visit, manager: JobManager | None) -> Answer:  # noqa: ARG002
        return as_problem(nothing_here())


class _Site(Site):
    noisy = False

    def log(self, request: Any) -> None:
        """Say nothing: the master's log is for other things."""
