# SPDX-License-Identifier: GPL-2.0-only
"""Proxy of the worker: it leads connections to a port of the loopback through a channel.

The worker is Buildbot's. It connects to that port as it would to its master. One connection is led
at a time, and the next one when that has ended. What the channel loses is sent again. If nobody is
at the other end for :data:`MASTER_GONE` seconds, the proxy ends. Then the worker finds no master,
and gives up.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from .frames import CLOSE, DATA, OPEN, Message

if TYPE_CHECKING:
    from .guest_link import GuestLink


MASTER_GONE: Final = 300.0
"""Seconds without a master at the other end of the channel after which there is none any more. A
master waits less long for a libvirtd that was stopped: see ``host/channels/worker_link.py``."""

LOOK_AGAIN: Final = 0.1
"""Seconds between two looks whether somebody is there. The kernel reports that nobody is for as
long as it is so, so that the port cannot be waited for."""

ACKNOWLEDGE_AFTER: Final = 0.02
"""Seconds in which the worker's next words may carry an acknowledgement."""

MOST_AT_ONCE: Final = 8
"""Messages of the worker that are read in one turn, between two looks at the port."""

_READ: Final = 64 * 1024


class Proxy:
    """The way between a listening socket and an open port.

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
        self._worker: socket.socket | None = None
        self._incoming: deque[Message] = deque()
        self._rest = b""  # of the first of them
        os.set_blocking(port, False)
        listening.setblocking(False)

    def run(self) -> None:
        """Lead connections until the master has been gone for too long."""
        while not self._is_given_up():
            self._turn()
        self._end_all()
        self._listening.close()

    def _end_all(self) -> None:
        self._end_worker()

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
            elif self._worker is not None and descriptor == self._worker.fileno():
                self._worker_is_ready(event)

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
            self._is_hung_up = _is_hung_up(self._port)
        return ready

    def _register(self, poll: select.poll) -> None:
        if self._worker is None:
            poll.register(self._listening, select.POLLIN)
            return
        wanted = select.POLLIN if self._link.has_room else 0
        wanted |= select.POLLOUT if self._incoming else 0
        if wanted:
            poll.register(self._worker, wanted)

    # The port.

    def _port_is_ready(self, event: int) -> None:
        if event & select.POLLIN:
            self._read_port()
        elif event & (select.POLLHUP | select.POLLERR):
            self._hang_up()
        if event & select.POLLOUT and not self._is_hung_up:
            self._write_port()

    def _read_port(self) -> None:
        pieces, is_open = _all_of(self._port)
        if pieces:
            self._port_received(b"".join(pieces))
        if not is_open:
            self._hang_up()

    def _port_received(self, data: bytes) -> None:
        self._incoming.extend(self._link.received(data))
        if self._link.openings > self._openings:
            self._openings = self._link.openings
            self._alone_since = None
            self._output = b""  # of the time before the cut; the link sends it again
        self._serve()

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

    # The worker.

    def _accept(self) -> None:
        try:
            worker, _ = self._listening.accept()
        except OSError:
            return
        worker.setblocking(False)
        worker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._worker = worker
        self._number += 1
        self._send(OPEN)

    def _worker_is_ready(self, event: int) -> None:
        if event & select.POLLOUT:
            self._serve()
        if self._worker is not None and event & ~select.POLLOUT and self._link.has_room:
            self._read_worker()

    def _read_worker(self) -> None:
        """Read while there is room: a turn costs an emulated guest more than a message."""
        for _message in range(MOST_AT_ONCE):
            if self._worker is None or not self._link.has_room or self._output:
                return
            if not self._read_message():
                return
            self._write_port()

    def _read_message(self) -> bool:
        """Send what the worker has said; return whether it may have said more."""
        assert self._worker is not None
        try:
            data = self._worker.recv(self._link.payload)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._send(DATA, data)
        else:
            self._end_worker()
            self._send(CLOSE)
            self._serve()
        return bool(data)

    def _send(self, kind: int, payload: bytes = b"") -> None:
        self._link.send(Message(kind, self._number, payload))

    def _serve(self) -> None:
        """Do what the master's messages say, as far as the worker takes it."""
        while self._incoming:
            message = self._incoming[0]
            if message.connection == self._number and self._worker is not None:
                if message.kind == DATA and not self._is_taken(message.payload):
                    return
                if message.kind == CLOSE:
                    self._end_worker()
            self._rest = b""
            self._incoming.popleft()
            self._link.consumed()

    def _is_taken(self, payload: bytes) -> bool:
        """Give the worker the rest of a message; return whether nothing is left of it."""
        assert self._worker is not None
        rest = self._rest or payload
        try:
            self._rest = rest[self._worker.send(rest) :]
        except BlockingIOError:
            self._rest = rest
        except OSError:
            return True  # it has gone, which its end says next
        return not self._rest

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


def _all_of(port: int) -> tuple[list[bytes], bool]:
    """Return what an open port has, about :data:`_READ` bytes at most, and whether it is open.

    The kernel gives a page at a time.
    """
    pieces: list[bytes] = []
    size = 0
    while size < _READ:
        try:
            data = os.read(port, _READ)
        except BlockingIOError:
            break
        except OSError:
            data = b""
        if not data:
            return pieces, False
        pieces.append(data)
        size += len(data)
    return pieces, True


def _is_hung_up(port: int) -> bool:
    poll = select.poll()
    poll.register(port, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
