# SPDX-License-Identifier: GPL-2.0-only
"""Streams of a real domain; what is made of their content is in tests/unit."""

from __future__ import annotations

import gc
import time
import weakref
from functools import partial

import libvirt

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


def _keep(tail: ConsoleTail, data: bytes) -> bool:
    tail.received(data)
    return True
