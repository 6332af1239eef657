# SPDX-License-Identifier: GPL-2.0-only
"""When two connections lead to one hypervisor."""

from __future__ import annotations

from dataclasses import replace

import libvirt

from latent_libvirt.host.identity import HostIdentity, identity_of
from latent_libvirt.host.sweep import host_uuid_of

SYSTEM = HostIdentity("4c4c4544", "alpha", "QEMU", frozenset({"a", "b"}))


def test_pools_may_come_and_go() -> None:
    assert SYSTEM.is_that_of(replace(SYSTEM, pools=frozenset({"b", "c"})))


def test_the_session_of_a_machine_is_another_hypervisor() -> None:
    assert not SYSTEM.is_that_of(replace(SYSTEM, pools=frozenset({"c"})))


def test_machines_whose_firmware_says_the_same_are_told_apart() -> None:
    assert not SYSTEM.is_that_of(replace(SYSTEM, hostname="beta", pools=frozenset({"c"})))
    assert not SYSTEM.is_that_of(replace(SYSTEM, hostname="alpha", pools=frozenset({"c"})))


def test_clones_of_a_machine_are_told_apart_by_their_firmware() -> None:
    assert not SYSTEM.is_that_of(replace(SYSTEM, uuid="another"))


def test_two_connections_to_one_libvirt_say_the_same() -> None:
    connections = [libvirt.open("test:///default") for _ in range(2)]
    try:
        one, other = (identity_of(each, host_uuid_of(each)) for each in connections)
    finally:
        for connection in connections:
            connection.close()

    assert one.is_that_of(other)
