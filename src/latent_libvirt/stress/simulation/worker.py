# SPDX-License-Identifier: GPL-2.0-only
"""buildbot-worker's worker as one of many in a process: it ends alone, not with the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from buildbot_worker.pb import BotFactory, BotPb
from twisted.cred.credentials import UsernamePassword
from twisted.internet import reactor as _reactor

reactor: Any = _reactor


class _Bot(BotPb):
    """The worker's side of the conversation with the master.

    What it says of its environment is short: all of a process have the same.
    """

    def remote_shutdown(self) -> None:
        """Do nothing: the VM is about to be destroyed."""


class _Login(BotFactory):
    """The worker's connection, which is made once."""

    noisy = False

    def failedToGetPerspective(self, _why: object, broker: Any) -> None:  # noqa: N802 - Buildbot's
        """Stay away: the VM has ended, or the master does not want the worker."""
        broker.transport.loseConnection()


class SimulatedWorker:
    """The worker of one VM.

    :param identity: the handshake's message.
    :param directory: where all workers have their files.
    """

    def __init__(self, identity: dict[str, Any], directory: Path) -> None:
        self._master = identity["master"]
        basedir = directory / identity["name"]
        basedir.mkdir(exist_ok=True)
        self._bot = _Bot(str(basedir), unicode_encoding="utf-8")
        self._bot.name = None  # several may be in one service
        host, port = self._master["host"], self._master["port"]
        self._factory = _Login(host, port, None, None)
        credentials = UsernamePassword(identity["name"].encode(), identity["password"].encode())
        self._factory.startLogin(credentials, client=self._bot)
        self._connector: Any = None

    def start(self) -> None:
        """Connect to the master, once: the password is good for one connection."""
        self._bot.startService()
        self._connector = reactor.connectTCP(
            self._master["host"], self._master["port"], self._factory
        )

    def kill(self) -> None:
        """End like a machine whose plug is pulled."""
        if self._connector is not None:
            self._connector.disconnect()
        self._bot.stopService()
