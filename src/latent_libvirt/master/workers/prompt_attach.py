# SPDX-License-Identifier: GPL-2.0-only
"""Attachment of a pool's worker with fewer waits for its guest, which may be far away.

Buildbot 4.3 lets a worker log "attached" and waits for the answer, before it asks what the worker
is. It does the same again for each builder, and waits again. The answers say nothing. Here the
question follows the first "attached" at once, and so does the list of the worker's builders, which
Buildbot sends after the answer. Nothing waits for the answers to the other "attached". So an attach
takes one round trip after the login, and not four.

Buildbot also notices a lost connection only once its worker has attached. One that is lost before
would stay the worker's for ever. Here it is noticed at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from buildbot.worker.latent import AbstractLatentWorker
from buildbot.worker.manager import WorkerManager
from buildbot.worker.protocols.base import UpdateRegistrationListener
from buildbot.worker.protocols.pb import Connection
from twisted.internet.defer import Deferred, succeed

from latent_libvirt.deferreds import Outcome
from latent_libvirt.upstream import relied_on

if TYPE_CHECKING:
    from twisted.python.failure import Failure

RELIED_ON: Final = (
    (WorkerManager, "newConnection"),
    (UpdateRegistrationListener, "_create_connection"),
    (Connection, "remotePrint"),
    (Connection, "remoteGetWorkerInfo"),
    (Connection, "remoteSetBuilderList"),
    (AbstractLatentWorker, "sendBuilderList"),
    (Connection, "attached"),
    (Connection, "detached"),
)

ATTACHED: Final = "attached"


Builders = list[tuple[str, str]]
"""Names of builders, and their directories on a worker."""


class PromptConnection(Connection):
    """A worker's connection. A pool's worker is asked all that it takes with the first message."""

    _info: Outcome | None = None
    _answer: Any = None
    _joined: Outcome | None = None
    _joins: Builders | None = None

    def attached(self, mind: Any) -> Deferred[Any]:
        """Attach the worker; it is detached at once if the connection is lost before it has."""
        if not hasattr(self.worker, "pool_name"):
            attached: Deferred[Any] = super().attached(mind)
            return attached
        return Deferred.fromCoroutine(self._attached(mind))

    async def _attached(self, mind: Any) -> Any:
        mind.notifyOnDisconnect(self.detached)
        try:
            return await super().attached(mind)
        finally:
            if not is_lost(self):
                mind.dontNotifyOnDisconnect(self.detached)

    def remotePrint(self, message: str) -> Any:  # noqa: N802 - Buildbot's
        """Let the worker log *message*."""
        said = super().remotePrint(message)
        if message == ATTACHED and self._info is None and hasattr(self.worker, "pool_name"):
            self._info = Outcome(self._ask())
            self._joins = builders_of(self.worker)
            self._joined = Outcome(self._join(self._joins))
        return said

    async def _ask(self) -> None:
        self._answer = await super().remoteGetWorkerInfo()

    def remoteGetWorkerInfo(self) -> Any:  # noqa: N802 - Buildbot's
        """Return what the worker says of itself."""
        if self._info is None:
            return super().remoteGetWorkerInfo()
        return self._info.wait().addCallback(lambda _none: self._answer)

    async def _join(self, builders: Builders) -> None:
        await super().remoteSetBuilderList(builders)

    def remoteSetBuilderList(self, builders: Builders) -> Any:  # noqa: N802 - Buildbot's
        """Return what the worker has for *builders*; it is asked again if they are others now."""
        return Deferred.fromCoroutine(self._joined_to(builders))

    async def _joined_to(self, builders: Builders) -> Any:
        joined, self._joined = self._joined, None
        if joined is not None:
            await joined.wait()
            if builders == self._joins:
                return self.builders
        return await super().remoteSetBuilderList(builders)


def builders_of(worker: Any) -> Builders:
    """Return the builders that *worker* is to join, as its ``sendBuilderList`` sends them."""
    found = worker.botmaster.getBuildersForWorker(worker.name)
    return [(builder.name, builder.config.workerbuilddir) for builder in found]


class PromptAttach(AbstractLatentWorker):
    """A latent worker that joins its builders without a wait for the answers."""

    def attachBuilder(self, builder: Any) -> Deferred[None]:  # noqa: N802 - Buildbot's
        """Join *builder*."""
        joined: Deferred[Any] = super().attachBuilder(builder)
        joined.addErrback(_is_noticed)
        return succeed(None)


def install(master: Any) -> None:
    """Let the workers of pools of *master* attach like that from now on."""
    listener = master.workers.pb
    if listener.ConnectionClass is Connection and relied_on.are_there(
        RELIED_ON, does="accepts workers", otherwise="it waits for each of their answers"
    ):
        listener.ConnectionClass = PromptConnection


def is_lost(conn: Any) -> bool:
    """Whether the guest on the other end of *conn* is gone."""
    mind = getattr(conn, "mind", None)
    return mind is None or bool(mind.broker.disconnected)


def _is_noticed(_failure: Failure) -> None:
    """Leave a lost connection to the worker, which is there on the same connection."""
