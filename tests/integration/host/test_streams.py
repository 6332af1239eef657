# SPDX-License-Identifier: GPL-2.0-only
"""Streams of a real domain; what is made of their content is in tests/unit."""

from __future__ import annotations

import gc
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import libvirt

from latent_libvirt.guest.launcher.link.frames import TO_GUEST
from latent_libvirt.host.guests.streams import (
    ConsoleTail,
    StreamReader,
    open_console,
)
from latent_libvirt.host.libvirtd import event_loop
from latent_libvirt.sandbox import PrivateLibvirtd

DOMAIN = """
<domain type="qemu">
  <name>talking</name>
  <memory unit="MiB">32</memory>
  <os><type arch="x86_64">hvm</type><bios useserial="yes"/></os>
  <devices><serial type="pty"/><console type="pty"/></devices>
</domain>
"""
DEADLINE = 60.0


def test_a_stream_that_is_closed_keeps_neither_its_connection_nor_what_read_it(
    sandbox: PrivateLibvirtd,
) -> None:
    event_loop.ensure_running()
    connection = libvirt.open(sandbox.uri)
    domain = connection.createXML(DOMAIN, libvirt.VIR_DOMAIN_START_PAUSED)
    tail = ConsoleTail()
    reader = StreamReader(open_console(domain), partial(_keep, tail))
    domain.resume()
    until = time.monotonic() + DEADLINE
    while "SeaBIOS" not in tail.last_lines(9):
        assert time.monotonic() < until, tail.last_lines(9)
        time.sleep(0.02)

    reader.close()
    reader.close()

    forgotten = weakref.ref(tail)
    del tail, reader, domain
    gc.collect()
    assert forgotten() is None
    assert connection.close() == 0  # references that are left


MUTE = """
<domain type="qemu">
  <name>mute</name>
  <memory unit="MiB">32</memory>
  <os><type arch="x86_64">hvm</type></os>
  <devices><channel type="unix"><target type="virtio" name="w"/></channel></devices>
</domain>
"""


def test_a_window_that_a_guest_never_reads_holds_up_no_call_of_its_connection(
    sandbox: PrivateLibvirtd,
) -> None:
    event_loop.ensure_running()
    connection = libvirt.open(sandbox.uri)
    domain = connection.createXML(MUTE, libvirt.VIR_DOMAIN_START_PAUSED)
    stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
    domain.openChannel("w", stream, 0)
    large = TO_GUEST.bytes // TO_GUEST.payload
    for size in [TO_GUEST.bytes // large] * large + [64] * (TO_GUEST.messages - large):
        assert stream.send(b"x" * size) == size

    answered = ThreadPoolExecutor(1).submit(connection.getHostname)
    try:
        assert answered.result(DEADLINE)
    finally:
        # By another connection: this one may be stuck.
        with closing(libvirt.open(sandbox.uri)) as other:
            other.lookupByName("mute").destroy()


def _keep(tail: ConsoleTail, data: bytes) -> bool:
    tail.received(data)
    return True
