# SPDX-License-Identifier: GPL-2.0-only
"""Elements of a domain for what a label says of its machine: processor, firmware, TPM, fragment.

A label that says nothing of them gets what it always got.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, Literal

from lxml.builder import E

from latent_libvirt.config import fragment_xml
from latent_libvirt.config.hardware import cpu_sets
from latent_libvirt.images.architectures import AARCH64, X86_64

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxml import etree

    from latent_libvirt.config.sections.label import LabelConfig

DomainType = Literal["kvm", "qemu"]

EMULATED_AARCH64: Final = "cortex-a72"
"""The processor of emulated guests of aarch64, unless their label says otherwise. All distributions
run on it. `maximum` has pointer authentication. With that, an emulated kernel boots in 18 s, not 4
(QEMU 7.2)."""

_POLICY: Final = {"+": "require", "-": "disable"}


def cpu(wanted: str, domain_type: DomainType, arch: str = X86_64) -> etree._Element:
    """Return the processor that *wanted* names.

    Emulation knows neither the host's processor nor its model. It gives all that it can instead.
    libvirt knows no model of a host's processor but for x86_64.
    """
    name, *features = wanted.split()
    if domain_type != "kvm" and name in ("host", "host-model"):
        name = "maximum"
    if name == "host-model" and arch != X86_64:
        name = "host"
    element = E.cpu(*(E.feature(policy=_POLICY[each[0]], name=each[1:]) for each in features))
    if name in _MODES:
        element.attrib.update(_MODES[name])
    else:
        element.attrib.update({"mode": "custom", "match": "exact"})
        element.insert(0, E.model(name, fallback="forbid"))
    return element


_MODES: Final = {
    "host": {"mode": "host-passthrough", "check": "none"},
    "host-model": {"mode": "host-model"},
    "maximum": {"mode": "maximum", "check": "none"},
}


def firmware(kind: str) -> tuple[dict[str, str], list[etree._Element]]:
    """Return attributes of `os`, and elements below it, for a label's `firmware`."""
    if kind == "bios":
        return {}, []
    secure = "yes" if kind == "uefi-secure" else "no"
    wanted = E.firmware(E.feature(enabled=secure, name="secure-boot"))
    loader = [E.loader(secure="yes")] if kind == "uefi-secure" else []
    return {"firmware": "efi"}, [wanted, *loader]


def features(label: LabelConfig, domain_type: DomainType) -> list[etree._Element]:
    """Return features of the machine that a label's architecture and firmware need."""
    if label.arch == AARCH64:
        # Version 2 has room for 8 vCPUs. Under KVM, libvirt takes the version that the host has.
        return [E.acpi(), *([E.gic(version="3")] if domain_type != "kvm" else [])]
    smm = [E.smm(state="on")] if label.firmware == "uefi-secure" else []
    return [E.acpi(), E.apic(), *smm]


def memory_backing(label: LabelConfig) -> list[etree._Element]:
    """Return what the memory of a label's VMs is made of."""
    return [E.memoryBacking(E.hugepages())] if label.hugepages else []


def pinning(label: LabelConfig, cpus: tuple[int, ...]) -> list[etree._Element]:
    """Return which of *cpus*, those of the slot, each vCPU runs on."""
    if not label.cpu_pinning:
        return []
    pins = [E.vcpupin(vcpu=str(n), cpuset=str(cpus[n])) for n in range(label.vcpus)]
    return [E.cputune(*pins, E.emulatorpin(cpuset=cpu_sets.as_text(cpus)))]


def pinned_cpus(domain: etree._Element) -> frozenset[int]:
    """Return the CPUs that the vCPUs of a domain are pinned to; none if they are not.

    Those that `cputune` does not name have the CPUs of the domain, if it has any.
    """
    sets = [pin.get("cpuset", "") for pin in domain.findall("cputune/vcpupin")]
    vcpu = domain.find("vcpu[@cpuset]")
    if vcpu is not None and str(len(sets)) != (vcpu.text or "").strip():
        sets.append(vcpu.get("cpuset", ""))
    found = (cpu_sets.cpus(text) for text in sets if cpu_sets.is_one(text))
    return frozenset(itertools.chain.from_iterable(found))


