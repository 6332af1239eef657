# SPDX-License-Identifier: GPL-2.0-only
"""The XML of domains. libvirt's own validation of it is in tests/integration."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from latent_libvirt.host.domains.domain_xml import (
    METADATA_NAMESPACE,
    DirectKernel,
    DomainSpec,
    Hardware,
    MoreDisk,
    Port,
    VmRecord,
    domain_xml,
    record_of,
    record_xml,
    restored_xml,
    saved_record,
)
from specs import a_spec

RECORD = VmRecord(
    owner_id="0123456789ab",
    master="host:/master",
    pool="latent_libvirt",
    vm_id="00ff",
    label="debian-12",
    worker="debian-12-1",
    image="abc",
    since="2026-01-01T00:00:00+00:00",
)
SPEC = DomainSpec(
    name="latent-libvirt-1",
    uuid="74315a47-2e50-45ee-86e8-555de9c6a294",
    record=RECORD,
    hardware=Hardware("qemu", a_spec(vcpus=2, memory="512MiB"), "02:00:00:00:00:01"),
    disk="/pool/overlay.qcow2",
    boot=None,
)

xml_text = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff")
)


def parsed(spec: DomainSpec) -> etree._Element:
    return etree.fromstring(domain_xml(spec))


def test_a_seed_is_a_second_disk_that_the_guest_may_only_read() -> None:
    disk, seed = parsed(replace(SPEC, seed="/draft/seed.iso")).findall("devices/disk")

    assert disk.find("readonly") is None
    assert seed.find("readonly") is not None
    assert [dict(part.attrib) for tag in ("source", "target") for part in seed.findall(tag)] == [
        {"file": "/draft/seed.iso"},
        {"dev": "vdb", "bus": "virtio"},
    ]
    assert len(parsed(SPEC).findall("devices/disk")) == 1


def test_more_disks_have_names_and_serial_numbers_that_stay() -> None:
    more = (MoreDisk(1, "cache", "/a"), MoreDisk(2, "tools", "/b", "raw", read_only=True))
    saved = parsed(replace(SPEC, more_disks=more, keeps_disk=True))
    _first, cache, tools = saved.findall("devices/disk")

    def looks(disk: etree._Element) -> list[object]:
        parts = [dict(disk.find(tag).attrib) for tag in ("source", "target")]  # type: ignore[union-attr]
        return [*parts, disk.findtext("serial"), disk.find("driver").get("cache")]  # type: ignore[union-attr]

    assert looks(cache) == [{"file": "/a"}, {"dev": "vdc", "bus": "virtio"}, "cache", "writeback"]
    assert looks(tools) == [{"file": "/b"}, {"dev": "vdd", "bus": "virtio"}, "tools", None]
    assert tools.find("readonly") is not None

    disks = {0: "/pool/new", 1: "/new"}
    restored = restored_xml(etree.tostring(saved, encoding="unicode"), disks=disks, record=RECORD)

    first, cache, tools = etree.fromstring(restored).findall("devices/disk")
    assert looks(first)[0] == {"file": "/pool/new"}
    assert looks(cache) == [{"file": "/new"}, {"dev": "vdc", "bus": "virtio"}, "cache", "unsafe"]
    assert looks(tools)[0] == {"file": "/b"}


def test_a_guest_that_ends_in_any_way_ends_for_good() -> None:
    domain = parsed(SPEC)

    ends = [domain.findtext(f"on_{how}") for how in ("poweroff", "reboot", "crash")]
    assert ends == ["destroy"] * 3


def test_memory_is_given_in_the_unit_that_is_named() -> None:
    memory = parsed(SPEC).find("memory")

    assert memory is not None
    assert (memory.text, memory.get("unit")) == (str(512 * 1024), "KiB")


@given(st.builds(VmRecord, *[xml_text] * 8))
def test_metadata_says_exactly_whose_a_domain_is(record: VmRecord) -> None:
    domain = parsed(replace(SPEC, record=record))

    vm = domain.find(f"metadata/{{{METADATA_NAMESPACE}}}vm")
    assert vm is not None
    assert record_of(etree.tostring(vm, encoding="unicode")) == record


@pytest.mark.parametrize("xml", ["", "<vm/>", "<vm owner='me'/>", "no xml", "<a><b/></a>"])
def test_metadata_of_anybody_else_is_no_record(xml: str) -> None:
    assert record_of(xml) is None


def test_metadata_with_more_text_than_any_master_writes_is_no_record() -> None:
    record = VmRecord("o", "m", "p", "1", "l" * 100_000, "w", "i", "")

    assert record_of(record_xml(record)) is None


@given(xml_text)
def test_no_value_can_break_out_of_its_place(label: str) -> None:
    domain = parsed(replace(SPEC, record=replace(RECORD, label=label)))

    assert [child.tag for child in domain] == [child.tag for child in parsed(SPEC)]


def test_a_kernel_is_started_directly_where_the_image_has_one() -> None:
    boot = DirectKernel("/pool/kernel", "/pool/initrd", "root=/dev/vda1 quiet")
    domain = parsed(replace(SPEC, boot=boot))

    assert domain.findtext("os/kernel") == "/pool/kernel"
    assert domain.findtext("os/initrd") == "/pool/initrd"
    assert domain.findtext("os/cmdline") == "root=/dev/vda1 quiet"
    assert domain.find("os/boot") is None


def test_an_image_without_a_kernel_is_booted_by_its_bios() -> None:
    boot = parsed(SPEC).find("os/boot")

    assert boot is not None
    assert boot.get("dev") == "hd"


@pytest.mark.parametrize("kind", ["network", "bridge"])
def test_guests_on_a_shared_network_are_kept_apart(kind: str) -> None:
    vm = a_spec(network={kind: "lan"})
    domain = parsed(replace(SPEC, hardware=replace(SPEC.hardware, vm=vm)))

    interface = domain.find("devices/interface")
    assert interface is not None
    assert interface.get("type") == kind
    assert interface.find(f"source[@{kind}='lan']") is not None
    assert interface.find("port[@isolated='yes']") is not None
    assert interface.find("filterref") is None


@pytest.mark.parametrize("kind", ["network", "bridge"])
def test_what_a_guest_sends_is_filtered_where_its_port_has_a_filter(kind: str) -> None:
    vm = a_spec(network={kind: "lan"})
    port = Port(isolated=False, filter="clean-traffic")
    domain = parsed(replace(SPEC, hardware=replace(SPEC.hardware, vm=vm, port=port)))

    assert domain.find("devices/interface/filterref[@filter='clean-traffic']") is not None
    assert domain.find("devices/interface/port") is None


def test_what_a_guest_discards_or_fills_with_zeros_is_given_back_to_the_host() -> None:
    driver = parsed(SPEC).find("devices/disk/driver")

    assert driver is not None
    assert (driver.get("discard"), driver.get("detect_zeroes")) == ("unmap", "unmap")


def test_only_kvm_shows_the_guest_the_hosts_cpu() -> None:
    kvm = replace(SPEC, hardware=replace(SPEC.hardware, type="kvm"))

    assert parsed(SPEC).find("cpu[@mode='host-passthrough']") is None
    assert parsed(kvm).find("cpu[@mode='host-passthrough']") is not None


def test_a_domain_without_a_disk_has_none() -> None:
    assert parsed(replace(SPEC, disk=None)).find("devices/disk") is None


# What is restored.


@given(xml_text, st.booleans())
def test_a_restored_domain_differs_in_its_disk_its_title_and_its_record_alone(
    text: str,
    keeps: bool,  # noqa: FBT001 (hypothesis)
) -> None:
    saved = domain_xml(replace(SPEC, keeps_disk=keeps))
    record = replace(RECORD, vm_id="11", worker=text, saved="00ff")

    xml = restored_xml(saved, disks={0: "/pool/other.qcow2"}, record=record)

    assert saved_record(xml) == record
    wanted = parsed(replace(SPEC, disk="/pool/other.qcow2", record=record))
    assert parts(etree.fromstring(xml)) == parts(wanted)


def parts(domain: etree._Element) -> list[str]:
    """Return what is in a domain, in an order of its own."""
    return sorted(etree.tostring(part, method="c14n").decode() for part in domain)


def test_what_libvirt_says_of_a_saved_disks_base_is_not_said_of_the_overlay() -> None:
    saved = parsed(SPEC)
    disk = saved.find("devices/disk")
    assert disk is not None
    disk.append(etree.fromstring("<backingStore type='file'><source file='/x'/></backingStore>"))

    xml = restored_xml(
        etree.tostring(saved, encoding="unicode"), disks={0: "/pool/o"}, record=RECORD
    )

    assert etree.fromstring(xml).find("devices/disk/backingStore") is None


def test_what_nobody_of_us_has_saved_has_no_record() -> None:
    assert saved_record("<domain type='qemu'><name>vm</name></domain>") is None


def test_a_disk_that_others_will_be_based_on_is_really_written() -> None:
    def cache(keeps: bool) -> str | None:  # noqa: FBT001
        driver = parsed(replace(SPEC, keeps_disk=keeps)).find("devices/disk/driver")
        assert driver is not None
        return driver.get("cache")

    assert (cache(False), cache(True)) == ("unsafe", "writeback")


def test_under_kvm_a_vm_that_may_be_saved_has_a_cpu_that_libvirt_writes_down() -> None:
    def cpu(saveable: bool) -> str | None:  # noqa: FBT001
        hardware = replace(SPEC.hardware, type="kvm", saveable=saveable)
        found = parsed(replace(SPEC, hardware=hardware)).find("cpu")
        assert found is not None
        return found.get("mode")

    assert (cpu(False), cpu(True)) == ("host-passthrough", "host-model")


def channels(domain: etree._Element) -> list[str | None]:
    return [target.get("name") for target in domain.findall("devices/channel/target")]


def test_a_worker_that_comes_by_a_channel_has_one_and_needs_no_network() -> None:
    hermetic = Hardware("qemu", a_spec(network="none"), "02:00:00:00:00:01")
    domain = parsed(replace(SPEC, hardware=hermetic))

    assert channels(domain) == ["org.latent_libvirt.0", "org.latent_libvirt.worker.0"]
    assert domain.findall("devices/interface") == []


def test_builds_that_may_fetch_have_another_channel_and_no_card() -> None:
    fetching = a_spec(network={"allow": ["a.example:80"]})
    domain = parsed(replace(SPEC, hardware=Hardware("qemu", fetching, "02:00:00:00:00:01")))

    names = ["org.latent_libvirt.0", "org.latent_libvirt.worker.0", "org.latent_libvirt.network.0"]
    assert channels(domain) == names
    assert domain.findall("devices/interface") == []


def test_a_worker_that_comes_by_tcp_has_a_network_card_alone() -> None:
    by_tcp = Hardware("qemu", a_spec(connection="tcp"), "02:00:00:00:00:01")
    domain = parsed(replace(SPEC, hardware=by_tcp))

    assert channels(domain) == ["org.latent_libvirt.0"]
    assert len(domain.findall("devices/interface")) == 1
