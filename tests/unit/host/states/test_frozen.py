# SPDX-License-Identifier: GPL-2.0-only
"""What a host keeps of frozen VMs after it was looked at, whatever has happened to them.

libvirt is a fake where one is asked; real VMs are in tests/integration/host/test_freezing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.config import ImageConfig, LabelConfig
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.domains.domain_calls import DomainCalls
from latent_libvirt.host.domains.domain_xml import VmRecord, saved_size
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.slot_domains import SlotDomain
from latent_libvirt.host.domains.vm_spec import VmSpec
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states import frozen_io
from latent_libvirt.host.states.frozen import Found, FrozenVm, FrozenVms
from latent_libvirt.host.sweep import Survey
from latent_libvirt.host.volumes import storage

OWNER = "0123456789ab"
VM_ID = "00000000000000aa"
NAME = OwnedVolume(OWNER, 1, VM_ID, is_frozen=True)
RECORD = VmRecord(OWNER, "m", "p", VM_ID, "one", "w", "i", "", state="held")
PINNED = """<domain><name>latent-libvirt-1</name><memory unit="KiB">2048</memory><vcpu>2</vcpu>
<cputune><vcpupin vcpu="0" cpuset="4"/><vcpupin vcpu="1" cpuset="5"/></cputune></domain>"""
FROZEN = FrozenVm(NAME, RECORD, PINNED, "/pool/memory", 1)


class Error(libvirt.libvirtError):  # type: ignore[misc]
    """An error of libvirt's with this code."""

    def __init__(self, code: int) -> None:
        self.err = (code, 0, "why", 0, "", "", "", 0, 0)

    def __str__(self) -> str:
        return "why"


def survey(*volumes: OwnedVolume, runs: bool = False) -> Survey:
    domain = SlotDomain(1, "uuid", RECORD)
    return Survey("host", (domain,) if runs else (), volumes)


def compared(
    vms: FrozenVms,
    seen: Survey,
    before: Collection[str],
    found: Found | None = None,
    live: Collection[str] = (),
) -> None:
    async def read(_names: Collection[OwnedVolume]) -> Found:
        return found or Found((), {})

    comparing = vms.compare(seen, before, owner_id=OWNER, live=live, read=read)
    assert Deferred.fromCoroutine(comparing).called


def keeping() -> FrozenVms:
    vms = FrozenVms("alpha")
    vms.add(FROZEN)
    return vms


def test_a_vm_that_runs_is_frozen_no_more() -> None:
    vms = keeping()

    compared(vms, survey(NAME, runs=True), vms.settled)

    assert not vms.vm_ids


def test_a_vm_that_goes_on_on_another_host_is_frozen_no_more() -> None:
    vms = keeping()

    compared(vms, survey(NAME), vms.settled, live=[VM_ID])

    assert not vms.vm_ids


def test_a_vm_that_was_frozen_while_its_host_was_looked_at_is_kept() -> None:
    vms = FrozenVms("alpha")
    vms.busy.add(VM_ID)
    before = vms.settled
    vms.add(FROZEN)
    vms.busy.clear()

    for seen in (survey(), survey(runs=True)):
        compared(vms, seen, before)

    assert vms.vm_ids == {VM_ID}


def test_a_vm_whose_memory_is_gone_is_frozen_no_more() -> None:
    vms = keeping()

    compared(vms, survey(), vms.settled)

    assert not vms.vm_ids


def test_what_cannot_be_read_is_kept_until_it_is_gone() -> None:
    vms = FrozenVms("alpha")

    compared(vms, survey(NAME), (), Found((), {VM_ID: "input/output error"}))
    assert vms.vm_ids == {VM_ID}
    assert vms.has_unread, "nobody knows what its disk is based on"
    assert not list(vms)
    compared(vms, survey(), ())

    assert not vms.vm_ids
    assert not vms.has_unread


