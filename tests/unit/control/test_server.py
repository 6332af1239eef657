# SPDX-License-Identifier: GPL-2.0-only
"""The control socket, with real sockets: who may connect, what is refused, what is left behind."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from latent_libvirt.control import messages
from latent_libvirt.control import server as server_module
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import (
    MAX_REQUEST,
    ConsoleOpened,
    ConsoleRequest,
    ControlError,
    DrainRequest,
    Request,
    StatusRequest,
)
from latent_libvirt.control.server import ControlServer
from latent_libvirt.errors import HostError
from latent_libvirt.status.names import Target

DEADLINE = 60.0


class Shouting:
    """A session that gives back what it gets, louder, and ends with the word for that."""

    result = ConsoleOpened("shouting", read_only=False)
    lost_ones = 0

    def begin(self, transport: Any) -> None:
        self.transport = transport
        transport.write(b"welcome\n")

    def received(self, data: bytes) -> None:
        self.transport.write(data.upper())
        if data.endswith(b"bye\n"):
            self.transport.loseConnection()

    def lost(self) -> None:
        type(self).lost_ones += 1


async def echo(request: Request) -> Any:
    """Answer with what was to be drained."""
    if isinstance(request, ConsoleRequest):
        return Shouting()
    if not isinstance(request, DrainRequest):
        raise HostError("host alpha is on fire", details="smoke", resolution="Run.")
    if request.name == "bug":
        raise ZeroDivisionError
    return Target("host", request.name)


Serve = Callable[[Path], Any]


@pytest_twisted.async_yield_fixture
async def serve() -> AsyncIterator[Serve]:
    servers = []

    async def start(path: Path) -> ControlServer:
        server = ControlServer(path, echo, reactor=reactor)
        await server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool.sock"


@pytest.fixture
def file(path: Path) -> Path:
    path.write_text("precious")
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def remove(path: Path) -> None:
    path.unlink()


def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """Run what blocks while the reactor serves it."""
    return deferToThread(function, *args).addTimeout(DEADLINE, reactor)


def drain(where: Path, *names: str) -> list[Target]:
    with Client(where) as client:
        return [client.ask(DrainRequest(name), Target) for name in names]


@pytest_twisted.ensureDeferred
async def test_requests_of_one_connection_are_answered_in_their_order(
    serve: Serve, path: Path
) -> None:
    await serve(path)

    assert await in_thread(drain, path, "a", "b") == [Target("host", "a"), Target("host", "b")]
    assert await in_thread(drain, path.parent, "c") == [Target("host", "c")]


@pytest_twisted.ensureDeferred
async def test_requests_that_come_at_once_are_answered_one_after_the_other(
    serve: Serve, path: Path
) -> None:
    await serve(path)
    lines = [
        json.dumps({"protocol": 1, "request": {"command": "drain", "name": name}}).encode() + b"\n"
        for name in ("a", "b", "c")
    ]

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"".join(lines))
        answers = connection.makefile("rb")
        got = [json.loads(await in_thread(answers.readline)) for _ in lines]
        answers.close()

    assert [answer["result"]["name"] for answer in got] == ["a", "b", "c"]


@pytest_twisted.ensureDeferred
async def test_a_session_has_the_connection_after_its_answer(serve: Serve, path: Path) -> None:
    await serve(path)
    Shouting.lost_ones = 0

    def talk() -> tuple[ConsoleOpened, bytes]:
        with Client(path) as client:
            opened = client.ask(ConsoleRequest("x"), ConsoleOpened)
            connection, got = client.converse()
            connection.settimeout(DEADLINE)
            connection.sendall(b"not json\n" * 1000 + b"bye\n")
            while piece := connection.recv(9999):
                got += piece
            return opened, got

    opened, got = await in_thread(talk)

    assert opened == Shouting.result
    assert got == b"welcome\n" + b"NOT JSON\n" * 1000 + b"BYE\n"
    assert Shouting.lost_ones == 1


@pytest_twisted.ensureDeferred
async def test_a_session_gets_what_was_sent_with_its_request(serve: Serve, path: Path) -> None:
    await serve(path)
    line = messages.encode_request(ConsoleRequest("x"))

    def talk() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(str(path))
            connection.sendall(line + b"bye\n")
            return connection.makefile("rb").read()

    answer, welcome, shouted = (await in_thread(talk)).splitlines()

    assert messages.decode_answer(answer, ConsoleOpened) == Shouting.result
    assert (welcome, shouted) == (b"welcome", b"BYE")


@pytest_twisted.ensureDeferred
async def test_a_session_may_be_silent_for_as_long_as_it_likes(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    later = staticmethod(clock.callLater)
    monkeypatch.setattr(server_module._Connection, "callLater", later)
    await serve(path)

    with Client(path) as client:
        await in_thread(client.ask, ConsoleRequest("x"), ConsoleOpened)
        connection, _first = client.converse()
        clock.advance(2 * server_module.IDLE_TIMEOUT)
        connection.settimeout(DEADLINE)
        connection.sendall(b"bye\n")

        with connection.makefile("rb") as rest:
            heard = await in_thread(rest.read)

    assert heard.endswith(b"BYE\n")


@pytest_twisted.ensureDeferred
async def test_a_session_ends_with_the_server(serve: Serve, path: Path) -> None:
    server = await serve(path)
    Shouting.lost_ones = 0

    with Client(path) as client:
        await in_thread(client.ask, ConsoleRequest("x"), ConsoleOpened)
        connection, got = client.converse()
        connection.settimeout(DEADLINE)
        await server.stop()

        while piece := await in_thread(connection.recv, 99):
            got += piece

    assert got == b"welcome\n"
    assert Shouting.lost_ones == 1


@pytest_twisted.ensureDeferred
async def test_an_error_arrives_with_all_its_parts(serve: Serve, path: Path) -> None:
    await serve(path)

    def ask() -> None:
        with Client(path) as client:
            client.ask(StatusRequest(), Target)

    with pytest.raises(ControlError) as caught:
        await in_thread(ask)

    error = caught.value
    assert (error.brief, error.details, error.resolution) == (
        "host alpha is on fire",
        "smoke",
        "Run.",
    )


@pytest_twisted.ensureDeferred
async def test_a_mistake_of_ours_is_told_and_does_not_end_the_connection(
    serve: Serve, path: Path
) -> None:
    await serve(path)

    def ask_twice() -> Target:
        with Client(path) as client:
            with pytest.raises(ControlError, match="by a mistake in latent_libvirt"):
                client.ask(DrainRequest("bug"), Target)
            return client.ask(DrainRequest("a"), Target)

    assert await in_thread(ask_twice) == Target("host", "a")


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"\xff\xfe",
        b"[]",
        b'{"protocol": 2, "request": {"command": "status"}}',
        b'{"protocol": 1}',
        b'{"protocol": 1, "request": {"command": "destroy"}}',
        b'{"protocol": 1, "request": {"command": "status", "more": 1}}',
        b'{"protocol": 1, "request": {"command": "drain"}}',
        b'{"protocol": 1, "request": {"command": "drain", "name": 1}}',
        b"[" * 4000,
        b"x" * (MAX_REQUEST + 1),
    ],
    ids=lambda line: line[:60].decode("ascii", "replace"),
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_understood_is_answered_with_an_error(
    serve: Serve, path: Path, line: bytes
) -> None:
    await serve(path)

    def send() -> Any:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(str(path))
            connection.sendall(line + b"\n")
            return json.loads(connection.makefile("rb").readline())

    answer = await in_thread(send)

    assert answer["protocol"] == 1
    assert answer["error"]["brief"]


@pytest_twisted.ensureDeferred
async def test_only_its_user_may_open_the_socket_from_its_first_moment(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twisted changes the mode of a socket only after it has made it."""
    monkeypatch.setattr(os, "chmod", lambda path, mode: None)
    before = os.umask(0)
    try:
        await serve(path)
        assert os.umask(0) == 0
    finally:
        os.umask(before)

    assert mode_of(path) == 0o600


