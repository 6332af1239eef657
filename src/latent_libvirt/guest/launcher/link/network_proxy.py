# SPDX-License-Identifier: GPL-2.0-only
"""Proxy of builds: the way to the forward proxy at the master, through another channel.

It leads several connections at one time. Each has a credit in both directions, so that one that is
not read holds up no other.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING

from .frames import CLOSE, CONNECTION_BYTES, CREDIT, DATA, MOST_CONNECTIONS, OPEN, Message
from .proxy import MASTER_GONE, Proxy

if TYPE_CHECKING:
    from .guest_link import GuestLink


class _Client:
    """One connection of a build.

    :param credit: bytes that may be sent to the master.
    """

    def __init__(self, connected: socket.socket, number: int, credit: int) -> None:
        self.socket = connected
        self.number = number
        self.credit = credit
        self.incoming = bytearray()
        self.read = 0
        self.is_closing = False


_CREDIT = struct.Struct(">I")


class NetworkProxy(Proxy):
    """The way of builds to the forward proxy, with the parameters of :class:`Proxy`."""

    def __init__(
        self,
        link: GuestLink,
        port: int,
        listening: socket.socket,
        *,
        master_gone: float = MASTER_GONE,
    ) -> None:
        super().__init__(link, port, listening, master_gone=master_gone)
        self._clients: dict[int, _Client] = {}  # by their descriptors
        self._by_number: dict[int, _Client] = {}

    def _end_all(self) -> None:
        for client in tuple(self._clients.values()):
            self._end(client)

    def _turn(self) -> None:
        if not self._is_hung_up:
            self._write_port()
        for descriptor, event in self._wait():
            if descriptor == self._port:
                self._port_is_ready(event)
            elif descriptor == self._listening.fileno():
                self._accept()
            elif descriptor in self._clients:
                self._client_is_ready(self._clients[descriptor], event)

    def _register(self, poll: select.poll) -> None:
        if len(self._clients) < MOST_CONNECTIONS:
            poll.register(self._listening, select.POLLIN)
        for descriptor, client in self._clients.items():
            reads = self._link.has_room and client.credit and not client.is_closing
            wanted = select.POLLIN if reads else 0
            wanted |= select.POLLOUT if client.incoming else 0
            if wanted:
                poll.register(descriptor, wanted)

    def _accept(self) -> None:
        try:
            connected, _ = self._listening.accept()
        except OSError:
            return
        connected.setblocking(False)
        self._number += 1
        client = _Client(connected, self._number, CONNECTION_BYTES)
        self._clients[connected.fileno()] = self._by_number[self._number] = client
        self._send(OPEN)

    def _client_is_ready(self, client: _Client, event: int) -> None:
        if event & select.POLLOUT:
            self._deliver(client)
        if not client.is_closing and event & ~select.POLLOUT and self._link.has_room:
            self._read_client(client)

    def _read_client(self, client: _Client) -> None:
        try:
            data = client.socket.recv(min(self._link.payload, client.credit))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            client.credit -= len(data)
            self._tell(client, DATA, data)
        else:
            self._tell(client, CLOSE)
            self._end(client)

    def _tell(self, client: _Client, kind: int, payload: bytes = b"") -> None:
        self._link.send(Message(kind, client.number, payload))

    def _serve(self) -> None:
        """Do what the master's messages say; the credit of each bounds what waits for builds."""
        while self._incoming:
            message = self._incoming.popleft()
            self._link.consumed()
            client = self._by_number.get(message.connection)
            if client is None:
                continue
            if message.kind == DATA:
                client.incoming += message.payload
            elif message.kind == CREDIT:
                client.credit += _CREDIT.unpack(message.payload)[0]
            elif message.kind == CLOSE:
                client.is_closing = True
            self._deliver(client)

    def _deliver(self, client: _Client) -> None:
        """Give a build what has come for it, and the master credit for that."""
        try:
            count = client.socket.send(client.incoming) if client.incoming else 0
        except BlockingIOError:
            count = 0
        except OSError:
            client.incoming.clear()
            count = 0  # it has gone, which its end says next
        del client.incoming[:count]
        client.read += count
        if client.read * 4 >= CONNECTION_BYTES and not client.is_closing:
            self._tell(client, CREDIT, _CREDIT.pack(client.read))
            client.read = 0
        if client.is_closing and not client.incoming:
            self._end(client)

    def _end(self, client: _Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        self._by_number.pop(client.number, None)
        client.socket.close()
