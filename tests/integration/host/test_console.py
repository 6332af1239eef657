# SPDX-License-Identifier: GPL-2.0-only
"""What a guest that reads nothing does to its host, when somebody types into its console."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import libvirt
import pytest

from latent_libvirt.errors import GuestError
from latent_libvirt.host.guests.console import Console
from latent_libvirt.host.libvirtd import event_loop
from latent_libvirt.host.libvirtd.connection import Connection
from latent_libvirt.sandbox import PrivateLibvirtd

MUCH = b"x" * 256 * 1024
"""More than lies between an operator and a guest (about 20 KiB)."""

DEADLINE = 180.0

PAUSED = """
<domain type="qemu">
  <name>deaf</name>
  <memory unit="MiB">32</memory>
  <os><type arch="x86_64" machine="q35">hvm</type></os>
  <devices>
    <serial type="pty"><target port="0"/></serial>
    <console type="pty"><target type="serial" port="0"/></console>
  </devices>
</domain>
"""


class HandOver:
    """Notes what is handed to the reactor's thread."""

    def __init__(self) -> None:
        self.calls: queue.Queue[Callable[..., object]] = queue.Queue()

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        self.calls.put(function)


class Deaf:
    """A VM that is paused, and so reads nothing."""

    def __init__(self, sandbox: PrivateLibvirtd) -> None:
        event_loop.ensure_running()
        self.reactor = HandOver()
        # Only its way to open one more connection is used.
        self._connection = Connection("here", sandbox.uri, listener=None, reactor=None)  # type: ignore[arg-type]
        self.host = self._connection.another()
        self.domain = self.host.createXML(PAUSED, libvirt.VIR_DOMAIN_START_PAUSED)
        self.console = Console("deaf", reactor=self.reactor)
        self.console.open(self.domain)

    def find(self) -> libvirt.virDomain | None:
        """Return the domain, by a connection of its own."""
        return next(iter(self._connection.another().listAllDomains()), None)

    def write(self, data: bytes) -> queue.Queue[GuestError | None]:
        """Type in a thread; return where it notes how that ended."""
        ended: queue.Queue[GuestError | None] = queue.Queue()

        def write() -> None:
            try:
                self.console.write(data, self.find)
            except GuestError as error:
                ended.put(error)
            else:
                ended.put(None)

        threading.Thread(target=write, daemon=True).start()
        return ended


@pytest.fixture
def deaf(sandbox: PrivateLibvirtd) -> Iterator[Deaf]:
    deaf = Deaf(sandbox)
    yield deaf
    domain = deaf.find()
    if domain is not None:
        domain.destroy()
    deaf.console.close()
    deaf.host.close()


def test_it_holds_up_the_operator_and_nobody_else(deaf: Deaf) -> None:
    ended = deaf.write(MUCH)

    while ended.empty():  # for as long as keepalive is patient
        assert deaf.host.getLibVersion()
    error = ended.get(timeout=DEADLINE)

    assert isinstance(error, GuestError)
    assert error.brief == "VM deaf did not take what was typed"
    assert deaf.reactor.calls.get(timeout=DEADLINE) == deaf.console.lost
    for _ in range(2):  # the second gives back what the guest still has not read
        deaf.console.open(deaf.domain)
    assert deaf.domain.isActive()


def test_its_console_can_be_closed_once_the_domain_is_gone(deaf: Deaf) -> None:
    ended = deaf.write(MUCH)
    assert ended.empty()

    deaf.domain.destroy()
    deaf.console.close()

    assert isinstance(ended.get(timeout=DEADLINE), GuestError)
    with pytest.raises(GuestError):
        deaf.console.write(b"x", deaf.find)


def is_taken(domain: libvirt.virDomain) -> bool:
    """Whether somebody has the console of *domain*."""
    stream = domain.connect().newStream(libvirt.VIR_STREAM_NONBLOCK)
    try:
        domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_SAFE)
    except libvirt.libvirtError as error:
        return "active" in str(error).lower()
    stream.abort()
    return False


def test_a_console_is_given_back_before_its_domain_ends(deaf: Deaf) -> None:
    other = deaf.find()
    assert other is not None
    assert is_taken(other)

    deaf.console.give_back()

    assert not is_taken(other)
    with pytest.raises(GuestError, match="given up"):
        deaf.console.open(deaf.domain)


def test_a_console_that_was_typed_on_is_closed_after_its_domain(deaf: Deaf) -> None:
    ended = deaf.write(MUCH)
    while deaf.console._line is None or deaf.console._line.own is None:
        assert ended.empty()

    deaf.console.give_back()  # which would wait for a guest that reads nothing
    assert deaf.console._line is not None
    deaf.domain.destroy()
    deaf.console.close()

    assert isinstance(ended.get(timeout=DEADLINE), GuestError)
