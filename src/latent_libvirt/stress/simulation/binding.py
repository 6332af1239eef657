# SPDX-License-Identifier: GPL-2.0-only
"""libvirt's Python binding without QEMU: for a process whose hosts are all ``test:///``.

:func:`install` replaces the functions of the binding that the test driver does not have, or has in
no time at all. Nothing of this package is replaced.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import libvirt
import libvirtmod
from lxml import etree
from lxml.builder import E

from latent_libvirt.host.domains.domain_xml import saved_record
from latent_libvirt.host.domains.slot_domains import vm_record
from latent_libvirt.stress.simulation.files import allow_many_files
from latent_libvirt.stress.simulation.stream import SimulatedStream
from latent_libvirt.stress.simulation.times import DESTROY

if TYPE_CHECKING:
    from latent_libvirt.stress.simulation.times import StartTimes

_NOT_IN_THE_TEST_DRIVER = ("devices", "features", "cpu", "os")


class Power:
    """The simulated VMs of this process, each with the socket that stands for its machine.

    A VM ends when its socket is closed, also when this process ends.

    :param guests: the Unix socket of the process with the guests.
    """

    def __init__(self, guests: Path, medians: StartTimes, random: Random) -> None:
        self._guests = guests
        self._medians = medians
        self._random = random
        self._lock = threading.Lock()
        self._sockets: dict[str, socket.socket] = {}
        self._times: dict[str, StartTimes] = {}

    def plan(self, vm_id: str) -> StartTimes:
        """Draw the times of a VM that is about to be started."""
        with self._lock:
            return self._times.setdefault(vm_id, self._medians.drawn(self._random))

    def on(self, vm_id: str) -> None:
        """Let a VM run: its guest begins to boot."""
        guest = socket.socket(socket.AF_UNIX)
        guest.connect(str(self._guests))
        about = {"type": "power-on", "times": asdict(self.plan(vm_id))}
        guest.sendall(json.dumps(about).encode() + b"\n")
        guest.setblocking(False)
        with self._lock:
            self._sockets[vm_id] = guest

    def channel(self, vm_id: str) -> socket.socket:
        """Return the way to a guest; a VM that has not been started yet is started."""
        if vm_id not in self._sockets:
            self.on(vm_id)
        return self._sockets[vm_id]

    def off(self, vm_id: str) -> None:
        """End a VM, if it runs."""
        with self._lock:
            guest = self._sockets.pop(vm_id, None)
            self._times.pop(vm_id, None)
        if guest is not None:
            guest.close()


def install(guests: Path, medians: StartTimes, *, seed: int) -> None:
    """Simulate all VMs that this process starts from now on.

    :param guests: the Unix socket of the process with the guests.
    :param medians: how long a start takes.
    """
    allow_many_files()
    power = Power(guests, medians, Random(seed))  # noqa: S311 - no secret
    connect, domain = libvirt.virConnect, libvirt.virDomain
    connect.createXML = _create_xml(power, connect.createXML)
    connect.newStream = _new_stream(connect.newStream)
    domain.destroy = _destroy(power, domain.destroy)
    domain.resume = lambda _domain: 0  # it never was paused
    domain.openChannel = lambda self, _name, stream, _flags=0: _open_channel(power, self, stream)
    domain.openConsole = lambda _domain, _name, _stream, _flags=0: 0  # it says nothing
    libvirtmod.virStreamEventAddCallback = SimulatedStream.add_callback


def for_test_driver(xml: str) -> str:
    """Return a domain's XML without what libvirt's test driver does not have."""
    root = etree.fromstring(xml)
    root.set("type", "test")
    for name in _NOT_IN_THE_TEST_DRIVER:
        for element in root.findall(name):
            root.remove(element)
    root.append(E.os(E.type("hvm")))
    return etree.tostring(root, encoding="unicode")


def _new_stream(new: Any) -> Any:
    def new_stream(connection: Any, flags: int = 0) -> Any:
        # Volumes have streams that block, consoles and channels those that do not.
        return SimulatedStream() if flags & libvirt.VIR_STREAM_NONBLOCK else new(connection, flags)

    return new_stream


def _create_xml(power: Power, create: Any) -> Any:
    def create_xml(connection: Any, xml: str, _flags: int = 0) -> Any:
        record = saved_record(xml)
        if record is not None:
            time.sleep(power.plan(record.vm_id).define)
        return create(connection, for_test_driver(xml), 0)

    return create_xml


def _open_channel(power: Power, domain: Any, stream: SimulatedStream) -> int:
    record = vm_record(domain)
    if record is not None:
        stream.connect(power.channel(record.vm_id))
    return 0


def _destroy(power: Power, destroy: Any) -> Any:
    def destroy_domain(domain: Any) -> Any:
        record = vm_record(domain)
        time.sleep(DESTROY)
        if record is not None:
            power.off(record.vm_id)
        return destroy(domain)

    return destroy_domain
