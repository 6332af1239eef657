# SPDX-License-Identifier: GPL-2.0-only
"""A function of master.cfg changes a domain, and leaves alone what the pool owns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from lxml import etree
from lxml.builder import E

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.domains.changed_domain import Change
from latent_libvirt.host.domains.domain_xml import (
    DomainSpec,
    Hardware,
    MoreDisk,
    VmRecord,
    domain_xml,
)
from latent_libvirt.host.states.saved_states import saved_state_key
from specs import a_spec

RECORD = VmRecord("0123", "host:/m", "pool", "00ff", "one", "one-1", "abc", "2026-01-01T00:00:00")
SPEC = DomainSpec(
    "one",
    "uuid",
    RECORD,
    Hardware("qemu", a_spec(), "02:00:00:00:00:01"),
    disk="/disk",
    boot=None,
    more_disks=(MoreDisk(1, "cache", "/cache"),),
)


def changed(change: Change) -> etree._Element:
    return etree.fromstring(domain_xml(replace(SPEC, change=change)))


def key(change: Change | None) -> str:
    return saved_state_key(replace(SPEC, change=change), image="i", fingerprint="f")


def _add(domain: etree._Element) -> None:
    domain.append(E.memoryBacking(E.locked()))
    devices = domain.find("devices")
    assert devices is not None
    devices.append(E.disk(E.source(file="/x"), E.target(dev="vdz"), type="file"))


def test_a_function_adds_what_has_no_key_and_saved_states_are_of_that() -> None:
    domain = changed(_add)

    assert domain.find("memoryBacking/locked") is not None
    assert len(domain.findall("devices/disk")) == 3
    assert len({key(None), key(_add), key(lambda _: None)}) == 2


def _set(path: str, **attributes: str) -> Callable[[etree._Element], None]:
    def change(domain: etree._Element) -> None:
        element = domain.find(path)
        assert element is not None
        element.attrib.update(attributes)

    return change


def _remove(path: str) -> Callable[[etree._Element], None]:
    def change(domain: etree._Element) -> None:
        element = domain.find(path)
        assert element is not None
        parent = element.getparent()
        assert parent is not None
        parent.remove(element)

    return change


def _numa(**cell: str) -> Callable[[etree._Element], None]:
    return lambda domain: domain.append(E.cpu(E.numa(E.cell(**cell))))


def _dimm(domain: etree._Element) -> None:
    devices = domain.find("devices")
    assert devices is not None
    devices.append(E.memory(model="dimm"))


def test_a_function_gives_the_memory_to_numa_cells() -> None:
    memory = changed(lambda _: None).findtext("memory") or ""

    assert changed(_numa(memory=memory)).find("cpu/numa/cell") is not None


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_set(".", type="kvm"), "the root element"),
        (_set("name", x="y"), "<name>"),
        (_set("metadata/*", vm_id="other"), "<metadata>"),
        (_remove("memory"), "<memory>"),
        (_set("vcpu", current="9"), "<vcpu>"),
        (_remove("on_reboot"), "<on_reboot>"),
        (_remove("devices/serial"), "<serial>"),
        (_set("devices/disk/source", file="/etc/passwd"), "<disk>"),
        (_remove("devices/disk[2]"), "<disk>"),
        (_remove("devices/channel"), "<channel>"),
        (_set("devices/channel", type="pty"), "<channel>"),
        (_numa(memory="64", unit="GiB"), "<memory>"),
        (_dimm, "<memory>"),
        (_set("devices/channel/target", name="other"), "<channel>"),
    ],
)
def test_a_function_that_changes_what_the_pool_owns_starts_no_vm(change: Change, what: str) -> None:
    with pytest.raises(ConfigurationError, match=f"has changed {what}, which belongs to the pool"):
        changed(change)


def test_a_function_that_fails_is_named() -> None:
    with pytest.raises(ConfigurationError, match="changes domains has failed") as e:
        changed(lambda domain: domain.nothing)

    assert "AttributeError" in str(e.value)
