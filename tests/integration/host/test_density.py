# SPDX-License-Identifier: GPL-2.0-only
"""What a real libvirt says of the memory of VMs, and what QEMU lets the kernel merge."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

import libvirt

from buildmaster import wait_for
from latent_libvirt.host import names
from latent_libvirt.host.domains.domain_xml import DomainSpec, Hardware, VmRecord, domain_xml
from latent_libvirt.host.meters.density import DensityMeter
from latent_libvirt.sandbox import PrivateLibvirtd
from latent_libvirt.status.hosts import Density
from specs import a_spec

MIB = 2**20
MEMORY = 8192 * MIB
MERGED = Path("/sys/kernel/mm/ksm/pages_sharing")


def start(sandbox: PrivateLibvirtd, slot: int, **label: str) -> int:
    """Start a VM that is paused; return the process of its QEMU."""
    spec = DomainSpec(
        name=names.domain_name(slot),
        uuid=names.slot_uuid("host", slot),
        record=VmRecord("0", "m", "p", f"{slot}", "l", "w", "i", "s"),
        hardware=Hardware("qemu", a_spec(memory="128MiB", **label), names.slot_mac("host", slot)),
        disk=None,
        boot=None,
    )
    domain = libvirt.open(sandbox.uri).createXML(
        domain_xml(spec), libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_VALIDATE
    )
    return process_with(domain.UUIDString())


def process_with(uuid: str) -> int:
    """Return the process that has *uuid* in its command."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"qemu" in command and uuid.encode() in command:
            return int(process.name)
    raise AssertionError(f"no QEMU with {uuid}")


def mergeable(process: int) -> int:
    """Return how many MiB of a process the kernel may merge (proc(5): `mg` of `smaps`)."""
    total = size = 0
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        if line.startswith("Size:"):
            size = int(line.split()[1])
        elif line.startswith("VmFlags:") and "mg" in line.split():
            total += size
    return total // 1024


def resident(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE


def merged() -> int | None:
    return int(MERGED.read_text()) * mmap.PAGESIZE if MERGED.exists() else None


def test_a_host_says_what_its_vms_have_in_memory_and_what_they_share(
    sandbox: PrivateLibvirtd,
) -> None:
    processes = [start(sandbox, slot) for slot in (1, 2)]
    connection = libvirt.open(sandbox.uri)

    def read() -> tuple[Density | None, int | None] | None:
        """Return the density and what is merged, unless that changed just then."""
        before, meter = merged(), DensityMeter("here")
        meter.note(meter.read(connection, time.monotonic))
        return (meter.density(MEMORY), before) if merged() == before else None

    density, shared = wait_for("a moment without a merge", read)

    assert (density.vms, density.most) == (2, MEMORY)
    assert abs(density.used - sum(map(resident, processes))) < 32 * MIB
    assert density.used > 32 * MIB
    assert density.shared == shared


def test_the_kernel_may_merge_the_memory_of_a_vm_unless_its_label_says_no(
    sandbox: PrivateLibvirtd,
) -> None:
    no = "<memoryBacking><nosharepages/></memoryBacking>"

    assert mergeable(start(sandbox, 1)) >= 128
    assert mergeable(start(sandbox, 2, domain_xml=no)) == 0
