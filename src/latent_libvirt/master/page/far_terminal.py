# SPDX-License-Identifier: GPL-2.0-only
"""Terminals in VMs of this master's pools that are open in the web UI of another master.

The master with the web UI has asked who may open one. See ``line.py`` for what is between them, and
``near_terminal.py`` for its other end.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger
from twisted.web import http

from latent_libvirt.control.console import ConsoleSession
from latent_libvirt.control.frames import CLOSE
from latent_libvirt.control.messages import ControlError
from latent_libvirt.master.page import topics
from latent_libvirt.master.page.flow import Flow
from latent_libvirt.master.page.line import Keys, Line
from latent_libvirt.master.page.remote import PoolServer

if TYPE_CHECKING:
    from latent_libvirt.control.operations import Operations

log = Logger()

MOST: Final = 50
"""Terminals that a pool has open for other masters at a time."""

UNSHOWN: Final = 256 * 1024
"""Bytes that are on their way to the other master before it has to pass some on."""

SIZE: Final = re.compile(rb"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")
"""A terminal's columns and rows, as in ``80x24``."""

# From the master with the web UI.
BEGIN: Final = b"b"
TYPED: Final = b"t"
RESIZED: Final = b"s"
PASSED_ON: Final = b"a"

# To it.
FRAMES: Final = b"f"
STOP_TYPING: Final = b"w"
GO_ON: Final = b"g"


class TerminalServer(PoolServer):
    """Opens terminals in VMs of the pool called *pool* for other masters."""

    topic = staticmethod(topics.terminals)

    def __init__(self, master: Any, pool: str, operations: Operations) -> None:
        super().__init__(master, pool, operations)
        self._open: dict[str, FarTerminal] = {}

    async def stop(self) -> None:
        """End all terminals, and listen no longer."""
        for each in tuple(self._open.values()):
            each.leave("the pool's master stops")
        await super().stop()

    def _asked(self, _topic: Any, message: Any) -> None:
        if not isinstance(message, dict) or not isinstance(message.get("id"), str):
            return
        if "data" in message:
            if (terminal := self._open.get(message["id"])) is not None:
                terminal.line.take(message["data"])
        elif message.get("pool") == self._pool and message["id"] not in self._open:
            self._begin(message)

    def _begin(self, message: dict[str, Any]) -> None:
        topic = topics.screens(int(message["asked_by"]))
        answer = {"id": message["id"]}
        try:
            public = self._add(message, topic)
        except (ControlError, ValueError) as error:
            why = error.on_one_line if isinstance(error, ControlError) else "its key is none"
            answer |= {"status": http.NOT_FOUND, "refused": why}
        else:
            answer["key"] = public
        self._master.mq.produce(topic, answer)

    def _add(self, message: dict[str, Any], topic: topics.Topic) -> str:
        """Open what *message* asks for; return the key that the other master needs."""
        if len(self._open) >= MOST:
            raise ControlError(f"{MOST} terminals are open in pool {self._pool} already")
        vm = self._operations.vm(str(message.get("vm")))
        keys, number = Keys(), message["id"]
        ciphers = keys.ciphers(str(message.get("key")), opens=False)
        send = partial(self._send, topic, number)
        over = partial(self._open.pop, number, None)
        user = str(message.get("user"))[:200]
        session = ConsoleSession(vm, read_only=False, user=user)
        self._open[number] = FarTerminal(session, send, ciphers, over)
        self._open[number].line.begin(self._master.reactor)
        log.info("user {user} opens a terminal in {vm}", user=user, vm=str(vm.names))
        return keys.public

    def _send(self, topic: topics.Topic, number: str, message: dict[str, Any]) -> None:
        self._master.mq.produce(topic, {"id": number, **message})


class FarTerminal:
    """A terminal that is shown elsewhere; the transport of a :class:`ConsoleSession`.

    :param over: called when it has ended.
    """

    def __init__(self, session: ConsoleSession, send: Any, ciphers: Any, over: Any) -> None:
        self.line = Line(send, ciphers, self._received, self._lost)
        self._session = session
        self._over = over
        self._has_begun = False
        self._typed_last = b""
        self._flow = Flow(session, UNSHOWN)

    # What the other master sends.

    def _received(self, kind: bytes, content: bytes) -> None:
        if kind == BEGIN and not self._has_begun:
            self._has_begun = True
            self._session.begin(self)
        elif kind == TYPED and self._has_begun:
            self._typed_last = content
            self._session.received(content)
        elif kind == RESIZED and (size := SIZE.fullmatch(content)):
            self._session.resized(int(size[1]), int(size[2]))
        elif kind == PASSED_ON and content.isdigit():
            self._flow.shown(content)

    def _lost(self, _why: str) -> None:
        """Leave nothing, not even the shell."""
        self._over()
        if self._has_begun and self._typed_last != CLOSE:
            self._session.received(CLOSE)
        self._session.lost()

    def leave(self, why: str) -> None:
        """End it from here."""
        self.line.end(why)

    # What the session does with its connection.

    def write(self, data: bytes) -> None:
        """Send a frame."""
        self._flow.sent(len(data))
        self.line.send(FRAMES, data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: FBT001
        """Do nothing: the flow has the session."""

    def unregisterProducer(self) -> None:
        """Do nothing."""

    def pauseProducing(self) -> None:
        """Let the other master read nothing from the browser for now."""
        self.line.send(STOP_TYPING)

    def resumeProducing(self) -> None:
        """Let it read again."""
        self.line.send(GO_ON)

    def loseConnection(self) -> None:
        """End it: the VM is gone."""
        self._over()
        self.line.end()