def host_devices(addresses: Iterable[str]) -> list[etree._Element]:
    """Return the devices of the host at *addresses*."""
    return [_host_device(address) for address in addresses]


def _host_device(address: str) -> etree._Element:
    if not address.startswith("usb:"):
        domain, bus, place = address.split(":")
        slot, _, function = place.partition(".")
        parts = {"domain": domain, "bus": bus, "slot": slot, "function": function}
        source = E.source(E.address(**{key: f"0x{part}" for key, part in parts.items()}))
        return E.hostdev(source, mode="subsystem", type="pci", managed="yes")
    _usb, vendor, product = address.split(":")
    source = E.source(E.vendor(id=f"0x{vendor}"), E.product(id=f"0x{product}"))
    return E.hostdev(source, mode="subsystem", type="usb")


def usb(addresses: Iterable[str]) -> etree._Element:
    """Return the USB controller that a VM with these devices has: none, if it needs none."""
    needs_one = any(address.startswith("usb:") for address in addresses)
    return E.controller(type="usb", model="qemu-xhci" if needs_one else "none")


def tpm(label: LabelConfig) -> list[etree._Element]:
    """Return the TPM of a label that asks for one: emulated, and empty for each VM."""
    if not label.tpm:
        return []
    model = "tpm-tis" if label.arch == AARCH64 else "tpm-crb"
    return [E.tpm(E.backend(type="emulator", version="2.0"), model=model)]


def screen(label: LabelConfig) -> list[etree._Element]:
    """Return the screen of a label that asks for one, to which nobody can connect.

    Firmware, boot loaders and all systems know VGA, where machines have it. It has 16 MiB, which
    bounds what is shown.
    """
    if not label.graphics:
        return []
    vga = {"type": "vga", "vram": "16384", "heads": "1", "primary": "yes"}
    model = vga if label.arch == "x86_64" else {"type": "virtio", "heads": "1", "primary": "yes"}
    return [E.graphics(E.listen(type="none"), type="vnc"), E.video(E.model(model))]


def with_screen(command_line: str) -> str:
    """Return a kernel's command line with which it writes on the screen as well.

    The last console that it names is /dev/console, so that stays the serial one. "quiet" would
    leave the firmware's text on the screen.
    """
    return f"console=tty0 {command_line} loglevel=6"


def add(text: str | None, domain: etree._Element) -> None:
    """Add the elements of the fragment *text* to *domain*.

    A device is added to the others. Any other element is merged with the one of its name, if
    there is one: its attributes and its text count, and so on below it.
    """
    for element in [] if text is None else list(fragment_xml.domain(text)):
        if element.tag == "devices":
            _add_devices(element, domain)
        else:
            _merge(element, domain)


def _merge(element: etree._Element, parent: etree._Element) -> None:
    there = parent.find(str(element.tag))
    element.tail = None
    if there is None:
        parent.append(element)
        return
    there.attrib.update(element.attrib)
    there.text = element.text if (element.text or "").strip() else there.text
    # Of several elements of one name, none takes another's place.
    known = {child.tag for child in there}
    for child in list(element):
        if child.tag in known:
            _merge(child, there)
        else:
            there.append(child)


def _add_devices(devices: etree._Element, domain: etree._Element) -> None:
    ours = domain.find("devices")
    assert ours is not None
    for device in list(devices):
        for old in ours.findall(str(device.tag)):
            if _takes_the_place(device, old):
                ours.remove(old)
        ours.append(device)


def _takes_the_place(device: etree._Element, old: etree._Element) -> bool:
    """Whether a machine may have only one of the two."""
    if device.tag == "controller":
        return old.get("model") == "none" and old.get("type") == device.get("type")
    return device.tag == old.tag == "memballoon"
