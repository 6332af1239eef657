# SPDX-License-Identifier: GPL-2.0-only
"""A simulated guest speaks the handshake of the launcher, in its time.

What its worker does needs a master, and is tested with one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from latent_libvirt.guest.protocol import HELLO, Identity, MasterAddress
from latent_libvirt.stress.simulation import guests
from latent_libvirt.stress.simulation.guests import Guest

TIMES = {"define": 0.4, "boot": 2.0, "assign": 0.5, "attach": 1.0}
IDENTITY = Identity("worker-1", "secret", MasterAddress("127.0.0.1", 1), "worker")


class Worker:
    """Stands in for a worker, which would connect to a master."""

    def __init__(self, identity: dict[str, Any], directory: Path) -> None:
        self.name = identity["name"]
        self.state = "made"

    def start(self) -> None:
        self.state = "started"

    def kill(self) -> None:
        self.state = "killed"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(guests, "reactor", clock)
    monkeypatch.setattr(guests, "SimulatedWorker", Worker)
    return clock


def switched_on(tmp_path: Path) -> Any:
    guest: Any = Guest(tmp_path)
    transport: Any = StringTransport
    guest.makeConnection(transport())
    tell(guest, {"type": "power-on", "times": TIMES})
    return guest


def tell(guest: Any, message: dict[str, Any]) -> None:
    guest.dataReceived(json.dumps(message).encode() + b"\n")


def said(guest: Any) -> list[str]:
    return [json.loads(line)["type"] for line in guest.transport.value().splitlines()]


def test_it_waits_when_it_has_booted(clock: Clock, tmp_path: Path) -> None:
    guest = switched_on(tmp_path)
    tell(guest, HELLO)
    clock.advance(1.9)
    assert said(guest) == []

    clock.advance(0.2)

    assert said(guest) == ["waiting"]


def test_it_says_again_that_it_waits_when_it_is_asked(clock: Clock, tmp_path: Path) -> None:
    guest = switched_on(tmp_path)
    clock.advance(2.0)

    tell(guest, HELLO)

    assert said(guest) == ["waiting", "waiting"]


def test_its_identity_makes_it_a_worker(clock: Clock, tmp_path: Path) -> None:
    guest = switched_on(tmp_path)
    clock.advance(2.0)

    tell(guest, IDENTITY.message(now=0.0))
    clock.advance(0.5)

    worker = guest._worker
    assert said(guest) == ["waiting", "starting"]
    assert (worker.name, worker.state) == ("worker-1", "made")
    clock.advance(1.0)
    assert worker.state == "started"


def test_it_ends_with_its_vm_at_any_moment(clock: Clock, tmp_path: Path) -> None:
    guest = switched_on(tmp_path)
    clock.advance(2.0)
    tell(guest, IDENTITY.message(now=0.0))
    clock.advance(0.5)

    guest.connectionLost()
    clock.advance(10.0)

    assert guest._worker.state == "killed"
    assert clock.getDelayedCalls() == []
