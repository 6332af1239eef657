# SPDX-License-Identifier: GPL-2.0-only
"""The XML of a domain, and what is read back from a domain's metadata.

Built with lxml, so that no value can break out of its place; every value comes from the
configuration or from this package, none from a build's properties. Nothing secret stands here:
domain XML ends up in QEMU's command line, which every user of the host can read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lxml import etree
from lxml.builder import E

from latent_libvirt.config.hardware.disk_names import target
from latent_libvirt.host.domains import changed_domain, hardware_xml
from latent_libvirt.host.names import CHANNEL_NAME, NETWORK_CHANNEL_NAME, WORKER_CHANNEL_NAME
from latent_libvirt.images.architectures import X86_64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latent_libvirt.host.domains.changed_domain import Change
    from latent_libvirt.host.domains.hardware_xml import DomainType
    from latent_libvirt.host.domains.vm_spec import (
        Network,
        VmSpec,
    )

METADATA_NAMESPACE = "urn:latent-libvirt:vm:1"
METADATA_PREFIX = "latent"


@dataclass(frozen=True)
class Port:
    """What keeps a guest apart from others in its network, as far as the network can.

    :param isolated: whether it reaches the bridge and its uplink, but no other isolated port.
    :param filter: the libvirt filter for what it sends.
    """

    isolated: bool = True
    filter: str | None = None


@dataclass(frozen=True)
class DirectKernel:
    """A kernel that QEMU loads on its own, without a boot loader: paths on the host."""

    kernel: str
    initrd: str
    command_line: str


@dataclass(frozen=True)
class MoreDisk:
    """A disk beside the first one and the seed.

    :param number: from 1 on; it decides the disk's name in libvirt.
    :param serial: by which a guest finds it.
    :param path: on the host.
    """

    number: int
    serial: str
    path: str
    format: str = "qcow2"
    read_only: bool = False


State = Literal["job", "spare", "held", "freezing", "copied", "saving"]


@dataclass(frozen=True)
class VmRecord:
    """Who a domain belongs to and what for, as its metadata says it.

    :param worker: whose build it runs, or ran; empty for a spare.
    :param since: when it was registered, ISO 8601.
    :param state: a master that is started again goes on with what is a spare, held or being frozen.
        The memory of a VM that was copied from another host says so until the VM runs.
    :param until: when one that is held or frozen is to go, ISO 8601; empty otherwise.
    :param spec_hash: the hash of what it was made of (see ``vm_spec.py``).
    :param saved: the id of the saved state that it was resumed from; empty if it was booted.
    :param size: that its build has chosen; empty if it cannot choose.
    :param moved_to: UUID and name of the host on which a frozen VM may run since its move there
        began to end; empty for none.
    :param build: that one that is held or frozen was for, or is to be held, as the pool writes it;
        empty if unknown.
    :param hold_for: seconds for which it is to be held after its job, if an operator has asked for
        that; empty otherwise.
    :param hold_asked_by: who has asked for that, empty if that is not known.
    """

    owner_id: str
    master: str
    pool: str
    vm_id: str
    label: str
    worker: str
    image: str
    since: str
    state: str = "job"
    until: str = ""
    spec_hash: str = ""
    saved: str = ""
    size: str = ""
    moved_to: str = ""
    build: str = ""
    hold_for: str = ""
    hold_asked_by: str = ""

    @property
    def is_to_be_held(self) -> bool:
        """Whether it has a job, and an operator has asked to hold it after that."""
        return self.state == "job" and bool(self.hold_for)

    @property
    def attributes(self) -> dict[str, str]:
        """What is written down. A master of an older version knows not all of it."""
        newer = ("size", "moved_to", "build", "hold_for", "hold_asked_by")
        return {key: value for key, value in vars(self).items() if value or key not in newer}

    @property
    def title(self) -> str:
        """What ``virsh list --title`` shows."""
        if self.state == "spare":
            return f"{self.label}, spare of {self.master}"
        if self.state == "saving":
            return f"{self.label}, being saved for {self.master}"
        title = f"{self.label} for worker {self.worker} of {self.master}"
        if self.state in ("held", "freezing"):
            return f"{title}, held until {self.until}"
        return title


@dataclass(frozen=True)
class Hardware:
    """What the guest sees of a machine.

    :param saveable: whether memory that was saved must fit when it is restored: under KVM, libvirt
        then writes down which CPU the guest has seen, and gives it exactly that one again.
    :param host_arch: the architecture of the host.
    """

    type: DomainType
    vm: VmSpec
    mac: str
    saveable: bool = False
    port: Port = Port()
    host_arch: str = X86_64


@dataclass(frozen=True)
class DomainSpec:
    """All there is to know about a domain before it exists.

    :param disk: path of the overlay on the host; ``None`` for a domain without a disk.
    :param boot: the kernel to start; ``None`` to boot the disk by its firmware.
    :param keeps_disk: whether its disk is there for longer than the domain.
    :param seed: path on the host of a raw disk that the guest may only read; ``None`` for none.
    :param more_disks: those that the label asks for.
    :param cpus: of the host that are for the slot, if the label pins its vCPUs.
    :param devices: the addresses of those of the host that the VM has.
    :param change: a function of ``master.cfg`` that changes the domain.
    """

    name: str
    uuid: str
    record: VmRecord
    hardware: Hardware
    disk: str | None
    boot: DirectKernel | None
    keeps_disk: bool = False
    seed: str | None = None
    more_disks: tuple[MoreDisk, ...] = ()
    cpus: tuple[int, ...] = ()
    devices: tuple[str, ...] = ()
    change: Change | None = None


def domain_xml(spec: DomainSpec) -> str:
    """Return the XML of a transient domain for *spec*.

    :raises ConfigurationError: if a function of ``master.cfg`` changes it, and must not.
    """
    hardware, label = spec.hardware, spec.hardware.vm.label
    root = E.domain(
        E.name(spec.name),
        E.uuid(spec.uuid),
        E.title(spec.record.title),
        E.metadata(_record_element(spec.record)),
        E.memory(str(label.memory // 1024), unit="KiB"),
        *hardware_xml.memory_backing(label),
        E.vcpu(str(label.vcpus)),
        *hardware_xml.pinning(label, spec.cpus),
        _os(spec.boot, hardware),
        E.features(*hardware_xml.features(label, hardware.type)),
        *_cpu(hardware, spec.boot),
        E.clock(offset="utc"),
        # A guest that ends in any way ends for good: after a reboot it would be no clean VM.
        E.on_poweroff("destroy"),
        E.on_reboot("destroy"),
        E.on_crash("destroy"),
        _devices(spec),
        type=hardware.type,
    )
    hardware_xml.add(label.domain_xml, root)
    if spec.change is not None:
        changed_domain.apply(spec.change, root)
    return etree.tostring(root, encoding="unicode")


def restored_xml(saved: str, *, disks: Mapping[int, str], record: VmRecord) -> str:
    """Return the XML that a domain is to have when it is restored.

    libvirt lets only what the guest cannot see differ from what was saved.

    :param saved: the XML in the saved state.
    :param disks: paths of the overlays in the places of the disks that were saved, by numbers.
    """
    root = etree.fromstring(saved)
    for old in (*root.findall("title"), *root.findall("metadata")):
        root.remove(old)
    # The order of a domain's elements is free, and libvirt writes its own.
    root.extend([E.title(record.title), E.metadata(_record_element(record))])
    for number, path in disks.items():
        _replace_disk(root, target(number), path)
    return etree.tostring(root, encoding="unicode")


def _replace_disk(root: etree._Element, device: str, path: str) -> None:
    element = root.find(f"devices/disk/target[@dev='{device}']/..")
    assert element is not None
    new = _disk(path, keeps=False)
    for part in (*element.findall("driver"), *element.findall("source"), *element.findall(_BELOW)):
        element.remove(part)
    element[:0] = [*new.findall("driver"), *new.findall("source")]


_BELOW = "backingStore"


def saved_record(saved: str) -> VmRecord | None:
    """Return the record of a VM in the XML of a saved state; ``None`` if it has none."""
    try:
        element = etree.fromstring(saved).find(f"metadata/{{{METADATA_NAMESPACE}}}vm")
    except (etree.XMLSyntaxError, ValueError):
        return None
    return None if element is None else record_of(etree.tostring(element, encoding="unicode"))


def saved_size(saved: str) -> tuple[int, int]:
    """Return the vCPUs and the bytes of memory of a VM in the XML of a saved state.

    What the XML does not say is 0. libvirt writes memory in KiB.
    """
    root = etree.fromstring(saved)
    return _number(root.find("vcpu")), _number(root.find("memory[@unit='KiB']")) * 1024


def _number(element: etree._Element | None) -> int:
    text = "" if element is None else element.text or ""
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else 0


def record_xml(record: VmRecord) -> str:
    """Return what says *record* to ``virDomainSetMetadata``, which adds the namespace."""
    return etree.tostring(etree.Element("vm", record.attributes), encoding="unicode")


def record_of(xml: str) -> VmRecord | None:
    """Return the record of a VM in *xml*, a domain's metadata element; ``None`` if it is none.

    Anyone who may change a domain may write anything there, and pages and logs show it: what is
    longer than any master writes is none.
    """
    try:
        attributes = etree.fromstring(xml).attrib
        values = {str(key): str(value) for key, value in attributes.items()}
        return VmRecord(**values) if max(map(len, values.values())) <= _LONGEST else None
    except (etree.XMLSyntaxError, TypeError, ValueError):
        return None


_LONGEST = 4096
"""Characters of a value of a record. The name of a master has a path."""


def _record_element(record: VmRecord) -> etree._Element:
    name = f"{{{METADATA_NAMESPACE}}}vm"
    return etree.Element(name, record.attributes, nsmap={METADATA_PREFIX: METADATA_NAMESPACE})


def _os(boot: DirectKernel | None, hardware: Hardware) -> etree._Element:
    label = hardware.vm.label
    kind = E.type("hvm", machine=label.machine)
    if (label.arch, hardware.host_arch) != (X86_64, X86_64):  # else as domains have ever been
        kind.set("arch", label.arch)
    attributes, firmware = hardware_xml.firmware(label.firmware)
    if boot is None:
        return E.os(attributes, kind, *firmware, E.boot(dev="hd"))
    line = hardware_xml.with_screen(boot.command_line) if label.graphics else boot.command_line
    kernel = (E.kernel(boot.kernel), E.initrd(boot.initrd), E.cmdline(line))
    return E.os(attributes, kind, *firmware, *kernel)


def _cpu(hardware: Hardware, boot: DirectKernel | None) -> list[etree._Element]:
    label = hardware.vm.label
    if label.cpu is not None or label.arch != X86_64:
        usual = "host" if hardware.type == "kvm" else hardware_xml.EMULATED_AARCH64
        return [hardware_xml.cpu(label.cpu or usual, hardware.type, label.arch)]
    if hardware.type != "kvm":
        # An image with a boot loader may be of a distribution that needs a newer processor.
        return [hardware_xml.cpu("maximum", hardware.type)] if boot is None else []
    if hardware.saveable:
        return [E.cpu(mode="host-model")]
    return [E.cpu(mode="host-passthrough", check="none")]


def _devices(spec: DomainSpec) -> etree._Element:
    disk = [] if spec.disk is None else [_disk(spec.disk, keeps=spec.keeps_disk)]
    seed = [] if spec.seed is None else [_read_only_disk(spec.seed, format_="raw", device="vdb")]
    return E.devices(
        *disk,
        *seed,
        *(_more_disk(each, keeps=spec.keeps_disk) for each in spec.more_disks),
        *_interfaces(spec.hardware),
        E.serial(E.target(port="0"), type="pty"),
        E.console(E.target(type="serial", port="0"), type="pty"),
        *(E.channel(E.target(type="virtio", name=name), type="unix") for name in _channels(spec)),
        E.rng(E.backend("/dev/urandom", model="random"), model="virtio"),
        *hardware_xml.tpm(spec.hardware.vm.label),
        *hardware_xml.screen(spec.hardware.vm.label),
        *hardware_xml.host_devices(spec.devices),
        hardware_xml.usb(spec.devices),
        E.memballoon(model="none"),
    )


def _more_disk(disk: MoreDisk, *, keeps: bool) -> etree._Element:
    device = target(disk.number)
    if disk.read_only:
        element = _read_only_disk(disk.path, format_=disk.format, device=device)
    else:
        element = _disk(disk.path, keeps=keeps, device=device)
    element.append(E.serial(disk.serial))
    return element


def _disk(path: str, *, keeps: bool, device: str = "vda") -> etree._Element:
    # An overlay dies with its domain: there is no crash that its data must survive. What other
    # overlays will be based on must be on the disk when the domain ends.
    cache = "writeback" if keeps else "unsafe"
    return E.disk(
        E.driver(
            # Zeros that a guest writes take no space, as if it had discarded what was there.
            {"detect_zeroes": "unmap"},
            name="qemu",
            type="qcow2",
            cache=cache,
            discard="unmap",
        ),
        E.source(file=path),
        E.target(dev=device, bus="virtio"),
        type="file",
        device="disk",
    )


def _channels(spec: DomainSpec) -> list[str]:
    label, names = spec.hardware.vm.label, [CHANNEL_NAME]
    if label.connection == "channel":
        names.append(WORKER_CHANNEL_NAME)
    if label.network.allow is not None:
        names.append(NETWORK_CHANNEL_NAME)
    return names


def _read_only_disk(path: str, *, format_: str, device: str) -> etree._Element:
    return E.disk(
        E.driver(name="qemu", type=format_),
        E.source(file=path),
        E.target(dev=device, bus="virtio"),
        E.readonly(),
        type="file",
        device="disk",
    )


def _interfaces(hardware: Hardware) -> list[etree._Element]:
    network = hardware.vm.network
    if network.kind == "none":
        return []
    parts = [E.mac(address=hardware.mac), *_port(network, hardware.port), E.model(type="virtio")]
    return [E.interface(*parts, type=network.kind)]


def _port(network: Network, port: Port) -> list[etree._Element]:
    if network.source is None:
        return []
    parts = [E.source({network.kind: network.source})]
    if port.isolated:
        parts.append(E.port(isolated="yes"))
    if port.filter is not None:
        parts.append(E.filterref(filter=port.filter))
    return parts
