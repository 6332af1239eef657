# SPDX-License-Identifier: GPL-2.0-only
"""Terminals of this master's web UI in VMs of other masters.

The stream goes over Buildbot's message bus, because the web UI's master need not reach the other
one in any other way. See ``line.py``, and ``far_terminal.py`` for the other end.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredLock
from twisted.web import http

from latent_libvirt.control.frames import Frame, FrameDecoder, Kind
from latent_libvirt.master.page import topics
from latent_libvirt.master.page.actions import RefusedError
from latent_libvirt.master.page.far_terminal import (
    BEGIN,
    FRAMES,
    GO_ON,
    PASSED_ON,
    RESIZED,
    STOP_TYPING,
    TYPED,
)
from latent_libvirt.master.page.line import Keys, Line

TIMEOUT: Final = 20.0
"""Seconds in which a master has to answer."""


class NearTerminals:
    """Opens terminals in VMs of other masters."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self._asked: dict[str, Deferred[dict[str, Any]]] = {}
        self._open: dict[str, NearSession] = {}
        self._listens = False
        self._subscribing = DeferredLock()

    async def open(self, master: int, pool: str, vm: str, user: str) -> NearSession:
        """Return a console of a VM of that pool of the master with that id.

        :raises RefusedError: if there is none, or the master does not answer.
        """
        await self._listen()
        number, keys = secrets.token_hex(16), Keys()
        send = partial(self._send, master, number)
        asked = self._asked[number] = Deferred()
        asked.addTimeout(TIMEOUT, self._master.reactor)
        asked_by = self._master.masterid
        send({"pool": pool, "vm": vm, "user": user, "asked_by": asked_by, "key": keys.public})
        try:
            answer = await asked
        except defer.TimeoutError:
            raise RefusedError(http.GATEWAY_TIMEOUT, "the VM's master does not answer") from None
        finally:
            del self._asked[number]
        return self._opened(number, keys, answer, send)

    async def _listen(self) -> None:
        """Hear answers from now on. What is heard twice would end a line."""
        async with self._subscribing:
            if not self._listens:
                topic = topics.screens(self._master.masterid)
                await self._master.mq.startConsuming(self._take, topic)
                self._listens = True

    def _opened(self, number: str, keys: Keys, answer: dict[str, Any], send: Any) -> NearSession:
        if "refused" in answer:
            raise RefusedError(int(answer["status"]), str(answer["refused"]))
        ciphers = keys.ciphers(str(answer.get("key")), opens=True)
        over = partial(self._open.pop, number, None)
        session = NearSession(send, ciphers, over, self._master.reactor)
        self._open[number] = session
        return session

    def _send(self, master: int, number: str, message: dict[str, Any]) -> None:
        self._master.mq.produce(topics.terminals(master), {"id": number, **message})

    def _take(self, _topic: Any, message: Any) -> None:
        number = message.get("id") if isinstance(message, dict) else None
        if not isinstance(number, str):
            return
        if "data" in message:
            if (session := self._open.get(number)) is not None:
                session.line.take(message["data"])
        elif (asked := self._asked.get(number)) is not None and not asked.called:
            asked.callback(message)


class NearSession:
    """What a browser's terminal has in place of a :class:`ConsoleSession`: one that is elsewhere.

    :param over: called when it has ended.
    """

    def __init__(self, send: Any, ciphers: Any, over: Any, reactor: Any) -> None:
        self.line = Line(send, ciphers, self._received, self._lost)
        self._over = over
        self._reactor = reactor
        self._transport: Any = None
        self._frames = FrameDecoder()
        self._paused = False
        self._kept_back = 0

    # What the browser's terminal does.

    def begin(self, transport: Any) -> None:
        """Let the console begin."""
        self._transport = transport
        transport.registerProducer(self, streaming=True)
        self.line.begin(self._reactor)
        self.line.send(BEGIN)

    def received(self, data: bytes) -> None:
        """Send what was typed."""
        self.line.send(TYPED, data)

    def resized(self, columns: int, rows: int) -> None:
        """Send the terminal's size."""
        self.line.send(RESIZED, b"%dx%d" % (columns, rows))

    def lost(self) -> None:
        """End: the browser is gone."""
        self._transport = None
        self._over()
        self.line.end()

    def pauseProducing(self) -> None:
        """Let the other master send nothing for now, but what it may send unasked."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Let it go on."""
        self._paused = False
        kept_back, self._kept_back = self._kept_back, 0
        if kept_back:
            self.line.send(PASSED_ON, b"%d" % kept_back)

    def stopProducing(self) -> None:
        """Let it send nothing any more."""
        self._paused = True

    # What the other master sends.

    def _received(self, kind: bytes, content: bytes) -> None:
        if self._transport is None:
            return
        if kind == FRAMES:
            self._show(content)
        elif kind == STOP_TYPING:
            self._transport.pauseProducing()
        elif kind == GO_ON:
            self._transport.resumeProducing()

    def _show(self, content: bytes) -> None:
        try:
            frames = self._frames.feed(content)
        except ValueError:  # another version of latent_libvirt
            self.line.end("the other master sends what is no frame")
            return
        for frame in frames:
            self._transport.write(bytes(frame))
        self._kept_back += len(content)
        if not self._paused:
            self.resumeProducing()

    def _lost(self, why: str) -> None:
        self._over()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.write(bytes(Frame(Kind.NOTICE, why.encode())))
            transport.unregisterProducer()
            transport.loseConnection()
