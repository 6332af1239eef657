# SPDX-License-Identifier: GPL-2.0-only
"""What a host finds on a real hypervisor when a master starts, and what it frees."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import libvirt
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent

import unfit_volumes
from forgetful import Forgetful
from lab import FOREIGN_DOMAIN
from latent_libvirt import advice
from latent_libvirt.config import HostConfig, ImageConfig
from latent_libvirt.errors import CapacityError, ConfigurationError
from latent_libvirt.host import (
    names,
    sweep,
)
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains import domain_xml, slot_domains
from latent_libvirt.host.domains.domain_xml import (
    DomainSpec,
    Hardware,
    State,
    VmRecord,
)
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.vm_spec import VmSpec
from latent_libvirt.host.host import Host
from latent_libvirt.host.libvirtd.errand import visiting
from latent_libvirt.host.names import OwnedVolume, Owner
from latent_libvirt.host.volumes import (
    images,
    prune,
    storage,
)
from latent_libvirt.pool.hosts import Hosts
from latent_libvirt.sandbox import PrivateLibvirtd
from specs import a_spec
from unfit_volumes import UNFIT

OWNER = Owner("host:/master", "pool")
SIBLING = Owner("host:/master1", "pool")
DEADLINE = 120.0


MakeHost = Callable[..., Host]


@pytest_twisted.async_yield_fixture
async def make_host(sandbox: PrivateLibvirtd) -> AsyncIterator[MakeHost]:
    made = []

    def make(storage_pool: str = "builds") -> Host:
        config = HostConfig(uri=sandbox.uri, slots=3, storage_pool=storage_pool, accelerator="tcg")
        context = PoolContext(OWNER, {}, Forgetful(), lambda: None, reactor)
        host = Host("here", config, context)
        made.append(host)
        host.start()
        return host

    yield make
    for host in made:
        await host.stop_when_empty()


async def until(condition: Callable[[], object]) -> None:
    """Wait, without holding up the reactor, until *condition* is true."""

    async def poll() -> None:
        while not condition():
            await deferLater(reactor, 0.05, lambda: None)

    await Deferred.fromCoroutine(poll()).addTimeout(DEADLINE, reactor)


def usable(host: Host) -> Awaitable[None]:
    return until(lambda: host.usable)


def record_of(owner: Owner, vm_id: str, *, state: State = "job") -> VmRecord:
    return VmRecord(
        owner_id=owner.id,
        master=owner.master,
        pool=owner.pool,
        vm_id=vm_id,
        label="l",
        worker="w",
        image="i",
        since="s",
        state=state,
    )


ON_BASE = VmSpec(a_spec().label, ImageConfig(volume="base.qcow2"))


def plan_in_slot(slot: int, *, vm_id: str) -> MachinePlan:
    return MachinePlan(slot, record_of(OWNER, vm_id), a_spec())


class Hypervisor:
    """Puts things on the sandbox that somebody left there."""

    def __init__(self, sandbox: PrivateLibvirtd) -> None:
        sandbox.define_storage_pool("builds")
        self.connection = libvirt.open(sandbox.uri)
        self.pool = self.connection.storagePoolLookupByName("builds")

    def leave(self, owner: Owner, slot: int, vm_id: str, *, state: State = "job") -> None:
        """Leave a domain with an overlay."""
        disk = self.leave_overlay(owner, slot, vm_id)
        mac = names.slot_mac("host", slot)
        spec = DomainSpec(
            name=names.domain_name(slot),
            uuid=names.slot_uuid("host", slot),
            record=record_of(owner, vm_id, state=state),
            hardware=Hardware("qemu", a_spec(), mac),
            disk=disk,
            boot=None,
        )
        self.connection.createXML(domain_xml.domain_xml(spec), libvirt.VIR_DOMAIN_START_VALIDATE)

    def leave_overlay(self, owner: Owner, slot: int, vm_id: str) -> str:
        """Leave an overlay without a domain; return its path."""
        name = OwnedVolume(owner.id, slot, vm_id)
        return storage.create_overlay(self.pool, name, base=self._base(), capacity=None)

    @contextmanager
    def making_volumes(self) -> Iterator[None]:
        """Make overlays of another master, one after the other, during a ``with`` block."""
        enough = threading.Event()
        maker = threading.Thread(target=self._make_until, args=(enough,))
        maker.start()
        try:
            yield
        finally:
            enough.set()
            maker.join()

    def _make_until(self, enough: threading.Event) -> None:
        while not enough.is_set():
            name = OwnedVolume(SIBLING.id, 1, "dd")
            storage.create_overlay(self.pool, name, base=self._base(), capacity=None)
            storage.delete_volume(self.pool, str(name))

    def _base(self) -> libvirt.virStorageVol:
        if "base.qcow2" in self.pool.listVolumes():
            return self.pool.storageVolLookupByName("base.qcow2")
        return self.pool.createXML(
            "<volume><name>base.qcow2</name><capacity unit='MiB'>16</capacity>"
            "<target><format type='qcow2'/></target></volume>"
        )

    def domains(self) -> set[str]:
        return {domain.name() for domain in self.connection.listAllDomains()}

    def volumes(self) -> set[str]:
        return set(self.pool.listVolumes())


@pytest.fixture
def hypervisor(sandbox: PrivateLibvirtd) -> Hypervisor:
    return Hypervisor(sandbox)


@pytest_twisted.ensureDeferred
async def test_what_a_killed_master_left_is_freed_before_the_host_is_usable(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    hypervisor.leave(OWNER, 1, "aa")
    hypervisor.leave_overlay(OWNER, 2, "bb")

    host = make_host()
    await usable(host)

    assert hypervisor.domains() == set()
    assert hypervisor.volumes() == {"base.qcow2"}
    assert host.blocked_slots == frozenset()


@pytest_twisted.ensureDeferred
async def test_what_is_left_is_freed_when_the_host_is_closed_but_for_what_is_to_stay(
    hypervisor: Hypervisor, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_host()
    await usable(host)
    machine = host.new_machine(plan_in_slot(1, vm_id="aa"))
    hypervisor.leave(OWNER, 1, "aa")
    spare = host.new_machine(plan_in_slot(2, vm_id="bb"))
    hypervisor.leave(OWNER, 2, "bb", state="spare")
    hypervisor.leave_overlay(OWNER, 3, "cc")

    with monkeypatch.context() as patch:
        # A host too busy to end a process in time; it cannot be made so at will.
        patch.setattr(
            "latent_libvirt.host.domains.slot_domains.destroy_domain", _cannot_be_destroyed
        )
        await host.discard(machine)
    await host.leave_running(spare)
    await host.stop_when_empty()

    assert hypervisor.domains() == {"latent-libvirt-2"}
    assert len(hypervisor.volumes()) == 2


@pytest_twisted.ensureDeferred
async def test_a_last_sweep_that_is_cancelled_is_a_line_without_a_traceback(
    sandbox: PrivateLibvirtd, hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    """As at the end of a doctor, where libvirt does not answer in time."""
    host = make_host()
    await usable(host)

    sandbox.suspend()
    with capturedLogs() as logged:
        stopped = Deferred.fromCoroutine(host.stop_when_empty())
        stopped.cancel()
        sandbox.resume()
        await stopped

    assert [event for event in logged if "log_failure" in event] == []
    lines = [str(formatEvent(event)) for event in logged]
    assert any("its last sweep took too long" in line for line in lines)
    assert hypervisor.domains() == set()


def _cannot_be_destroyed(*_args: object, **_kwargs: object) -> bool:
    raise libvirt.libvirtError("Failed to terminate process 1 with SIGKILL: Resource busy")


@pytest_twisted.ensureDeferred
async def test_a_host_can_be_swept_and_used_while_others_make_volumes(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    """Libvirt does not look what a storage pool holds while a volume is made: most of the time."""
    host = make_host()
    await usable(host)
    hypervisor.leave_overlay(OWNER, 2, "aa")

    with hypervisor.making_volumes():
        for _ in range(30):
            await host.free_leftovers()

    assert host.usable
    assert hypervisor.volumes() == {"base.qcow2"}


@pytest_twisted.ensureDeferred
async def test_what_belongs_to_another_master_is_left_alone_and_its_slots_are_not_used(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    """Buildbot #3800: cleaning up after worker-1 killed worker-11."""
    hypervisor.leave(SIBLING, 2, "aa")

    host = make_host()
    await usable(host)

    assert hypervisor.domains() == {"latent-libvirt-2"}
    assert len(hypervisor.volumes()) == 2
    assert host.blocked_slots == {2}


