# SPDX-License-Identifier: GPL-2.0-only
"""Parts of the simulation: streams that are sockets, and XML for libvirt's test driver."""

from __future__ import annotations

import socket

import libvirt
import pytest

import specs
from latent_libvirt.host.domains.domain_xml import DomainSpec, Hardware, VmRecord, domain_xml
from latent_libvirt.host.domains.slot_domains import vm_record
from latent_libvirt.stress.simulation.binding import for_test_driver
from latent_libvirt.stress.simulation.stream import WOULD_BLOCK, SimulatedStream


def test_the_test_driver_takes_the_xml_of_our_domains_with_their_records() -> None:
    record = VmRecord("o1", "master", "pool", "v1", "debian", "worker", "i", "2026-01-01T00:00:00")
    hardware = Hardware(type="qemu", vm=specs.a_spec(), mac="52:54:00:00:00:01")
    spec = DomainSpec(
        name="latent-libvirt-1",
        uuid="0e2d4fd8-9d1c-4d6c-8d54-1f2b6c9d3a11",
        record=record,
        hardware=hardware,
        disk="/nowhere",
        boot=None,
    )
    connection = libvirt.open("test:///default")
    try:
        domain = connection.createXML(for_test_driver(domain_xml(spec)), 0)
        assert vm_record(domain) == record
        domain.destroy()
    finally:
        connection.close()


def test_a_stream_is_the_way_to_its_socket() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        stream = SimulatedStream()
        stream.connect(here)

        assert stream.recv(100) == WOULD_BLOCK
        there.send(b"waiting")
        assert stream.recv(100) == b"waiting"
        assert stream.send(b"hello") == 5
        assert there.recv(100) == b"hello"
        there.close()
        assert stream.recv(100) == b""


def test_a_stream_to_a_guest_that_is_gone_fails() -> None:
    here, there = socket.socketpair()
    with here:
        here.setblocking(False)
        stream = SimulatedStream()
        stream.connect(here)
        there.close()

        with pytest.raises(libvirt.libvirtError, match="has gone"):
            stream.send(b"hello")


def test_a_stream_without_a_socket_takes_what_is_sent() -> None:
    assert SimulatedStream().send(b"hello") == 5
