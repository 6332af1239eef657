# SPDX-License-Identifier: GPL-2.0-only
"""Channels of a host that does not do what libvirt says, or of a guest that finds a flaw of ours.

The host is a fake, for no real one returns such things. Real channels are in tests/integration.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import libvirt
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs

from latent_libvirt.errors import GuestError, HostError
from latent_libvirt.guest.launcher.link.frames import OPEN, Message
from latent_libvirt.guest.launcher.link.guest_link import GuestLink
from latent_libvirt.guest.master_link import MasterLink
from latent_libvirt.host.channels import worker_channels
from latent_libvirt.host.channels.worker_channels import WorkerChannels
from latent_libvirt.host.channels.worker_link import WorkerLink

SESSION = "0123456789abcdef"
DEADLINE = 60.0


class _Connection:
    def registerCloseCallback(self, *_arguments: object) -> None:  # noqa: N802 - libvirt's
        """Never close."""

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's
        return True

    def close(self) -> None:
        """Do nothing."""


def raises(error: Exception) -> Callable[[Any], Any]:
    def find(_connection: object) -> None:
        raise error

    return find


async def opened(find: Callable[[Any], Any]) -> None:
    """Open the channel of a VM of which *find* tells."""
    channels = WorkerChannels(
        "alpha", lambda: cast("libvirt.virConnect", _Connection()), reactor=reactor
    )
    link = WorkerLink("VM 1", SESSION, None, reactor=reactor)
    try:
        await channels.line(link, find)
    finally:
        channels.stop()


@pytest.mark.parametrize(
    "error",
    [
        libvirt.libvirtError("no"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
        TypeError("no"),
        RuntimeError("no"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_whatever_a_host_raises_is_an_error_of_that_host(error: Exception) -> None:
    with pytest.raises(HostError, match=r"host alpha could not open channel .* of VM 1") as caught:
        await opened(raises(error))

    assert "no" in str(caught.value.details)


@pytest_twisted.ensureDeferred
async def test_a_vm_that_has_ended_is_no_error_of_its_host() -> None:
    with pytest.raises(GuestError, match="VM 1 has ended"):
        await opened(lambda _connection: None)


class _Reader:
    """Stands in for the reader of a stream, which the test ends."""

    def __init__(
        self, _stream: object, received: Callable[[bytes], bool], ended: Callable[[], None]
    ) -> None:
        self.received = received
        self.ended = ended

    def close(self) -> None:
        """Do nothing."""


class _Stream:
    """Takes whatever is written."""

    def send(self, data: bytes) -> int:
        return len(data)


@dataclass
class _Pauses:
    """Does not wait, and keeps how often it was to."""

    after_tries: list[int] = field(default_factory=list)

    def after(self, tries: int) -> float:
        self.after_tries.append(tries)
        return 0.0


class _Guest:
    """A guest whose channel the test opens, speaks through and cuts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, factory: Any = None) -> None:
        self.readers: list[_Reader] = []
        self.pauses = _Pauses()
        monkeypatch.setattr(worker_channels, "open_channel", lambda *_: _Stream())
        monkeypatch.setattr(worker_channels, "StreamReader", self._reader)
        monkeypatch.setattr(worker_channels, "_BACKOFF", self.pauses)
        self.channels = WorkerChannels(
            "alpha", lambda: cast("libvirt.virConnect", _Connection()), reactor=reactor
        )
        self.link = WorkerLink("VM 1", SESSION, factory, reactor=reactor)

    def _reader(self, *arguments: Any) -> _Reader:
        self.readers.append(_Reader(*arguments))
        return self.readers[-1]

    async def opens(self, times: int = 1) -> None:
        """Wait until the channel has been opened so often."""
        await until(lambda: len(self.readers) == times and self.link._link._has_said_hello)

    def says(self, *messages: Message) -> None:
        """Let the guest say its welcome, and *messages*."""
        guest = GuestLink(SESSION)
        hello = MasterLink(SESSION)
        for _ in self.readers:
            hello.opened()
        guest.received(hello.take_output())
        for message in messages:
            guest.send(message)
        self.readers[-1].received(guest.take_output())


async def until(condition: Callable[[], object]) -> None:
    """Let the reactor turn until something is so."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        await deferLater(cast("Any", reactor), 0, lambda: None)


@pytest_twisted.ensureDeferred
async def test_a_channel_that_is_closed_before_each_welcome_is_opened_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = _Guest(monkeypatch)
    await guest.channels.line(guest.link, lambda _connection: cast("Any", object()))
    for opening in range(1, 5):
        await guest.opens(opening)
        guest.readers[-1].ended()
    await guest.opens(5)
    assert guest.pauses.after_tries == [1, 2, 3]

    guest.says()
    await until(lambda: guest.link.is_open)
    guest.readers[-1].ended()
    await guest.opens(6)
    assert guest.pauses.after_tries == [1, 2, 3]
    guest.channels.stop()


class _Flaw(Factory):
    """Makes no protocol, and fails."""

    def buildProtocol(self, _address: object) -> Protocol:
        raise RuntimeError("a flaw")


@pytest_twisted.ensureDeferred
async def test_a_guest_that_finds_a_flaw_of_the_master_loses_its_channel_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guest = _Guest(monkeypatch, _Flaw())
    await guest.channels.line(guest.link, lambda _connection: cast("Any", object()))
    with capturedLogs() as events:
        guest.says(Message(OPEN, 1))
        await until(lambda: guest.link.is_over)
    guest.channels.stop()

    assert any("a flaw" in str(event.get("log_failure")) for event in events)
    assert any("cannot be handled" in str(event.get("reason")) for event in events)
