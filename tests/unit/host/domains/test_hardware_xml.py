# SPDX-License-Identifier: GPL-2.0-only
"""Processor, firmware, TPM and fragment of a domain; real guests are in tests/integration."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from latent_libvirt.config import HostConfig
from latent_libvirt.config.hardware import cpu_sets
from latent_libvirt.host.domains import hardware_xml
from latent_libvirt.host.domains.domain_xml import (
    DirectKernel,
    DomainSpec,
    Hardware,
    VmRecord,
    domain_xml,
)
from latent_libvirt.host.domains.hardware_xml import DomainType
from specs import a_spec

RECORD = VmRecord("0123", "host:/m", "pool", "00ff", "one", "one-1", "abc", "2026-01-01T00:00:00")


def domain(
    kind: DomainType = "kvm",
    cpus: tuple[int, ...] = (),
    devices: tuple[str, ...] = (),
    boot: DirectKernel | None = None,
    **label: Any,
) -> etree._Element:
    """Return the domain of a VM whose label has these keys."""
    hardware = Hardware(kind, a_spec(**label), "02:00:00:00:00:01")
    spec = DomainSpec("one", "uuid", RECORD, hardware, "/pool/disk.qcow2", boot)
    spec = replace(spec, cpus=cpus, devices=devices)
    return etree.fromstring(domain_xml(spec))


def text(element: etree._Element | None) -> str:
    assert element is not None
    return etree.tostring(element, encoding="unicode")


@pytest.mark.parametrize(
    ("kind", "cpu", "expected"),
    [
        ("kvm", "host", '<cpu mode="host-passthrough" check="none"/>'),
        ("kvm", "host-model", '<cpu mode="host-model"/>'),
        ("kvm", "maximum", '<cpu mode="maximum" check="none"/>'),
        ("qemu", "host", '<cpu mode="maximum" check="none"/>'),
        ("qemu", "host-model", '<cpu mode="maximum" check="none"/>'),
        (
            "qemu",
            "Nehalem +aes -avx2",
            (
                '<cpu mode="custom" match="exact"><model fallback="forbid">Nehalem</model>'
                '<feature policy="require" name="aes"/>'
                '<feature policy="disable" name="avx2"/></cpu>'
            ),
        ),
    ],
)
def test_a_processor_is_what_the_label_says_as_far_as_there_is_one(
    kind: DomainType, cpu: str, expected: str
) -> None:
    assert text(domain(kind, cpu=cpu).find("cpu")) == expected


def test_an_emulated_guest_with_a_boot_loader_has_a_processor_for_any_distribution() -> None:
    kernel = DirectKernel("/kernel", "/initrd", "quiet")

    assert text(domain("qemu").find("cpu")) == '<cpu mode="maximum" check="none"/>'
    assert domain("qemu", boot=kernel).find("cpu") is None


sets = st.lists(st.integers(0, 31), min_size=8, max_size=32, unique=True).map(
    lambda cpus: [f"{cpus[n]},{cpus[n + 1]}" for n in range(0, len(cpus) - 1, 2)]
)


@settings(max_examples=20)  # each has a hundred starts
@given(sets, st.randoms(use_true_random=False))
def test_pinned_vms_never_share_a_cpu_in_100_random_starts_of_two_masters(
    sets: list[str], random: Random
) -> None:
    host = HostConfig.model_validate(
        {"uri": "qemu:///system", "slots": len(sets), "storage_pool": "p", "pinned_cpus": sets}
    )
    running: dict[int, frozenset[int]] = {}

    @cache
    def pinned(slot: int, vcpus: int) -> frozenset[int]:
        cpus = cpu_sets.cpus(host.pinned_cpus[slot - 1])
        return hardware_xml.pinned_cpus(domain(cpus=cpus, vcpus=vcpus, cpu_pinning=True))

    for _ in range(100):
        slot = random.randint(1, host.slots)
        if running.pop(slot, None) is None:  # else it ends: libvirt has one domain for a slot
            running[slot] = pinned(slot, random.randint(1, 2))
            assert running[slot]
        taken = [cpu for pinned in running.values() for cpu in pinned]
        assert len(taken) == len(set(taken))


@pytest.mark.parametrize(
    ("inner", "cpus"),
    [
        ("<vcpu cpuset='2-3'>2</vcpu>", {2, 3}),
        ("<vcpu cpuset='2-3'>2</vcpu><cputune><vcpupin vcpu='0' cpuset='5'/></cputune>", {2, 3, 5}),
        ("<vcpu cpuset='2-3'>1</vcpu><cputune><vcpupin vcpu='0' cpuset='5'/></cputune>", {5}),
        ("<vcpu cpuset='nonsense'>1</vcpu>", set()),
        ("<vcpu>2</vcpu>", set()),
    ],
)
def test_another_domain_is_pinned_by_its_vcpus_or_as_a_whole(inner: str, cpus: set[int]) -> None:
    xml = etree.fromstring(f"<domain>{inner}</domain>")

    assert hardware_xml.pinned_cpus(xml) == cpus


def test_a_vcpu_has_a_cpu_and_memory_is_in_huge_pages() -> None:
    xml = domain(cpus=(4, 6, 7), vcpus=2, cpu_pinning=True, hugepages=True)

    assert text(xml.find("memoryBacking")) == "<memoryBacking><hugepages/></memoryBacking>"
    assert text(xml.find("cputune")) == (
        '<cputune><vcpupin vcpu="0" cpuset="4"/><vcpupin vcpu="1" cpuset="6"/>'
        '<emulatorpin cpuset="4,6,7"/></cputune>'
    )
    assert domain(cpus=(4,)).find("cputune") is domain().find("memoryBacking") is None


def test_a_device_of_the_host_is_given_by_its_address() -> None:
    pci, usb = domain(devices=("0000:01:1f.7", "usb:046d:c52b")).findall("devices/hostdev")
    controllers = domain(devices=("usb:046d:c52b",)).findall("devices/controller[@type='usb']")

    address = pci.find("source/address")
    assert address is not None
    assert dict(address.attrib) == {
        "domain": "0x0000", "bus": "0x01", "slot": "0x1f", "function": "0x7"
    }  # fmt: skip
    assert pci.get("managed") == "yes"
    ids = [usb.find("source/vendor"), usb.find("source/product")]
    assert [None if each is None else each.get("id") for each in ids] == ["0x046d", "0xc52b"]
    assert [each.get("model") for each in controllers] == ["qemu-xhci"]
    assert domain().find("devices/hostdev") is None


def test_a_label_that_says_nothing_has_the_machine_that_it_always_had() -> None:
    plain = domain()

    assert text(plain.find("os")) == ('<os><type machine="q35">hvm</type><boot dev="hd"/></os>')
    assert plain.find("devices/tpm") is None
    assert text(plain.find("features")) == "<features><acpi/><apic/></features>"
    assert domain(firmware="bios").find("os").attrib == {}  # type: ignore[union-attr]


def test_a_label_of_another_architecture_has_the_machine_of_that() -> None:
    arm = domain("qemu", arch="aarch64", tpm=True)

    assert text(arm.find("os")) == (
        '<os firmware="efi"><type machine="virt" arch="aarch64">hvm</type><firmware>'
        '<feature enabled="no" name="secure-boot"/></firmware><boot dev="hd"/></os>'
    )
    assert text(arm.find("features")) == '<features><acpi/><gic version="3"/></features>'
    assert arm.findtext("cpu/model") == "cortex-a72"
    assert domain("qemu", arch="aarch64", cpu="host").find("cpu").get("mode") == "maximum"  # type: ignore[union-attr]
    assert [each.get("model") for each in arm.findall("devices/tpm")] == ["tpm-tis"]


@pytest.mark.parametrize("cpu", [None, "host", "host-model"])
def test_under_kvm_a_guest_of_another_architecture_has_its_hosts_processor(
    cpu: str | None,
) -> None:
    arm = domain("kvm", arch="aarch64", cpu=cpu)

    assert text(arm.find("cpu")) == '<cpu mode="host-passthrough" check="none"/>'
    assert text(arm.find("features")) == "<features><acpi/></features>"


def test_a_host_that_is_no_x86_64_is_asked_for_the_architecture_by_name() -> None:
    hardware = Hardware("qemu", a_spec(), "02:00:00:00:00:01", host_arch="aarch64")
    xml = domain_xml(DomainSpec("one", "uuid", RECORD, hardware, "/pool/disk.qcow2", None))

    assert etree.fromstring(xml).find("os/type").get("arch") == "x86_64"  # type: ignore[union-attr]


def test_a_screen_is_there_only_for_a_label_that_asks_and_nobody_can_connect_to_it() -> None:
    plain, with_screen = domain(), domain(graphics=True)

    assert text(domain(graphics=False)) == text(plain)
    assert plain.find("devices/video") is plain.find("devices/graphics") is None
    added = [text(each) for each in with_screen.findall("devices/*")]
    for each in plain.findall("devices/*"):
        added.remove(text(each))
    assert added == [
        '<graphics type="vnc"><listen type="none"/></graphics>',
        '<video><model type="vga" vram="16384" heads="1" primary="yes"/></video>',
    ]
    assert a_spec(graphics=False).hash == a_spec().hash
    arm = domain("qemu", arch="aarch64", graphics=True)
    assert [each.get("type") for each in arm.findall("devices/video/model")] == ["virtio"]


def test_a_kernel_writes_on_the_screen_as_well_and_its_console_stays_the_serial_one() -> None:
    kernel = DirectKernel("/kernel", "/initrd", "root=/dev/vda1 console=ttyS0 quiet")

    plain, with_screen = domain(boot=kernel), domain(boot=kernel, graphics=True)

    assert plain.findtext("os/cmdline") == kernel.command_line
    assert with_screen.findtext("os/cmdline") == (
        "console=tty0 root=/dev/vda1 console=ttyS0 quiet loglevel=6"
    )


def test_firmware_is_chosen_by_what_it_can() -> None:
    plain, secure = domain(firmware="uefi"), domain(firmware="uefi-secure", machine="pc-q35-7.2")

    assert text(plain.find("os")) == (
        '<os firmware="efi"><type machine="q35">hvm</type><firmware>'
        '<feature enabled="no" name="secure-boot"/></firmware><boot dev="hd"/></os>'
    )
    assert text(secure.find("os")) == (
        '<os firmware="efi"><type machine="pc-q35-7.2">hvm</type><firmware>'
        '<feature enabled="yes" name="secure-boot"/></firmware>'
        '<loader secure="yes"/><boot dev="hd"/></os>'
    )
    assert secure.find("features/smm") is not None


def test_a_fragment_adds_devices_and_merges_everything_else() -> None:
    ours = domain(
        domain_xml="""
        <!-- what a site needs -->
        <memoryBacking><hugepages/></memoryBacking>
        <features><hyperv><relaxed state="on"/></hyperv><apic eoi="on"/></features>
        <clock offset="localtime"><timer name="hpet" present="no"/><timer name="rtc"/></clock>
        <devices>
          <watchdog model="i6300esb" action="poweroff"/>
          <controller type="usb" model="qemu-xhci"/>
          <memballoon model="virtio"/>
          <disk type="file" device="disk"><source file="/d"/><target dev="vdc"/></disk>
        </devices>
        """
    )

    assert text(ours.find("memoryBacking")) == "<memoryBacking><hugepages/></memoryBacking>"
    assert [each.tag for each in ours.findall("features/*")] == ["acpi", "apic", "hyperv"]
    assert ours.find("features/apic").get("eoi") == "on"  # type: ignore[union-attr]
    assert len(ours.findall("clock")) == 1
    assert [each.get("name") for each in ours.findall("clock/timer")] == ["hpet", "rtc"]
    assert ours.find("clock").get("offset") == "localtime"  # type: ignore[union-attr]
    assert [each.get("model") for each in ours.findall("devices/memballoon")] == ["virtio"]
    usb = ours.findall("devices/controller[@type='usb']")
    assert [each.get("model") for each in usb] == ["qemu-xhci"]
    assert [each.get("dev") for each in ours.findall("devices/disk/target")] == ["vda", "vdc"]


@given(st.permutations(["watchdog", "sound", "tpm", "video"]))
def test_no_fragment_takes_away_a_device_of_the_pool(tags: list[str]) -> None:
    plain = domain()
    changed = domain(domain_xml=f"<devices>{''.join(f'<{tag}/>' for tag in tags)}</devices>")

    count = len(plain.findall("devices/*"))
    assert list(map(text, changed.findall("devices/*")))[:count] == list(
        map(text, plain.findall("devices/*"))
    )
    assert [each.tag for each in changed.findall("devices/*")[count:]] == tags


def test_the_hardware_of_a_label_decides_which_states_are_its_own() -> None:
    keys: list[dict[str, Any]] = [
        {},
        {"cpu": "host"},
        {"machine": "pc"},
        {"firmware": "uefi"},
        {"tpm": True},
        {"graphics": True},
        {"domain_xml": "<devices><watchdog model='i6300esb'/></devices>"},
    ]
    assert len({a_spec(**each).hash for each in keys}) == len(keys)


def test_a_fragment_of_the_same_label_is_not_used_up() -> None:
    label = a_spec(domain_xml="<devices><watchdog model='i6300esb'/></devices>").label
    for _ in range(2):
        root = etree.fromstring("<domain><devices/></domain>")
        hardware_xml.add(label.domain_xml, root)
        assert len(root.findall("devices/watchdog")) == 1
    assert replace(a_spec(), label=label).hash
