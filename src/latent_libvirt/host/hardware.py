# SPDX-License-Identifier: GPL-2.0-only
"""Hardware that a host can give VMs, by what libvirt says of its QEMU.

What libvirt does not say is not lacked: a start has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import libvirt

from latent_libvirt.config.units import KIB, MIB
from latent_libvirt.host.architectures import architectures
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.images.architectures import FIRMWARE_PACKAGES

if TYPE_CHECKING:
    from lxml import etree

    from latent_libvirt.config.hardware.devices import DeviceConfig
    from latent_libvirt.config.sections.label import LabelConfig

_KEYS: Final = (
    "arch", "cpu", "machine", "firmware", "hugepages", "cpu_pinning", "devices", "tpm", "domain_xml"
)  # fmt: skip
_MODES: Final = ("host", "host-model", "maximum")


def asks(label: LabelConfig) -> list[str]:
    """Return the keys by which *label* asks for hardware that not every host has."""
    return [key for key in _KEYS if key in label.model_fields_set]


def lacks(connection: libvirt.virConnect, label: LabelConfig, *, accelerator: str) -> list[str]:
    """Return what the host lacks for VMs of *label*, in words. Blocks.

    :param accelerator: the host's setting.
    """
    if lack := architectures(connection).lack(label.arch, accelerator=accelerator):
        return [lack]
    kind = "qemu" if accelerator == "tcg" else None
    try:
        xml = connection.getDomainCapabilities(None, label.arch, label.machine, kind)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        program = f"qemu-system-{label.arch}"
        return [f"machine {label.machine} (`{program} -machine help` lists those it has)"]
    lacked = list(_lacks(parsed(xml, "its domain capabilities"), label))
    return lacked + list(_lacks_of_host(connection, label))


def _lacks_of_host(connection: libvirt.virConnect, label: LabelConfig) -> Iterator[str]:
    free = _free_hugepages(connection) if label.hugepages else None
    if free is not None and free < label.memory:
        yield (
            f"{label.memory // MIB} MiB of free huge pages (it has {free // MIB} MiB free; "
            "`sysctl vm.nr_hugepages` makes them)"
        )


def lacks_devices(
    connection: libvirt.virConnect, devices: Iterable[DeviceConfig], label: LabelConfig
) -> list[str]:
    """Return which PCI devices for VMs of *label* the host lacks, or has no IOMMU for. Blocks."""
    wanted = [device for device in devices if device.name in label.devices]
    addresses = [each for device in wanted for each in device.addresses]
    found = (_lack_of_device(connection, each) for each in addresses if "usb:" not in each)
    return [lack for lack in found if lack]


def _lack_of_device(connection: libvirt.virConnect, address: str) -> str:
    name = "pci_" + re.sub("[:.]", "_", address)
    try:
        xml = parsed(connection.nodeDeviceLookupByName(name).XMLDesc(), "a device")
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
            return ""
        if error.get_error_code() != libvirt.VIR_ERR_NO_NODE_DEVICE:
            raise
        return f"device {address} (`virsh nodedev-list --cap pci` lists those it has)"
    if xml.find("capability/iommuGroup") is None:
        return f"an IOMMU for device {address} (`intel_iommu=on` or the firmware's settings)"
    return ""


def _free_hugepages(connection: libvirt.virConnect) -> int | None:
    """Return how many bytes are free in pages of other sizes than the smallest.

    ``None`` if libvirt does not say.
    """
    capabilities = parsed(connection.getCapabilities(), "its capabilities")
    found = [each.get("size", "") for each in capabilities.findall("host/cpu/pages")]
    huge = sorted({int(size) for size in found if re.fullmatch("[0-9]{1,9}", size)})[1:]
    cells = len(capabilities.findall("host/topology/cells/cell")) or 1
    try:
        free = connection.getFreePages(huge, 0, cells) if huge else {}
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return None
    pages = [(int(size), int(count)) for cell in free.values() for size, count in cell.items()]
    return sum(size * KIB * count for size, count in pages)


def _lacks(capabilities: etree._Element, label: LabelConfig) -> Iterator[str]:
    firmware = _values(capabilities, "os/enum[@name='firmware']/value")
    secure = _values(capabilities, "os/loader/enum[@name='secure']/value")
    if label.firmware != "bios" and "efi" not in firmware:
        yield f"firmware for UEFI (Debian: the package {FIRMWARE_PACKAGES[label.arch]})"
    elif label.firmware == "uefi-secure" and "yes" not in secure:
        yield "firmware for Secure Boot (Debian: the package ovmf; the machine has to be a q35)"
    tpm = "devices/tpm[@supported='yes']/enum[@name='backendModel']/value"
    if label.tpm and "emulator" not in _values(capabilities, tpm):
        yield "an emulator of TPMs (Debian: the packages swtpm and swtpm-tools)"
    yield from _lacks_cpu(capabilities, label.cpu)


def _lacks_cpu(capabilities: etree._Element, wanted: str | None) -> Iterator[str]:
    name = (wanted or "host").split()[0]
    models = capabilities.findall("cpu/mode[@name='custom'][@supported='yes']/model")
    if name in _MODES or not models:
        return
    found = next((model for model in models if model.text == name), None)
    if found is None:
        yield f"processor {name} (`virsh domcapabilities` lists those it knows)"
    elif found.get("usable") == "no" and capabilities.findtext("domain") == "kvm":
        yield f"features of processor {name} (`virsh domcapabilities` lists those that are usable)"


def _values(capabilities: etree._Element, path: str) -> list[str]:
    return [value.text or "" for value in capabilities.findall(path)]