@pytest_twisted.ensureDeferred
async def test_another_user_is_refused_even_if_the_file_lets_him(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "peer_user", lambda transport: os.geteuid() + 1)
    await serve(path)

    with pytest.raises(ControlError, match="the master did not answer"):
        await in_thread(drain, path, "a")


@pytest_twisted.ensureDeferred
async def test_the_socket_of_a_dead_master_is_replaced(serve: Serve, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()

    await serve(path)

    assert await in_thread(drain, path, "a")


@pytest_twisted.ensureDeferred
async def test_that_of_a_living_one_is_left_alone(serve: Serve, path: Path) -> None:
    await serve(path)

    with pytest.raises(ControlError, match="another process listens"):
        await serve(path)

    assert await in_thread(drain, path, "a")


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_no_socket_is_left_alone(serve: Serve, file: Path) -> None:
    with pytest.raises(ControlError, match="it is no socket"):
        await serve(file)

    assert list(file.parent.iterdir()) == [file]


@pytest_twisted.ensureDeferred
async def test_nothing_is_left_when_it_stops(serve: Serve, path: Path) -> None:
    server = await serve(path)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE)
        connection.connect(str(path))
        assert await in_thread(drain, path, "a")

        await server.stop()

        assert await in_thread(connection.recv, 1) == b""
    assert list(path.parent.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_it_stops_though_somebody_deleted_the_socket(serve: Serve, path: Path) -> None:
    server = await serve(path)
    remove(path)

    await Deferred.fromCoroutine(server.stop()).addTimeout(DEADLINE, reactor)

    assert list(path.parent.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_a_base_directory_may_have_a_long_path(serve: Serve, tmp_path: Path) -> None:
    """A socket's address has room for 107 bytes."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)

    server = await serve(deep / "pool.sock")
    assert await in_thread(drain, deep, "a") == [Target("host", "a")]
    await server.stop()

    assert list(deep.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_too_long_by_itself_is_told(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="shorter name"):
        await serve(tmp_path / ("n" * 100 + ".sock"))


def test_a_master_that_does_not_answer_is_told(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()

        with Client(path) as client, pytest.raises(ControlError, match="did not answer") as caught:
            client.ask(StatusRequest(), Target, timeout=0.01)

    assert caught.value.details == "timed out."


@pytest_twisted.ensureDeferred
async def test_a_connection_that_asks_nothing_is_closed(
    serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "IDLE_TIMEOUT", 0.05)
    await serve(path)

    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE)
        connection.connect(str(path))

        assert await in_thread(connection.recv, 1) == b""


def test_without_a_master_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(ControlError) as caught:
        Client(tmp_path)

    assert caught.value.brief == f"no master with a pool runs in {tmp_path}"


def test_a_socket_that_nobody_serves_is_told(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    with pytest.raises(ControlError, match="no master answers at") as caught:
        Client(path.parent)

    assert caught.value.details == "Connection refused."


def test_several_pools_in_one_directory_have_to_be_told_apart(tmp_path: Path) -> None:
    for name in ("a.sock", "b.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / name))

    with pytest.raises(ControlError, match=r"a\.sock, b\.sock"):
        Client(tmp_path)
