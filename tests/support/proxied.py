# SPDX-License-Identifier: GPL-2.0-only
"""A guest at the forward proxy, and destinations, in memory: what HTTP says is plain logic."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from latent_libvirt.config import DestinationConfig
from latent_libvirt.host.proxy.connection import Proxy
from latent_libvirt.host.proxy.far_end import FarEnd
from latent_libvirt.host.proxy.policy import Policy
from latent_libvirt.host.proxy.record import Record

FILES = DestinationConfig(name="files.example", port=80)
SECURE = DestinationConfig(name="files.example", port=443)


class Transport(StringTransport):
    disconnected = False

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's
        self.disconnected = True


class Guest:
    """In the place of a ``GuestConnection``."""

    def __init__(self) -> None:
        self.incoming = b""
        self.outgoing = b""
        self.unsent = 0
        self.is_closed = False

    def read(self) -> bytes:
        data, self.incoming = self.incoming, b""
        return data

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.outgoing += data

    def close(self) -> None:
        self.is_closed = True


class Resolver:
    """Connects far ends to transports in memory, or fails as it is to."""

    def __init__(self) -> None:
        self.asked: list[DestinationConfig] = []
        self.far: list[FarEnd] = []
        self.failure: Exception | None = None

    async def connect(self, destination: DestinationConfig, far: FarEnd) -> str:
        self.asked.append(destination)
        if self.failure is not None:
            raise self.failure
        far.makeConnection(Transport())  # type: ignore[no-untyped-call]
        self.far.append(far)
        return "192.0.2.7"


class Assembled:
    """A connection with all around it."""

    def __init__(self) -> None:
        self.guest = Guest()
        self.resolver = Resolver()
        self.record = Record()
        self.clock = Clock()
        policy = Policy("hermetic", [FILES, SECURE])
        shared: Any = (policy, self.record, self.resolver, self.clock)
        guest: Any = self.guest
        self.connection = Proxy(*shared).connection(guest)
