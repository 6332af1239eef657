# SPDX-License-Identifier: GPL-2.0-only
"""The connection to a real libvirtd that is killed, stopped and started again."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import libvirt
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList

from latent_libvirt.errors import HostError
from latent_libvirt.host.libvirtd import connection as connection_module
from latent_libvirt.host.libvirtd.call_threads import THREADS
from latent_libvirt.host.libvirtd.connection import Connection
from latent_libvirt.sandbox import PrivateLibvirtd

DEADLINE = 120.0


class Recorder:
    """Notes what a connection tells, and lets a test wait for it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._waiting: list[tuple[str, Deferred[None]]] = []

    def connected(self) -> None:
        self._note("connected")

    def disconnected(self, reason: str) -> None:
        assert reason
        self._note("disconnected")

    def domain_event(self, name: str, event: int, detail: int) -> None:
        self._note(f"{name} {event}")

    def until(self, word: str) -> Deferred[None]:
        """Return a Deferred that fires when *word* is told after this call."""
        told: Deferred[None] = Deferred()
        self._waiting.append((word, told))
        return told.addTimeout(DEADLINE, reactor)

    def _note(self, word: str) -> None:
        self.told.append(word)
        waiting, self._waiting = self._waiting, []
        for awaited, told in waiting:
            if awaited == word:
                told.callback(None)
            else:
                self._waiting.append((awaited, told))


Connect = Callable[[str], Coroutine[Deferred[Any], Any, Connection]]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest_twisted.async_yield_fixture
async def connect(recorder: Recorder) -> AsyncIterator[Connect]:
    opened = []

    async def _connect(uri: str) -> Connection:
        connection = Connection("test", uri, listener=recorder, reactor=reactor)
        opened.append(connection)
        connected = recorder.until("connected")
        connection.start()
        await connected
        return connection

    yield _connect
    for connection in opened:
        await connection.stop()


@pytest_twisted.ensureDeferred
async def test_calls_run_in_threads_of_their_own(connect: Connect) -> None:
    connection = await connect("test:///default")

    def where(_connection: Any) -> threading.Thread:
        return threading.current_thread()

    assert await connection.call("examine", "tell", where) is not threading.main_thread()


@pytest_twisted.ensureDeferred
async def test_an_error_says_which_host_could_not_do_what_and_why(connect: Connect) -> None:
    connection = await connect("test:///default")

    with pytest.raises(HostError) as caught:
        await connection.call(
            "examine", "find a domain", libvirt.virConnect.lookupByName, "nowhere"
        )

    assert caught.value.brief == "host test could not find a domain"
    assert "Domain not found" in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_a_call_has_a_deadline(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "CALL_TIMEOUT", 0.2)
    connection = await connect("test:///default")
    hung = threading.Event()

    with pytest.raises(HostError, match="no answer within"):
        await connection.call("examine", "wait for ever", lambda _connection: hung.wait(DEADLINE))
    hung.set()


@pytest_twisted.ensureDeferred
async def test_without_a_connection_a_call_fails_at_once(recorder: Recorder) -> None:
    connection = Connection("test", "test:///default", listener=recorder, reactor=reactor)

    with pytest.raises(HostError, match="no connection"):
        await connection.call("examine", "answer", libvirt.virConnect.getHostname)


@pytest_twisted.ensureDeferred
async def test_a_host_that_freezes_under_many_calls_fails_them_all_and_is_used_once_it_thaws(
    connect: Connect,
    recorder: Recorder,
    sandbox: PrivateLibvirtd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "KEEPALIVE_INTERVAL", 1)
    connection = await connect(sandbox.uri)
    lost, again = recorder.until("disconnected"), recorder.until("connected")

    sandbox.suspend()
    calls = [
        Deferred.fromCoroutine(
            connection.call("examine", "tell its name", libvirt.virConnect.getHostname)
        )
        for _ in range(2 * THREADS)
    ]
    results = await DeferredList(calls, consumeErrors=True).addTimeout(DEADLINE, reactor)
    await lost
    sandbox.resume()
    await again

    assert all(isinstance(failure.value, HostError) for _, failure in results)
    assert await connection.call("examine", "tell its name", libvirt.virConnect.getHostname)


@pytest_twisted.ensureDeferred
async def test_a_libvirtd_that_was_killed_is_found_again(
    connect: Connect, recorder: Recorder, sandbox: PrivateLibvirtd
) -> None:
    connection = await connect(sandbox.uri)
    lost, again = recorder.until("disconnected"), recorder.until("connected")

    sandbox.kill()
    await lost
    assert not connection.is_up
    sandbox.restart()
    await again

    assert await connection.call("examine", "tell its name", libvirt.virConnect.getHostname)


@pytest_twisted.ensureDeferred
async def test_a_libvirtd_that_answers_nothing_is_noticed_by_keepalive(
    connect: Connect,
    recorder: Recorder,
    sandbox: PrivateLibvirtd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "KEEPALIVE_INTERVAL", 1)
    monkeypatch.setattr(connection_module, "KEEPALIVE_COUNT", 2)
    connection = await connect(sandbox.uri)
    lost, again = recorder.until("disconnected"), recorder.until("connected")

    sandbox.suspend()
    with pytest.raises(HostError):
        await connection.call("examine", "tell its name", libvirt.virConnect.getHostname)
    await lost
    sandbox.resume()
    await again

    assert await connection.call("examine", "tell its name", libvirt.virConnect.getHostname)


@pytest_twisted.ensureDeferred
async def test_a_master_that_starts_before_its_libvirtd_waits_for_it(
    connect: Connect, recorder: Recorder, sandbox: PrivateLibvirtd
) -> None:
    sandbox.kill()
    connecting = Deferred.fromCoroutine(connect(sandbox.uri))

    sandbox.restart()

    connection = await connecting
    assert connection.is_up
    assert recorder.told == ["connected"]


@pytest_twisted.ensureDeferred
async def test_a_connection_that_broke_before_it_was_adopted_is_not_kept(
    connect: Connect,
    recorder: Recorder,
    sandbox: PrivateLibvirtd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The order is forced: libvirt reports the loss, and an older one's, in between."""
    monkeypatch.setattr(connection_module, "KEEPALIVE_INTERVAL", 1)
    connection = await connect(sandbox.uri)
    older = libvirt.open(sandbox.uri)
    adopt = connection._adopt

    def adopt_too_late(made: libvirt.virConnect) -> None:
        monkeypatch.setattr(connection, "_adopt", adopt)
        made.close()
        connection._lost(made, "broken at once")
        connection._lost(older, "long given up")
        adopt(made)

    monkeypatch.setattr(connection, "_adopt", adopt_too_late)
    again = recorder.until("connected")
    sandbox.kill()
    sandbox.restart()
    await again

    assert await connection.call("examine", "tell its name", libvirt.virConnect.getHostname)
    older.close()


@pytest_twisted.ensureDeferred
async def test_a_connection_whose_end_nobody_reported_is_found_by_its_pulse(
    connect: Connect,
    recorder: Recorder,
    sandbox: PrivateLibvirtd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report of libvirt is suppressed, as if it had come before the connection was adopted."""
    monkeypatch.setattr(connection_module, "KEEPALIVE_INTERVAL", 0.2)
    connection = await connect(sandbox.uri)
    assert connection._connection is not None
    connection._connection.unregisterCloseCallback()
    lost, again = recorder.until("disconnected"), recorder.until("connected")

    sandbox.kill()
    await lost
    sandbox.restart()
    await again

    assert await connection.call("examine", "tell its name", libvirt.virConnect.getHostname)