@pytest_twisted.ensureDeferred
async def test_domains_and_volumes_of_people_are_never_touched(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    hypervisor.connection.createXML(
        "<domain type='qemu'><name>latent-libvirt-mine</name><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64'>hvm</type></os></domain>"
    )

    await usable(make_host())

    assert hypervisor.domains() == {"latent-libvirt-mine"}


@pytest_twisted.ensureDeferred
async def test_a_slot_that_another_master_takes_and_leaves_is_noticed_by_events(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    host = make_host()
    await usable(host)

    hypervisor.leave(SIBLING, 3, "aa")
    await until(lambda: host.blocked_slots == {3})
    hypervisor.connection.lookupByName("latent-libvirt-3").destroy()

    await until(lambda: host.blocked_slots == frozenset())


@pytest_twisted.ensureDeferred
async def test_a_domain_that_is_only_defined_keeps_its_slot_and_is_named(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    host = make_host()
    await usable(host)

    domain = hypervisor.connection.defineXML(FOREIGN_DOMAIN)
    await until(lambda: host.blocked_slots == {1} and host.squatters)
    assert "latent-libvirt-1 is defined there, and not ours" in host.squatters[0]
    frees = advice.virsh(hypervisor.connection.getURI(), "undefine", "latent-libvirt-1")
    assert frees in host.squatters[0]

    domain.undefine()
    await until(lambda: host.blocked_slots == frozenset())
    assert host.usable


@pytest_twisted.ensureDeferred
async def test_a_start_that_meets_a_defined_domain_blames_neither_job_nor_host(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    host = make_host()
    await usable(host)
    plan = replace(plan_in_slot(1, vm_id="bb"), vm=ON_BASE)
    hypervisor.leave_overlay(SIBLING, 1, "aa")
    machine = host.new_machine(plan)
    hypervisor.connection.defineXML(FOREIGN_DOMAIN)

    await machine.prepare()
    await machine.clone()
    with pytest.raises(CapacityError, match="defined there, and not ours"):
        await machine.boot()
    await host.discard(machine)

    assert host.blocked_slots == {1}


@pytest_twisted.ensureDeferred
async def test_a_volume_that_cannot_be_below_an_overlay_is_an_error_of_the_configuration(
    hypervisor: Hypervisor, sandbox: PrivateLibvirtd, make_host: MakeHost
) -> None:
    host = make_host()
    await usable(host)
    unfit_volumes.make(sandbox.directory / "storage" / "builds")
    storage.refresh(hypervisor.pool)

    for name, (defect, _kind) in UNFIT.items():
        found = await host.newest_images({name: ImageConfig(volume=name)})
        with pytest.raises(ConfigurationError, match=f"'{name}'.*{defect}"):
            raise cast("Exception", found[name])


@pytest_twisted.ensureDeferred
async def test_one_hypervisor_by_two_uris_is_recognised_and_used_once(
    hypervisor: Hypervisor, sandbox: PrivateLibvirtd
) -> None:
    assert hypervisor.domains() == set()
    hosts = Hosts(Host)
    context = PoolContext(OWNER, {}, Forgetful(), lambda: None, reactor, twin=hosts.twin_of)
    one = HostConfig(uri=sandbox.uri, slots=3, storage_pool="builds", accelerator="tcg")
    other = one.model_copy(update={"uri": f"{sandbox.uri}&mode=direct"})
    hosts.configure({"one": one, "other": other}, context)
    try:
        await until(
            lambda: any("leads to the same libvirt as host" in each for each in hosts.troubles())
        )
        await until(lambda: sum(host.usable for host in hosts.values()) == 1)
        (trouble,) = hosts.troubles()
        assert "host one" in trouble
        assert "host other" in trouble
        assert "counted twice" in trouble
    finally:
        await hosts.stop()


@pytest_twisted.ensureDeferred
async def test_volumes_whose_names_are_no_text_hide_nothing(
    hypervisor: Hypervisor, sandbox: PrivateLibvirtd, make_host: MakeHost
) -> None:
    overlay = hypervisor.leave_overlay(OWNER, 2, "aa")
    (Path(overlay).parent / os.fsdecode(b"Pr\351sentation.iso")).touch()

    host = make_host()
    await usable(host)

    assert storage.owned_volumes(hypervisor.pool) == (), "the sweep has seen it"
    with visiting(sandbox.uri) as connection:
        pool = storage.storage_pool(connection, "builds")
        assert images.published(pool) == ()
        assert prune.survey(connection, "builds") == []


@pytest_twisted.ensureDeferred
async def test_a_host_that_says_nonsense_is_in_trouble_and_can_be_stopped(
    hypervisor: Hypervisor, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No libvirt that we have can be made to send such capabilities.
    nonsense = "<capabilities><host>" + chr(0xFFFF)
    monkeypatch.setattr(libvirt.virConnect, "getCapabilities", lambda _self: nonsense)
    host = make_host()
    await until(lambda: "its capabilities cannot be read" in host.trouble)
    assert not host.usable

    def meaningless(*_arguments: object) -> None:
        raise KeyError("arch")

    monkeypatch.setattr(sweep, "survey", meaningless)
    host.sweep_soon()
    await until(lambda: "KeyError('arch')" in host.trouble)


@pytest_twisted.ensureDeferred
async def test_a_slot_that_another_master_was_quicker_to_take_is_not_tried_again_until_it_is_left(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    host = make_host()
    await usable(host)
    plan = replace(plan_in_slot(3, vm_id="bb"), vm=ON_BASE)
    machine = host.new_machine(plan)
    hypervisor.leave(SIBLING, 3, "aa")

    await machine.prepare()
    await machine.clone()
    with pytest.raises(CapacityError, match="slot 3 of host here has been taken by somebody else"):
        await machine.boot()
    await host.discard(machine)

    assert host.blocked_slots == {3}
    assert hypervisor.domains() == {"latent-libvirt-3"}
    hypervisor.connection.lookupByName("latent-libvirt-3").destroy()
    await until(lambda: host.blocked_slots == frozenset())


@pytest_twisted.ensureDeferred
async def test_a_host_without_its_storage_pool_says_so_and_recovers(
    hypervisor: Hypervisor,
    sandbox: PrivateLibvirtd,
    make_host: MakeHost,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("latent_libvirt.host.sweeper._AGAIN_AFTER", 0.1)
    host = make_host("scratch")
    await until(lambda: "has no storage pool 'scratch'" in host.trouble)
    assert not host.usable
    assert "Its storage pools: builds." in host.trouble

    sandbox.define_storage_pool("scratch")

    await usable(host)
    assert host.trouble == ""


@pytest_twisted.ensureDeferred
async def test_a_host_is_not_usable_while_its_libvirtd_is_away(
    hypervisor: Hypervisor, sandbox: PrivateLibvirtd, make_host: MakeHost
) -> None:
    host = make_host()
    await usable(host)

    sandbox.kill()
    await until(lambda: not host.usable)
    sandbox.restart()

    await usable(host)


@pytest_twisted.ensureDeferred
async def test_a_changed_number_of_slots_needs_no_new_connection(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    host = make_host()
    config = host.config

    assert host.adopt(config.model_copy(update={"slots": 9, "address": "192.0.2.1"}))
    assert host.config.slots == 9
    assert not host.adopt(config.model_copy(update={"storage_pool": "other"}))
    assert not host.adopt(config.model_copy(update={"uri": "test:///default"}))


@pytest_twisted.ensureDeferred
async def test_a_domain_that_claims_to_be_ours_is_only_freed_by_its_exact_id(
    hypervisor: Hypervisor, make_host: MakeHost
) -> None:
    almost = replace(OWNER, pool="pool2")
    hypervisor.leave(almost, 1, "aa")

    await usable(make_host())

    assert hypervisor.domains() == {"latent-libvirt-1"}


@pytest_twisted.ensureDeferred
async def test_a_leftover_that_stays_keeps_its_slot_and_neither_the_host_nor_other_leftovers(
    hypervisor: Hypervisor, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A QEMU that hangs on its disk cannot be made here: what libvirt says then is a stand-in."""
    for slot, vm_id in ((1, "aa"), (2, "bb")):
        hypervisor.leave(OWNER, slot, vm_id)
    destroy = slot_domains.destroy_domain

    def refused(connection: libvirt.virConnect, uuid: str, *, vm_id: str) -> object:
        if vm_id == "aa":
            raise libvirt.libvirtError("Failed to terminate process: Device or resource busy")
        return destroy(connection, uuid, vm_id=vm_id)

    with monkeypatch.context() as hanging:
        hanging.setattr(slot_domains, "destroy_domain", refused)
        host = make_host()
        await usable(host)

        assert hypervisor.domains() == {"latent-libvirt-1"}
        assert host.blocked_slots == {1}

    await host.free_leftovers()
    assert hypervisor.domains() == set()
    assert not host.blocked_slots
