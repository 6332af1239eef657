# SPDX-License-Identifier: GPL-2.0-only
"""Pictures of VMs: how often they are taken, and who waits for whom.

The VMs are fakes. A real host cannot be made to hang at one picture and answer the others.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from latent_libvirt.control.pictures import AT_A_TIME, EVERY, Pictures


class AHost:
    def __init__(self) -> None:
        self.reactor = Clock()


class AVm:
    """A VM whose pictures are taken when the test says so."""

    def __init__(self, host: AHost) -> None:
        self.taking: list[Deferred[bytes]] = []
        self.machine = SimpleNamespace(host=host, picture=self._picture)

    async def _picture(self) -> bytes:
        self.taking.append(Deferred())
        return await self.taking[-1]


@pytest.fixture
def host() -> AHost:
    return AHost()


def asked(pictures: Pictures, vm: Any) -> list[bytes]:
    """Ask for a picture; it is in the list once it is there."""
    found: list[bytes] = []
    Deferred.fromCoroutine(pictures.of(vm)).addCallback(found.append)
    return found


def test_all_who_ask_get_one_picture_until_it_is_old(host: AHost) -> None:
    pictures, vm = Pictures(), AVm(host)
    first, second = asked(pictures, vm), asked(pictures, vm)
    vm.taking[0].callback(b"one")
    host.reactor.advance(EVERY - 0.1)
    third = asked(pictures, vm)
    host.reactor.advance(0.1)
    fourth = asked(pictures, vm)
    vm.taking[1].callback(b"two")

    assert (first, second, third, fourth) == ([b"one"], [b"one"], [b"one"], [b"two"])


def test_a_host_that_hangs_holds_up_no_picture_of_another(host: AHost) -> None:
    pictures = Pictures()
    hanging = [AVm(host) for _ in range(AT_A_TIME + 3)]
    for vm in hanging:
        asked(pictures, vm)
    other = AVm(AHost())
    found = asked(pictures, other)
    other.taking[0].callback(b"here")

    assert sum(len(vm.taking) for vm in hanging) == AT_A_TIME
    assert found == [b"here"]