class Hypervisor:
    """A libvirt with one frozen VM that it can read, and one that it cannot.

    :ivar others: the XML of the domains that run.
    :ivar restored: how many VMs were restored.
    """

    def __init__(self, *others: str) -> None:
        self.others = others
        self.restored = 0

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's
        return True

    def listAllDomains(self, _flags: int) -> list[Any]:  # noqa: N802
        return [_domain(xml) for xml in self.others]

    def restoreFlags(self, *_arguments: object) -> None:  # noqa: N802
        self.restored += 1

    def lookupByName(self, _name: str) -> object:  # noqa: N802
        return object()


def _domain(xml: str) -> Any:
    return SimpleNamespace(
        XMLDesc=lambda: xml, UUIDString=lambda: "another", name=lambda: "of another master"
    )


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Error(libvirt.VIR_ERR_SYSTEM_ERROR), "why"),
        (HostError("its XML cannot be read"), "its XML cannot be read"),
        (SystemError(), "SystemError()"),
    ],
)
def test_one_that_cannot_be_read_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    def read(_pool: object, name: OwnedVolume) -> FrozenVm | None:
        if name.slot == 1:
            raise error
        return FROZEN

    monkeypatch.setattr(frozen_io, "read", read)
    monkeypatch.setattr(storage, "storage_pool", lambda *_: object())
    names = [NAME, OwnedVolume(OWNER, 2, "bb", is_frozen=True)]

    found = frozen_io.read_all(Hypervisor(), "default", names)

    assert found == Found((FROZEN,), {VM_ID: why})


def calls() -> DomainCalls:
    host: Any = SimpleNamespace(
        uuid="host", connection=SimpleNamespace(host="alpha"), storage_pool="default"
    )
    vm = VmSpec(LabelConfig(image="one"), ImageConfig(name="one"))
    return DomainCalls(host, MachinePlan(1, RECORD, vm))


def test_a_vm_is_not_thawed_on_cpus_that_another_one_has_by_now() -> None:
    hypervisor: Any = Hypervisor(PINNED)

    with pytest.raises(ConfigurationError, match="has CPU 4"):
        calls().thaw(hypervisor, frozen=FROZEN, record=RECORD, guest=_guest(lambda _domain: None))

    assert hypervisor.restored == 0


def _guest(open_console: Callable[[object], None]) -> Any:
    return SimpleNamespace(console=SimpleNamespace(open=open_console))


@pytest.mark.parametrize(
    "error",
    [
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        Error(libvirt.VIR_ERR_NO_DOMAIN),
        Error(libvirt.VIR_ERR_ACCESS_DENIED),
    ],
)
def test_a_strangers_domain_that_cannot_be_read_is_in_the_way_of_no_vm(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(frozen_io, "delete_memory", lambda *_: None)

    def refuse() -> str:
        raise error

    strange = SimpleNamespace(XMLDesc=refuse, UUIDString=lambda: "another")
    hypervisor: Any = Hypervisor()
    hypervisor.listAllDomains = lambda _flags: [strange]

    calls().thaw(hypervisor, frozen=FROZEN, record=RECORD, guest=_guest(lambda _domain: None))

    assert hypervisor.restored == 1


def test_the_memory_of_a_thawed_vm_goes_although_its_console_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deleted: list[object] = []
    monkeypatch.setattr(frozen_io, "delete_memory", lambda _, _pool, name: deleted.append(name))

    def refuse(_domain: object) -> None:
        raise Error(libvirt.VIR_ERR_OPERATION_FAILED)

    hypervisor: Any = Hypervisor()
    with pytest.raises(Error):
        calls().thaw(hypervisor, frozen=FROZEN, record=RECORD, guest=_guest(refuse))

    assert deleted == [NAME]


@pytest.mark.parametrize(
    ("xml", "size"),
    [
        (PINNED, (2, 2 * 1024 * 1024)),
        ("<domain/>", (0, 0)),
        ("<domain><vcpu>-1</vcpu><memory unit='KiB'>9999999999999</memory></domain>", (0, 0)),
        ("<domain><vcpu>1_0</vcpu><memory unit='GiB'>1</memory></domain>", (0, 0)),
    ],
)
def test_the_size_of_a_saved_vm_is_what_its_domain_says(xml: str, size: tuple[int, int]) -> None:
    assert saved_size(xml) == size
