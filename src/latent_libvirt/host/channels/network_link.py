# SPDX-License-Identifier: GPL-2.0-only
"""The master's end of one VM's link to the forward proxy: many connections through one channel.

It is a link as that of a worker (``guest/launcher/link``), through another channel, with another
libvirt connection: what a build fetches never waits in front of what its worker says. Each
connection has a credit in both directions. One that is not read holds up no other, and the master
keeps at most :data:`CONNECTION_BYTES` of it that nobody has read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, Protocol

from latent_libvirt.guest.launcher.link.frames import (
    CLOSE,
    CONNECTION_BYTES,
    CREDIT,
    DATA,
    MOST_CONNECTIONS,
    OPEN,
    LinkError,
    Message,
)
from latent_libvirt.host.channels.channel_end import ChannelEnd

_CREDIT: Final = struct.Struct(">I")


class Handler(Protocol):
    """What speaks at the master's end of a connection."""

    def has_data(self) -> None:
        """Note that there is something to read."""

    def drained(self) -> None:
        """Note that less is left to be sent."""

    def lost(self) -> None:
        """Note that the connection has ended."""


class GuestConnection:
    """One connection of a guest.

    :param flush: sends what can be sent.
    :param send: sends a message.
    """

    def __init__(
        self, number: int, *, flush: Callable[[], None], send: Callable[[Message], None]
    ) -> None:
        self.number = number
        self.handler: Handler | None = None
        self.is_over = False
        self._flush = flush
        self._send = send
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._credit = CONNECTION_BYTES
        self._owed = 0
        self._is_closing = False

    # What its handler does.

    @property
    def unsent(self) -> int:
        """Bytes that were written and not sent yet."""
        return len(self._outgoing)

    def read(self) -> bytes:
        """Return all that has come; the guest may send as much again."""
        data = bytes(self._incoming)
        self._incoming.clear()
        self._owed += len(data)
        if self._owed * 4 >= CONNECTION_BYTES and not (self.is_over or self._is_closing):
            self._send(Message(CREDIT, self.number, _CREDIT.pack(self._owed)))
            self._owed = 0
            self._flush()
        return data

    def write(self, data: bytes) -> None:
        """Send *data*."""
        if data and not (self.is_over or self._is_closing):
            self._outgoing += data
            self._flush()

    def close(self) -> None:
        """End the connection when all is sent."""
        self._is_closing = True
        self.close_if_sent()
        self._flush()

    # What the link does.

    def received(self, data: bytes) -> None:
        """Keep what has come until the handler reads it.

        :raises LinkError: it is more than the guest may send.
        """
        if len(self._incoming) + self._owed + len(data) > CONNECTION_BYTES:
            raise LinkError("the guest sends more than a connection may have")
        if self._is_closing:
            self._owed += len(data)  # and the guest is given no credit for it
            return
        self._incoming += data
        if self.handler is not None:
            self.handler.has_data()

    def credited(self, payload: bytes) -> None:
        """Let more be sent.

        :raises LinkError: it is nothing, or more than was sent.
        """
        if len(payload) != _CREDIT.size:
            raise LinkError("a credit of the guest is malformed")
        credit = _CREDIT.unpack(payload)[0]
        self._credit += credit
        if not credit or self._credit > CONNECTION_BYTES:
            raise LinkError("the guest has read more than was sent")

    def take(self, most: int) -> bytes:
        """Return what is to be sent now, *most* bytes at most."""
        count = min(most, self._credit)
        data = bytes(self._outgoing[:count])
        del self._outgoing[:count]
        self._credit -= len(data)
        return data

    def sent_some(self) -> None:
        """Let the handler know that there is room again."""
        self.close_if_sent()
        if self.handler is not None and not self.is_over:
            self.handler.drained()

    def close_if_sent(self) -> None:
        """End the connection if it is to end, and all is sent."""
        if self._is_closing and not self._outgoing and not self.is_over:
            self._send(Message(CLOSE, self.number))
            self.end()

    def end(self) -> None:
        """Note that it has ended; the handler hears that once."""
        if self.is_over:
            return
        self.is_over = True
        self._incoming.clear()
        self._outgoing.clear()
        handler, self.handler = self.handler, None
        if handler is not None:
            handler.lost()


class NetworkLink(ChannelEnd):
    """The link of one VM.

    :param name: the VM, for people.
    :param session: that its guest is given, too.
    :param handler: makes what speaks at the master's end of a connection.
    """

    what = "the channel to the forward proxy"

    def __init__(
        self,
        name: str,
        session: str,
        handler: Callable[[GuestConnection], Handler],
        *,
        reactor: Any,
    ) -> None:
        super().__init__(name, session, reactor=reactor)
        self._handler = handler
        self._connections: dict[int, GuestConnection] = {}
        self._is_flushing = False

    def _end_connections(self) -> None:
        for connection in tuple(self._connections.values()):
            connection.end()
        self._connections.clear()

    def _take(self, message: Message) -> None:
        if message.kind == OPEN:
            self._open(message.connection)
            return
        self._link.consumed()
        connection = self._connections.get(message.connection)
        if connection is None:
            self._stray(message)
        elif message.kind == DATA:
            connection.received(message.payload)
        elif message.kind == CREDIT:
            connection.credited(message.payload)
        elif message.kind == CLOSE:
            connection.end()
        if connection is not None:
            self._forget_if_over(connection)

    def _open(self, number: int) -> None:
        self._begin(number)
        for connection in tuple(self._connections.values()):
            self._forget_if_over(connection)
        if len(self._connections) >= MOST_CONNECTIONS:
            self._expect_strays()
            self._link.send(Message(CLOSE, number))
            return
        connection = GuestConnection(number, flush=self._flush, send=self._link.send)
        self._connections[number] = connection
        connection.handler = self._handler(connection)

    def _forget_if_over(self, connection: GuestConnection) -> None:
        if connection.is_over and self._connections.pop(connection.number, None) is not None:
            self._expect_strays()

    def _flush(self) -> None:
        """Write as much as the window allows, a message of each connection in turn."""
        if self._is_flushing or self.is_over:
            return
        self._is_flushing = True
        try:
            output = self._link.take_output()
            while self._link.has_room and (piece := self._round()):
                output += piece
        finally:
            self._is_flushing = False
        if output:
            self._write(output)

    def _round(self) -> bytes:
        output = b""
        for connection in tuple(self._connections.values()):
            data = connection.take(self._link.payload) if self._link.has_room else b""
            if data:
                self._link.send(Message(DATA, connection.number, data))
                output += self._link.take_output()
                connection.sent_some()
            self._forget_if_over(connection)
        return output + self._link.take_output()
