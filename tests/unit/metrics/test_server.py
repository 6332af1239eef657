# SPDX-License-Identifier: GPL-2.0-only
"""Scrapes, with real sockets."""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs

import statuses
from buildmaster import free_port
from latent_libvirt.metrics import server as server_module
from latent_libvirt.metrics.families import Registry
from latent_libvirt.metrics.server import MetricsServer
from latent_libvirt.status.pool import PoolStatus

DEADLINE = 60.0


class Served:
    """A server, and the pool that it tells of."""

    def __init__(self) -> None:
        self.used = 0
        self.server = MetricsServer(Registry(), self._status, reactor=reactor)

    def _status(self) -> PoolStatus:
        return statuses.pool(leases=(statuses.lease(),) * self.used)


@pytest_twisted.async_yield_fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    yield served
    await served.server.stop()


def address(host: str = "127.0.0.1") -> str:
    return f"{host}:{free_port()}"


async def get(where: str, path: str = "/metrics") -> str:
    def ask() -> str:
        with urllib.request.urlopen(f"http://{where}{path}", timeout=DEADLINE) as answer:
            return str(answer.read(), "utf-8")

    return await deferToThread(ask)


async def refused(where: str) -> bool:
    try:
        await get(where)
    except urllib.error.URLError as error:
        return isinstance(error.reason, ConnectionRefusedError)
    return False


def used_vms(text: str) -> float:
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return float(families["latent_libvirt_used_vms"].samples[0].value)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest_twisted.ensureDeferred
async def test_each_scrape_tells_what_is_true_then(served: Served, host: str) -> None:
    where = address(host)
    await served.server.serve(where)

    assert used_vms(await get(where)) == 0
    served.used = 2
    assert used_vms(await get(where)) == 2


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("method", "length", "status"),
    [("POST", 0, 405), ("PUT", 4_000_000, 405), ("GET", 4_000_000, 413)],
)
@pytest_twisted.ensureDeferred
async def test_a_request_with_a_body_is_refused_by_its_head_and_scrapes_go_on(
    served: Served, method: str, length: int, status: int
) -> None:
    where = address()
    await served.server.serve(where)

    answer = await deferToThread(begin, where, method, length)

    assert answer.split()[1] == str(status).encode()
    assert used_vms(await get(where)) == 0


def begin(where: str, method: str, length: int) -> bytes:
    """Send the head of a request whose body never comes; return what is answered."""
    host, _, port = where.rpartition(":")
    head = f"{method} /metrics HTTP/1.1\r\nHost: h\r\nContent-Type: {FORM}\r\n"
    with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        return connection.recv(65536)


@pytest_twisted.ensureDeferred
async def test_it_moves_and_stops_as_it_is_told(served: Served) -> None:
    first, second = address(), address()
    await served.server.serve(first)
    await served.server.serve(second)

    assert await refused(first)
    assert used_vms(await get(second)) == 0

    await served.server.serve(None)
    assert await refused(second)


@pytest_twisted.ensureDeferred
async def test_moves_that_overlap_end_with_the_last(served: Served) -> None:
    first, second = address(), address()
    moves = [served.server.serve(where) for where in (first, None, second, first, second)]
    for move in moves:
        await move

    assert await refused(first)
    assert used_vms(await get(second)) == 0


@pytest_twisted.ensureDeferred
async def test_an_address_that_is_taken_is_told_and_used_once_it_is_free(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "TRY_AGAIN_AFTER", 0.05)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with capturedLogs() as told:
            await served.server.serve(where)
    assert [e for e in told if e["log_format"].startswith("metrics cannot be served")]

    answer = None
    while answer is None:
        with contextlib.suppress(urllib.error.URLError):
            answer = await get(where)
    assert used_vms(answer) == 0


@pytest_twisted.ensureDeferred
async def test_a_server_that_waits_for_its_address_can_be_stopped(served: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        await served.server.serve(where)

        await served.server.stop()

        assert served.server._next_try is None
    assert await refused(where)


@pytest_twisted.ensureDeferred
async def test_there_is_nothing_else(served: Served) -> None:
    where = address()
    await served.server.serve(where)

    with pytest.raises(urllib.error.HTTPError, match="404") as raised:
        await get(where, "/")
    raised.value.close()
