# SPDX-License-Identifier: GPL-2.0-only
"""The proxy of builds between a real loopback port and a socket in the place of the channel."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from latent_libvirt.guest.launcher.link.frames import (
    CLOSE,
    CONNECTION_BYTES,
    CREDIT,
    DATA,
    MOST_CONNECTIONS,
    OPEN,
    Message,
)
from latent_libvirt.guest.launcher.link.guest_link import GuestLink
from latent_libvirt.guest.launcher.link.network_proxy import NetworkProxy
from latent_libvirt.guest.master_link import MasterLink

SESSION = "0123456789abcdef"
DEADLINE = 30.0


class Master:
    """The master's end of the link, which reads and writes when a test says so."""

    def __init__(self, channel: socket.socket) -> None:
        channel.settimeout(DEADLINE)
        self.channel = channel
        self.link = MasterLink(SESSION)
        self.link.opened()
        self.write()

    def write(self) -> None:
        self.channel.sendall(self.link.take_output())

    def send(self, message: Message) -> None:
        self.link.send(message)
        self.write()

    def next(self) -> Iterator[Message]:
        """Yield what the guest says, and acknowledge it."""
        while True:
            for message in self.link.received(self.channel.recv(65536)):
                self.link.consumed()
                yield message
            self.write()


@contextlib.contextmanager
def running(*, master_gone: float = DEADLINE) -> Iterator[tuple[Master, int, threading.Thread]]:
    """Give the master's end, the port of the loopback and the proxy's thread."""
    host, guest = socket.socketpair()
    listening = socket.create_server(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    proxy = NetworkProxy(GuestLink(SESSION), guest.fileno(), listening, master_gone=master_gone)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    with host, guest:
        try:
            yield Master(host), port, thread
        finally:
            proxy._master_gone = -1.0
            host.close()
            thread.join(DEADLINE)
            assert not thread.is_alive()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)


def read(worker: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := worker.recv(65536)):
        data += piece
    return data


def test_a_proxy_without_a_master_gives_up_and_its_port_is_closed() -> None:
    with running(master_gone=0.3) as (master, port, thread), connect(port) as worker:
        assert next(master.next()) == Message(OPEN, 1)
        master.channel.close()
        thread.join(DEADLINE)

        assert not thread.is_alive()
        assert worker.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(port)


def test_a_proxy_whose_master_never_comes_gives_up() -> None:
    host, guest = socket.socketpair()
    with host, guest:
        listening = socket.create_server(("127.0.0.1", 0))
        link = GuestLink(SESSION)
        NetworkProxy(link, guest.fileno(), listening, master_gone=0.3).run()

        assert listening.fileno() == -1


def test_builds_have_several_connections_and_one_that_is_not_read_holds_up_no_other() -> None:
    with running() as (master, port, _), connect(port) as slow:
        heard = master.next()
        assert next(heard) == Message(OPEN, 1)
        with connect(port) as quick:
            assert next(heard) == Message(OPEN, 2)
            for _ in range(CONNECTION_BYTES // 4096):
                master.send(Message(DATA, 1, b"s" * 4096))
            master.send(Message(DATA, 2, b"quick"))
            answering = threading.Thread(target=lambda: quick.sendall(read(quick, 5)))
            answering.start()
            while (message := next(heard)).connection != 2:
                assert message.kind == CREDIT
            assert message == Message(DATA, 2, b"quick")
            answering.join(DEADLINE)
            assert read(slow, CONNECTION_BYTES) == b"s" * CONNECTION_BYTES


def test_a_build_sends_as_much_as_the_master_has_read() -> None:
    with running() as (master, port, _), connect(port) as client:
        heard = master.next()
        assert next(heard) == Message(OPEN, 1)
        sender = threading.Thread(target=client.sendall, args=(b"x" * 2 * CONNECTION_BYTES,))
        sender.start()
        got = 0
        while got < CONNECTION_BYTES:
            got += len(next(heard).payload)
        assert got == CONNECTION_BYTES
        master.send(Message(CREDIT, 1, struct.pack(">I", CONNECTION_BYTES)))
        while got < 2 * CONNECTION_BYTES:
            got += len(next(heard).payload)
        sender.join(DEADLINE)


def test_a_build_hears_all_before_the_end_of_a_connection() -> None:
    with running() as (master, port, _), connect(port) as client:
        assert next(master.next()) == Message(OPEN, 1)
        master.send(Message(DATA, 1, b"last words"))
        master.send(Message(CLOSE, 1))
        assert read(client, 100) == b"last words"


def test_more_connections_wait_for_others_to_end() -> None:
    with running() as (master, port, _), contextlib.ExitStack() as stack:
        heard = master.next()
        clients = [stack.enter_context(connect(port)) for _ in range(MOST_CONNECTIONS + 1)]
        assert [next(heard).kind for _ in range(MOST_CONNECTIONS)] == [OPEN] * MOST_CONNECTIONS
        clients[0].close()
        assert next(heard) == Message(CLOSE, 1)
        assert next(heard) == Message(OPEN, MOST_CONNECTIONS + 1)
