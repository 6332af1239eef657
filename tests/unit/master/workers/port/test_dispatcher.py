# SPDX-License-Identifier: GPL-2.0-only
"""Logins of workers: what the log has of those that are refused."""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import DeferredLock
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.spread import pb
from twisted.spread.pb import IPerspective

from latent_libvirt.master.workers.password import SingleUsePassword
from latent_libvirt.master.workers.port.dispatcher import GuardedDispatcher


class _Dispatcher(GuardedDispatcher):
    """The product's, with as much of a master as a login needs."""

    master: Any = None

    def __init__(self) -> None:
        super().__init__("tcp:0", "tcp:0")
        self.master = SimpleNamespace(initLock=DeferredLock(), reactor=Clock())


@pytest.fixture
def password() -> SingleUsePassword:
    return SingleUsePassword()


@pytest.fixture
def dispatcher(password: SingleUsePassword) -> Any:
    dispatcher = _Dispatcher()
    dispatcher.register("debian-12-1", password, None)
    return dispatcher


class Stranger:
    """A client on the port, with each byte that it and the port say; no socket is needed."""

    def __init__(self, dispatcher: Any) -> None:
        address = IPv4Address("TCP", "127.0.0.1", 1)
        self._port = dispatcher.serverFactory.buildProtocol(address)
        self._client: Any = pb.Broker(isClient=True)  # type: ignore[no-untyped-call]
        nothing: Any = SimpleNamespace(clientConnectionMade=lambda _broker: None)
        self._client.factory = nothing
        for end in (self._port, self._client):
            end.makeConnection(StringTransport())  # type: ignore[no-untyped-call]

    def call(self, target: Any, method: str, *arguments: Any) -> Any:
        """Call a method; return its answer, or its failure."""
        answers: list[Any] = []
        target.callRemote(method, *arguments).addBoth(answers.append)
        self._talk()
        (answer,) = answers
        return answer

    def log_in(self, name: Any) -> Any:
        """Say *name*, then respond with nonsense; return the answer to that."""
        self._talk()
        root = self._client.remoteForName(b"root")
        _, challenger = self.call(root, "login", name)
        return self.call(challenger, "respond", b"nonsense", None)

    def _talk(self) -> None:
        for _ in range(5):
            for end, other in ((self._client, self._port), (self._port, self._client)):
                said = end.transport.value()
                end.transport.clear()
                other.dataReceived(said)


async def log_of_refused(dispatcher: Any, name: bytes, password: str) -> str:
    credentials = UsernamePassword(name, password.encode())
    with capturedLogs() as events, pytest.raises(UnauthorizedLogin):
        await dispatcher.portal.login(credentials, None, IPerspective)
    return "\n".join(filter(None, map(formatEvent, events)))


@pytest_twisted.ensureDeferred
async def test_a_vm_that_logs_in_again_is_named_in_the_log_once(
    dispatcher: Any, password: SingleUsePassword
) -> None:
    first = password.renew("first on host a")
    password.renew()
    second = password.renew("second on host a")
    password.renew()

    assert "login of VM first on host a is refused" in await log_of_refused(
        dispatcher, b"debian-12-1", first
    )
    assert await log_of_refused(dispatcher, b"debian-12-1", first) == ""
    assert "login of VM second on host a is refused" in await log_of_refused(
        dispatcher, b"debian-12-1", second
    )


@pytest.mark.parametrize("name", [b"debian-12-1", b"somebody"])
@pytest_twisted.ensureDeferred
async def test_a_login_with_a_guessed_password_is_logged(dispatcher: Any, name: bytes) -> None:
    assert "invalid login" in await log_of_refused(dispatcher, name, "guessed")


NAMES: list[Any] = [2**30, 5, -1, None, True, 1.5, [b"list"], (), {}, "debian-12-1", "somebody"]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_stranger_whose_name_may_be_anything_is_refused_without_memory_for_it(
    dispatcher: Any, name: Any
) -> None:
    stranger = Stranger(dispatcher)

    tracemalloc.start()
    refusal = stranger.log_in(name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert refusal.type == b"twisted.cred.error.UnauthorizedLogin"
    assert peak < 1024**2
