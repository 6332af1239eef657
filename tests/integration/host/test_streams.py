# SPDX-License-Identifier: GPL-2.0-only
"""Streams of a real domain; what is made of their content is in tests/unit."""

from __future__ import annotations

import gc
import time
import weakref

import libvirt

from latent_libvirt.host import event_loop
from latent_libvirt.host.streams import ConsoleTail, open_console
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


def test_a_console_that_is_closed_is_forgotten_though_libvirt_keeps_its_stream(
    sandbox: PrivateLibvirtd,
) -> None:
    """libvirt-python 12.8 never frees a stream that had a callback."""
    event_loop.ensure_running()
    connection = libvirt.open(sandbox.uri)
    domain = connection.createXML(DOMAIN)
    tail = ConsoleTail()
    reader = open_console(domain, tail)
    until = time.monotonic() + DEADLINE
    while "SeaBIOS" not in tail.last_lines(9):
        assert time.monotonic() < until, tail.last_lines(9)
        time.sleep(0.02)

    reader.close()
    reader.close()

    forgotten = weakref.ref(tail)
    del tail
    gc.collect()
    assert forgotten() is None
    connection.close()
