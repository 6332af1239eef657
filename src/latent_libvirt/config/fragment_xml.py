# SPDX-License-Identifier: GPL-2.0-only
"""XML of a fragment, parsed without entities and comments, and what of a domain is the pool's."""

from __future__ import annotations

import re
from typing import Final

from lxml import etree

NAMESPACES: Final = "http://libvirt.org/schemas/domain/"
"""The beginning of the namespaces that libvirt knows."""

_QEMU: Final = f"{NAMESPACES}qemu/1.0"
COMMAND_LINE: Final = f"{{{_QEMU}}}commandline"
_OPENING: Final = f'<domain xmlns:qemu="{_QEMU}">'


OWNED: Final = {
    **dict.fromkeys(("name", "uuid", "title", "metadata"), "says whose a VM is"),
    "memory": "comes from the label's `memory`",
    "currentMemory": "comes from the label's `memory`",
    "vcpu": "comes from the label's `vcpus`",
    **dict.fromkeys(("on_poweroff", "on_reboot", "on_crash"), "ends a VM for good"),
    **dict.fromkeys(("os/kernel", "os/initrd", "os/cmdline", "os/boot"), "comes from the image"),
    "os/type": "comes from the label's `machine`",
    "devices/console": "is what the pool reads",
    "devices/serial": "is what the pool reads",
}
"""Elements that nobody but the pool may write, and why."""

KNOWN: Final = frozenset(
    "name uuid genid title description metadata memory maxMemory currentMemory memoryBacking "  # noqa: SIM905 - a long list is read more easily like this
    "memtune numatune blkiotune cputune iothreads iothreadids defaultiothread vcpu vcpus cpu os "
    "bootloader features clock on_poweroff on_reboot on_crash on_lockfailure pm perf devices "
    "resource sysinfo seclabel keywrap launchSecurity throttlegroups idmap".split()
)
"""Elements below `domain` that libvirt 12 knows."""

DEVICES: Final = frozenset(
    "audio channel console controller crypto disk emulator filesystem graphics hostdev hub input "  # noqa: SIM905 - the same
    "interface iommu lease memballoon panic parallel pstore redirdev redirfilter rng serial shmem "
    "smartcard sound tpm video vsock watchdog".split()
)
"""Elements below `devices` that it knows."""

OUR_CHANNELS: Final = "org.latent_libvirt."

_UNITS: Final = {"KiB": 1, "k": 1, "MiB": 2**10, "M": 2**10, "GiB": 2**20, "G": 2**20}


def memory_of_cells(domain: etree._Element) -> int | None:
    """Return the bytes of all NUMA cells, which libvirt takes for the memory of the domain.

    ``None`` if there are no cells; 0 if they have no memory that can be read.
    """
    cells = domain.findall("cpu/numa/cell")
    return sum(map(_kibibytes, cells)) * 1024 if cells else None


def _kibibytes(cell: etree._Element) -> int:
    number, unit = cell.get("memory", ""), cell.get("unit", "KiB")
    return int(number) * _UNITS.get(unit, 0) if re.fullmatch("[0-9]{1,15}", number) else 0


def adds_memory(device: etree._Element) -> bool:
    """Whether *device* is memory of the host that comes on top of what the VM has."""
    return device.tag == "memory" and device.get("model") in ("dimm", "virtio-mem")


def domain(text: str) -> etree._Element:
    """Return a `domain` element with the elements of *text* below it.

    :raises etree.XMLSyntaxError: if it is no XML.
    :raises ValueError: if it has characters that XML cannot have.
    """
    parser = etree.XMLParser(
        resolve_entities=False, remove_comments=True, remove_pis=True, remove_blank_text=True
    )
    return etree.fromstring(f"{_OPENING}{text}</domain>", parser)
