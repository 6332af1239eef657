# SPDX-License-Identifier: GPL-2.0-only
"""Workers of a master that listens for none: all of their connections come through channels.

Buildbot registers a worker with the port where it may log in. Here that port is one that nobody
listens on. It has all else: who may log in, and the guard of connections.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.defer import Deferred, succeed

from latent_libvirt.endpoints import NOWHERE
from latent_libvirt.master.workers.port.dispatcher import GuardedDispatcher

PB: Final = "pb"
"""The protocol of workers, as ``c["protocols"]`` has it."""


class _NoPort:
    """A port that nobody listens on."""

    def stopListening(self) -> Deferred[None]:  # noqa: N802 - Twisted calls it
        """Stop nothing."""
        return succeed(None)


class UnheardDispatcher(GuardedDispatcher):
    """Who may log in, without a port."""

    def start_listening_port(self) -> _NoPort:
        """Listen nowhere."""
        return _NoPort()


async def register(worker: Any, protocols: dict[str, Any]) -> None:
    """Register a worker that Buildbot has not, since its master listens for none.

    :param protocols: of the master's configuration. A port that is there no more is closed.
    """
    if PB in protocols:
        return
    manager = worker.master.pbmanager
    if NOWHERE not in manager.dispatchers:
        manager.dispatchers[NOWHERE] = UnheardDispatcher(NOWHERE, NOWHERE)
        await manager.dispatchers[NOWHERE].setServiceParent(manager)
    worker.registration.pbReg = await worker.master.workers.pb.updateRegistration(
        worker.workername, worker.password, NOWHERE
    )
