# SPDX-License-Identifier: GPL-2.0-only
"""Names are looked up once, and what was found is checked and connected to.

What the master's resolver answers is a fake: another answer each time, as a hostile server gives.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Protocol

from latent_libvirt.config import DestinationConfig
from latent_libvirt.host.proxy import resolver as module
from latent_libvirt.host.proxy.policy import RefusedError
from latent_libvirt.host.proxy.resolver import Resolver, UnreachableError


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    clock: Any = reactor
    resolver = Resolver("test", reactor=clock)
    yield resolver
    resolver.stop()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Give the list of what the next look-ups find."""
    left: list[Any] = []
    monkeypatch.setattr(module, "_addresses", lambda _name, _port: left.pop(0))
    return left


class Connected(Protocol):
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


@pytest_twisted.ensureDeferred
async def test_a_second_answer_has_no_effect(resolver: Resolver, answers: list[Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inside = DestinationConfig(name="a.example", port=port, private=True)
        answers += [["127.0.0.1"], ["169.254.169.254"]]

        assert await resolver.connect(inside, Connected()) == "127.0.0.1"
        assert await resolver.connect(inside, Connected()) == "127.0.0.1"
    assert answers == [["169.254.169.254"]]


@pytest_twisted.ensureDeferred
async def test_one_address_that_is_private_is_enough_to_refuse(
    resolver: Resolver, answers: list[Any]
) -> None:
    answers.append(["93.184.216.34", "127.0.0.1"])
    with pytest.raises(RefusedError, match=r"a\.example has the address 127\.0\.0\.1"):
        await resolver.connect(DestinationConfig(name="a.example", port=80), Connected())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
@pytest_twisted.ensureDeferred
async def test_nobody_is_connected_to_a_private_address_in_whatever_form(
    resolver: Resolver, answers: list[Any], address: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        answers.append([address])
        destination = DestinationConfig(name="a.example", port=server.getsockname()[1])
        with pytest.raises(RefusedError, match="which is not public"):
            await resolver.connect(destination, Connected())
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest_twisted.ensureDeferred
async def test_a_failed_look_up_is_tried_again_and_the_next_address_is_used(
    resolver: Resolver, answers: list[Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        inside = DestinationConfig(name="a.example", port=server.getsockname()[1], private=True)
        answers += ["Name or service not known", ["127.0.0.2", "127.0.0.1"]]

        with pytest.raises(UnreachableError, match="looked up: Name or service not known"):
            await resolver.connect(inside, Connected())
        assert await resolver.connect(inside, Connected()) == "127.0.0.1"
