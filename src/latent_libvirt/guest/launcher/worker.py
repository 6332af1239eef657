# SPDX-License-Identifier: GPL-2.0-only
"""Worker of Buildbot: its code, its start and its end."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .link.guest_link import GuestLink
from .power_button import PowerButton
from .worker_log import begin_logging

if TYPE_CHECKING:
    from .identity import Identity

LOGIN_ATTEMPTS: Final = 5
"""Failed attempts in a row after which the worker gives up: its password opens only one door."""

SITE: Final = Path(__file__).resolve().parents[1] / "site-packages"
"""Where an image may keep buildbot-worker so that builds do not see it."""


def import_worker() -> types.ModuleType:
    """Import all that the worker will need, with the reactor, and return its module.

    ``buildbot_worker.pb`` also imports Buildbot's experimental websocket protocol, which is not
    spoken here and whose libraries take longer to import than all the rest: it gets a stand-in.
    """
    sys.path.insert(0, str(SITE))
    sys.modules.setdefault("buildbot_worker.msgpack", _StandIn("buildbot_worker.msgpack"))
    import buildbot_worker.pb  # noqa: PLC0415

    # Used for the first time when a command runs or a connection is made.
    import twisted.internet.process  # noqa: PLC0415
    import twisted.internet.threads  # noqa: F401, PLC0415

    from .link import worker_port  # noqa: F401, PLC0415

    return buildbot_worker.pb  # type: ignore[no-any-return]


class _StandIn(types.ModuleType):
    """A module in which every name is a class that does nothing."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def worker_version() -> str:
    """Return the version of buildbot-worker."""
    import buildbot_worker  # noqa: PLC0415

    return str(buildbot_worker.version)


def run_worker(
    module: types.ModuleType, identity: Identity, button: PowerButton, port: int = -1
) -> bool:
    """Be the worker until the master releases it, or cannot be reached, or the button is pressed.

    Returns whether it was the master that ended it, after the worker had been attached.

    :param port: the descriptor of the open virtio-serial port that leads to the master, if the
        identity has the session of one.
    """
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    if identity.channel is not None:
        lead_through(module, GuestLink(identity.channel), port, reactor)
    basedir = Path.cwd() / "worker"
    basedir.mkdir(exist_ok=True)
    watch = begin_logging(basedir / "twistd.log")
    worker = module.Worker(
        identity.master_host,
        identity.master_port,
        identity.name,
        identity.password,
        str(basedir),
        keepalive=0,
        maxRetries=LOGIN_ATTEMPTS,
    )
    readers = [_ButtonReader(descriptor, reactor.stop) for descriptor in button.filenos()]
    for reader in readers:
        reactor.addReader(reader)
    worker.startService()
    reactor.addSystemEventTrigger("before", "shutdown", worker.stopService)
    reactor.run()
    return watch.attached and not any(reader.pressed for reader in readers)


def lead_through(module: types.ModuleType, link: GuestLink, port: int, reactor: Any) -> None:
    """Let workers of *module* reach their master through the channel *port* only."""
    from .link.worker_port import WorkerPort  # noqa: PLC0415 - Twisted is imported late

    way = WorkerPort(link, port, reactor=reactor)
    module.clientFromString = lambda _reactor, _address: way  # type: ignore[attr-defined]


class _ButtonReader:
    """What Twisted's reactor wants of something that it reads from."""

    def __init__(self, descriptor: int, stop: Callable[[], None]) -> None:
        self.pressed = False
        self._descriptor = descriptor
        self._stop = stop

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:  # noqa: N802
        return "power button"

    def doRead(self) -> None:  # noqa: N802
        if PowerButton.is_pressed(self._descriptor):
            self.pressed = True
            self._stop()

    def connectionLost(self, _reason: object) -> None:
        """Nothing depends on it."""
