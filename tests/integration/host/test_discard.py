# SPDX-License-Identifier: GPL-2.0-only
"""The space that an overlay takes on a real file system, as its domain's XML has QEMU open it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import libvirt
import pytest
from lxml import etree

from latent_libvirt.host.domains.domain_xml import (
    DomainSpec,
    Hardware,
    VmRecord,
    domain_xml,
)
from latent_libvirt.host.volumes import storage
from latent_libvirt.sandbox import PrivateLibvirtd
from specs import a_spec

MIB = 1024**2
SIZE = 200 * MIB
FREED = 2 * MIB
"""What may stay of so much: tables that say where nothing is."""


@pytest.fixture
def overlay(sandbox: PrivateLibvirtd) -> Path:
    """Give an overlay, as a VM gets it."""
    name = sandbox.define_storage_pool("builds")
    connection = libvirt.open(sandbox.uri)
    pool = connection.storagePoolLookupByName(name)
    base = pool.createXML(
        "<volume><name>base</name><capacity unit='GiB'>1</capacity>"
        "<target><format type='qcow2'/></target></volume>"
    )
    path = storage.create_overlay(pool, "overlay", base=base, capacity=None)
    connection.close()
    return Path(path)


def write(overlay: Path, *commands: str) -> None:
    """Let QEMU's block layer do what a guest asks for."""
    spec = DomainSpec(
        name="vm",
        uuid="74315a47-2e50-45ee-86e8-555de9c6a294",
        record=VmRecord("0", "m", "p", "1", "l", "w", "i", "s"),
        hardware=Hardware("qemu", a_spec(), "02:00:00:00:00:01"),
        disk=str(overlay),
        boot=None,
    )
    driver = etree.fromstring(domain_xml(spec)).find("devices/disk/driver")
    assert driver is not None
    # As libvirt translates it, with the file below it.
    options = (
        f"driver={driver.get('type')},discard={driver.get('discard')},"
        f"detect-zeroes={driver.get('detect_zeroes', 'off')},cache.no-flush=on,"
        f"file.driver=file,file.filename={overlay},file.discard={driver.get('discard')}"
    )
    asked = [part for command in commands for part in ("-c", command)]
    subprocess.run(["qemu-io", "--image-opts", options, *asked], check=True, capture_output=True)


def taken(file: Path) -> int:
    return file.stat().st_blocks * 512


def test_what_a_guest_discards_is_free_on_the_host(overlay: Path) -> None:
    before = taken(overlay)
    write(overlay, f"write -P 7 0 {SIZE}")
    assert taken(overlay) - before >= SIZE

    write(overlay, f"discard 0 {SIZE}")

    assert taken(overlay) - before < FREED


def test_zeros_that_a_guest_writes_take_no_space_and_free_what_was_there(overlay: Path) -> None:
    before = taken(overlay)
    write(overlay, f"write -P 7 0 {SIZE}")

    write(overlay, f"write -P 0 0 {SIZE}", f"write -P 0 {SIZE} {SIZE}")

    assert taken(overlay) - before < FREED


def test_what_was_discarded_reads_as_zeros_and_not_as_what_is_below(overlay: Path) -> None:
    base = overlay.with_name("base")
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 5 0 1M", str(base)], check=True)

    write(overlay, "write -P 7 0 1M", "discard 0 1M", "read -P 0 0 1M")
