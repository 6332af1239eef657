# SPDX-License-Identifier: GPL-2.0-only
"""Proxy of builds: the way to the forward proxy at the master, through another channel.

It leads several connections at one time. Each has a credit in both directions, so that one that is
not read holds up no other. What the channel loses is sent again. If nobody is at the other end for
:data:`~.device.MASTER_GONE` seconds, the proxy ends.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING

from .device import ACKNOWLEDGE_AFTER, LOOK_AGAIN, MASTER_GONE, is_hung_up, read_all
from .frames import CLOSE, CONNECTION_BYTES, CREDIT, DATA, MOST_CONNECTIONS, OPEN, Message

if TYPE_CHECKING:
    from .guest_link import GuestLink


_CREDIT = struct.Struct(">I")


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


class NetworkProxy:
    """The way of builds to the forward proxy, between a listening socket and an open port.

    :param link: the guest's end of it.
    :param port: the descriptor of the open virtio-serial port.
    """

    def __init__(
        self,
        link: GuestLink,
        port: int,
        listening: socket.socket,
        *,
        master_gone: float = MASTER_GONE,
    ) -> None:
        self._link = link
        self._port = port
        self._listening = listening
        self._master_gone = master_gone
        self._output = b""
        self._openings = 0
        self._alone_since: float | None = time.monotonic()
        self._is_hung_up = False
        self._number = 0
        self._clients: dict[int, _Client] = {}  # by their descriptors
        self._by_number: dict[int, _Client] = {}
        os.set_blocking(port, False)
        listening.setblocking(False)

    def run(self) -> None:
        """Lead connections until the master has been gone for too long."""
        while not self._is_given_up():
            self._turn()
        for client in tuple(self._clients.values()):
            self._end(client)
        self._listening.close()

    def _is_given_up(self) -> bool:
        since = self._alone_since
        return since is not None and time.monotonic() - since > self._master_gone

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

    def _fill_output(self) -> None:
        if not self._output:
            self._output = self._link.take_output()

    def _wait(self) -> list[tuple[int, int]]:
        poll = select.poll()
        if not self._is_hung_up:
            poll.register(self._port, select.POLLIN | (select.POLLOUT if self._output else 0))
        self._register(poll)
        timeout = None if self._alone_since is None else LOOK_AGAIN
        if self._link.owes:
            timeout = ACKNOWLEDGE_AFTER
        ready = poll.poll(timeout and timeout * 1000)
        if not ready:
            self._link.acknowledge()
        if self._is_hung_up:
            self._is_hung_up = is_hung_up(self._port)
        return ready

    def _register(self, poll: select.poll) -> None:
        if len(self._clients) < MOST_CONNECTIONS:
            poll.register(self._listening, select.POLLIN)
        for descriptor, client in self._clients.items():
            reads = self._link.has_room and client.credit and not client.is_closing
            wanted = select.POLLIN if reads else 0
            wanted |= select.POLLOUT if client.incoming else 0
            if wanted:
                poll.register(descriptor, wanted)

    # The port.

    def _port_is_ready(self, event: int) -> None:
        if event & select.POLLIN:
            self._read_port()
        elif event & (select.POLLHUP | select.POLLERR):
            self._hang_up()
        if event & select.POLLOUT and not self._is_hung_up:
            self._write_port()

    def _read_port(self) -> None:
        data, is_open = read_all(self._port)
        if data:
            self._port_received(data)
        if not is_open:
            self._hang_up()

    def _port_received(self, data: bytes) -> None:
        messages = self._link.received(data)
        if self._link.openings > self._openings:
            self._openings = self._link.openings
            self._alone_since = None
            self._output = b""  # of the time before the cut; the link sends it again
        for message in messages:
            self._serve(message)

    def _write_port(self) -> None:
        self._fill_output()
        if not self._output:
            return
        try:
            self._output = self._output[os.write(self._port, self._output) :]
        except BlockingIOError:
            return
        except OSError:
            self._hang_up()

    def _hang_up(self) -> None:
        self._is_hung_up = True
        if self._alone_since is None:
            self._alone_since = time.monotonic()

    # The builds.

    def _accept(self) -> None:
        try:
            connected, _ = self._listening.accept()
        except OSError:
            return
        connected.setblocking(False)
        self._number += 1
        client = _Client(connected, self._number, CONNECTION_BYTES)
        self._clients[connected.fileno()] = self._by_number[self._number] = client
        self._tell(client, OPEN)

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

    def _serve(self, message: Message) -> None:
        """Do what a message of the master says; the credit of each bounds what waits for builds."""
        self._link.consumed()
        client = self._by_number.get(message.connection)
        if client is None:
            return
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
