# SPDX-License-Identifier: GPL-2.0-only
"""Addresses of the master that lead guests to themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Problems = Callable[[str], list[str]]

TCP = ("memory: 1GiB", "connection: tcp")


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "'::1'", "127.9.9.9"])
def test_a_guest_that_connects_by_tcp_is_not_led_to_itself(
    problems_of: Problems, good: str, address: str
) -> None:
    text = good.replace("max_vms: 4", f"max_vms: 4\n  address: {address}")

    assert problems_of(text) == []
    (problem,) = problems_of(text.replace(*TCP))
    shown = address if address.startswith("'") else f"'{address}'"
    assert problem == (
        f"3:12: master.address: {shown} is the guest itself, to a guest that connects by TCP; "
        "write the master's address as guests see it, or remove the key"
    )


def test_the_address_that_counts_is_looked_at(problems_of: Problems, good: str) -> None:
    tcp = good.replace(*TCP)
    in_label = tcp.replace("connection: tcp", "connection: tcp\n    address: localhost")
    in_host = tcp.replace("slots: 2", "slots: 2\n    address: localhost")
    other = in_host.replace("connection: tcp", "connection: tcp\n    address: 192.0.2.1")

    assert problems_of(in_label)[0].startswith("20:14: labels.debian-12.address: 'localhost' is")
    assert problems_of(in_host)[0].startswith("11:14: hosts.beta.address: 'localhost' is the")
    assert problems_of(other) == []


def test_hosts_of_the_test_driver_have_no_guests_that_could_connect(
    problems_of: Problems, good: str
) -> None:
    text = good.replace("max_vms: 4", "max_vms: 4\n  address: localhost").replace(*TCP)
    text = text.replace("qemu:///system", "test:///default")
    text = text.replace("qemu+ssh://builder@beta/system", "test:///other.xml")

    assert problems_of(text) == []
