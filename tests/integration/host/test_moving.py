# SPDX-License-Identifier: GPL-2.0-only
"""A VM that one host has frozen goes on on another, and a killed master loses neither VM nor space.

Both hosts are real. The guests are tiny: each has a boot id, a process that counts in its memory, a
file that it holds open although it is deleted, and what it has written to its disk.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import IO, Any

import libvirt
import pytest
import pytest_twisted
from lxml import etree
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import lab as lab_module
import moving_master
import tiny_guests
from forgetful import Forgetful
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import HostConfig, LabelConfig
from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.errors import ConfigurationError, GuestError, HostError
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.machine import Machine
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.slot_domains import SlotDomain
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import OwnedVolume, Owner
from latent_libvirt.host.states.frozen import FrozenVm
from latent_libvirt.host.states.moving import copying, move
from latent_libvirt.host.volumes import storage
from latent_libvirt.images.local import LocalImage
from latent_libvirt.pool.holding.thawing.moved import where_it_may_run
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.vm import VM
from specs import a_spec

OWNER = Owner("moving:/master", "pool")
DEADLINE = 180.0
DISK = 512 * MIB
"""Bytes of the disk of beta's storage pool, which can be full."""

REMEMBERING = """
say waiting
boot=$(cat /proc/sys/kernel/random/boot_id)
for line in 1 2 3 4 5 6; do echo "line $line"; done >/lines
exec 4</lines
/bin/busybox rm /lines
echo "disk of $boot" | /bin/busybox dd of=/dev/vda conv=fsync 2>/dev/null
count=0
while read -r typed; do
    count=$((count + 1))
    read -r opened <&4
    echo "count $count, $opened of $$ in $boot and $(/bin/busybox head -n 1 /dev/vda)."
done
"""


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[tuple[Lab, Lab]]:
    directory = tmp_path_factory.mktemp("labs")
    with (
        lab_module.running(directory / "alpha", cache=cache) as alpha,
        lab_module.running(directory / "beta", cache=cache, disk=DISK) as beta,
    ):
        yield alpha, beta


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory, image: LocalImage) -> LocalImage:
    directory = tmp_path_factory.mktemp("images") / "remembering"
    return tiny_guests.make(directory, image, "remembering", REMEMBERING)


class Master:
    """The hosts of one life of a master."""

    def __init__(self, labs: tuple[Lab, Lab]) -> None:
        self.machines: dict[str, Machine] = {}
        self.adopted: list[Machine] = []
        self._context = PoolContext(
            OWNER, self.machines, Forgetful(), lambda: None, reactor, adopt=self._adopt
        )
        self.hosts = tuple(map(self._host, ("alpha", "beta"), labs))
        self.alpha, self.beta = self.hosts

    def _host(self, name: str, lab: Lab) -> Host:
        config = HostConfig(uri=lab.uri, slots=2, storage_pool=STORAGE_POOL, accelerator="tcg")
        return Host(name, config, self._context)

    def another(self, name: str, lab: Lab) -> Host:
        """Return a host of that name, as it is after it was configured again."""
        self.hosts = (*self.hosts, host := self._host(name, lab))
        return host

    def _adopt(self, host: Host, domain: SlotDomain) -> bool:
        assert domain.record is not None
        self.adopted.append(host.adopt_machine(_plan(domain.record)))
        return True

    async def start(self, *hosts: Host) -> None:
        for host in hosts:
            host.start()
        for host in hosts:
            await until(lambda host=host: host.usable)  # type: ignore[misc]

    async def dies(self) -> None:
        """Be killed: nothing is done on the hosts any more."""
        for host in self.hosts:
            if host._sweeper._timer.running:
                host._sweeper._timer.stop()
            await host.connection.stop()

    async def ends(self) -> None:
        """End all VMs."""
        for host in self.hosts:
            for machine in tuple(host.live.by_id.values()):
                await host.discard(machine)
            host.frozen.clear()
            await host.stop_when_empty()


@pytest_twisted.async_yield_fixture
async def masters(labs: tuple[Lab, Lab]) -> AsyncIterator[list[Master]]:
    """Take the masters that a test starts; the last one is to leave nothing."""
    masters: list[Master] = []
    yield masters
    await masters[-1].ends()
    for lab in labs:
        assert lab.domains() == owned(lab) == []


def owned(lab: Lab) -> list[str]:
    """Return the names of all volumes that have an owner, as far as libvirt knows."""
    with lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        storage.refresh(pool)
        return sorted(filter(OwnedVolume.parse, pool.listVolumes()))


async def until(condition: Callable[[], object]) -> None:
    """Wait, without holding up the reactor, until *condition* is true."""

    async def poll() -> None:
        while not condition():
            await deferLater(reactor, 0.05, lambda: None)

    await Deferred.fromCoroutine(poll()).addTimeout(DEADLINE, reactor)


def _plan(record: VmRecord) -> MachinePlan:
    return MachinePlan(slot=1, record=record, vm=a_spec(image="remembering", memory="128MiB"))


def vm_of(machine: Machine, host: Host) -> VM:
    allocation = Allocation("label", host.name, 1, Size())
    return VM(allocation, LabelConfig(image="remembering"), host, machine)


async def held(host: Host) -> VM:
    """Boot a VM, and hold it."""
    vm_id = secrets.token_hex(8)
    record = VmRecord(OWNER.id, OWNER.master, OWNER.pool, vm_id, "label", "w", "i", "s")
    machine = host.new_machine(_plan(record))
    vm = vm_of(machine, host)
    await vm.start()
    until = datetime.now(UTC) + timedelta(hours=1)
    await machine.mark(state="held", until=until.isoformat(timespec="seconds"))
    return vm


async def moved(frozen: FrozenVm, source: Host, target: Host) -> VM:
    """Thaw a VM on another host."""
    machine = target.new_machine(_plan(replace(frozen.record, state="held", saved="")))
    try:
        await target.freezing.move_of(frozen, source).run(machine)
    except BaseException:
        target.leave_to_the_host(machine)
        raise
    return vm_of(machine, target)


async def says(vm: VM, number: int) -> str:
    """Type a line; return what the guest says then, after what it has counted."""

    def said() -> str:
        text = str(vm.machine.guest.with_console(GuestError("so far")))
        return text.partition(f"count {number}, line {number} of ")[2]

    await vm.machine.write_to_console(b"\n")
    await until(lambda: "." in said())
    return said().partition(".")[0]


@pytest_twisted.ensureDeferred
async def test_the_same_processes_go_on_on_another_host_with_open_files_and_disk(
    labs: tuple[Lab, Lab],
    remembering: LocalImage,
    masters: list[Master],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There and back, and under the next master. It moves nowhere without its image.

    The host that it leaves is taken from the pool then, and the second one is given back at once.
    """
    labs[0].publish(remembering)
    masters.append(master := Master(labs))
    await master.start(master.alpha, master.beta)
    vm = await held(master.alpha)
    before = await says(vm, 1)
    assert before.count(before.partition(" in ")[2][:36]) == 2, "the disk has the boot id, too"
    frozen = await master.alpha.freezing.freeze(vm.machine, GIB)

    with pytest.raises(ConfigurationError) as refused:
        await moved(frozen, master.alpha, master.beta)
    for part in (frozen.vm_id, "host alpha", "host beta", "remembering", "not published there"):
        assert part in refused.value.brief
    assert "image publish remembering" in str(refused.value.resolution)
    assert owned(labs[1]) == []
    assert [each.vm_id for each in master.alpha.frozen] == [frozen.vm_id]

    labs[1].publish(remembering)
    await until(lambda: not master.beta.blocked_slots)
    with _slow_copy(monkeypatch) as goes_on:
        moving = Deferred.fromCoroutine(moved(frozen, master.alpha, master.beta))
        # As when the host leaves the pool's file.
        left = Deferred.fromCoroutine(master.alpha.stop_when_empty(timeout=None))
        goes_on()
        there = await moving

    assert await says(there, 2) == before
    await left
    assert owned(labs[0]) == []
    assert not list(master.alpha.frozen)
    assert not await master.beta.free_leftovers()
    await master.dies()

    masters.append(master := Master(labs))
    await master.start(master.alpha, master.beta)
    (machine,) = master.adopted
    await machine.listen()
    there = vm_of(machine, master.beta)
    assert await says(there, 3) == before
    frozen = await master.beta.freezing.freeze(machine, GIB)
    volumes = owned(labs[1])
    with _slow_copy(monkeypatch) as goes_on:
        moving = Deferred.fromCoroutine(moved(frozen, master.beta, master.alpha))
        left = Deferred.fromCoroutine(master.beta.stop_when_empty(timeout=None))
        await master.start(back := master.another("beta", labs[1]))
        assert not await back.free_leftovers()
        assert (owned(labs[1]), list(back.frozen)) == (volumes, [])
        goes_on()
        there = await moving
    assert await says(there, 4) == before
    await left
    assert owned(labs[1]) == []


@contextmanager
def _slow_copy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Let no VM be copied before what is given is called."""
    is_to_go_on, copy = Event(), copying.copy

    def waiting(*arguments: Any) -> FrozenVm:
        assert is_to_go_on.wait(DEADLINE)
        return copy(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(copying, "copy", waiting)
        try:
            yield is_to_go_on.set
        finally:
            is_to_go_on.set()


COPYING = """
import sys
import threading
import libvirt
from latent_libvirt.host.states.moving.copying import End, copy
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states import frozen_io

source, target, pool, memory = sys.argv[1:]
(frozen,) = frozen_io.read_all(libvirt.open(source), pool, [OwnedVolume.parse(memory)]).whole
ends = [End(lambda uri=uri: libvirt.open(uri), pool) for uri in (source, target)]
copy(frozen, *ends, threading.Event())
"""


@pytest_twisted.ensureDeferred
async def test_a_master_that_is_killed_loses_neither_the_vm_nor_space(
    labs: tuple[Lab, Lab],
    remembering: LocalImage,
    masters: list[Master],
) -> None:
    """While it copies, when all is copied, and when the VM runs there and is still here.

    Nobody thaws the VM here as long as the other host, where it may run, cannot be asked.
    """
    for lab in labs:
        lab.publish(remembering)
    masters.append(master := Master(labs))
    await master.start(master.alpha, master.beta)
    vm = await held(master.alpha)
    before = await says(vm, 1)
    frozen = await master.alpha.freezing.freeze(vm.machine, GIB)
    volumes = owned(labs[0])
    await master.dies()

    for stage in ("in the middle", "at the end"):
        _copy_and_die(labs, frozen, in_the_middle=stage == "in the middle")
        masters.append(master := Master(labs))
        await master.start(master.alpha, master.beta)
        assert (owned(labs[0]), owned(labs[1])) == (volumes, []), stage
        assert not list(master.beta.frozen)
        (frozen,) = master.alpha.frozen
        await master.dies()

    with _moving(labs, moving_master.BEFORE_IT_RUNS) as printed:
        assert printed.readline() == "waiting\n"
    masters.append(master := Master(labs))
    await master.start(master.alpha)
    (frozen,) = master.alpha.frozen
    why, _ = where_it_may_run(frozen, master.hosts) or ("", "")
    assert "it may run on host beta" in why, "what was killed did not reach that"
    await master.start(master.beta)
    assert (owned(labs[0]), owned(labs[1])) == (volumes, [])
    assert where_it_may_run(frozen, master.hosts) is None
    await master.dies()

    with _moving(labs, moving_master.BEFORE_IT_IS_DELETED):
        await until(labs[1].domains)
    await until(lambda: _runs(labs[1]))
    labs[1].sandbox.kill()
    masters.append(master := Master(labs))
    master.beta.start()
    await master.start(master.alpha)
    await until(lambda: "not connected" not in master.beta.trouble)
    (frozen,) = master.alpha.frozen
    why, remedy = where_it_may_run(frozen, master.hosts) or ("", "")
    assert "it may run on host beta" in why
    assert master.beta.trouble in why
    assert "See to host beta. If that host is gone for good" in remedy
    assert owned(labs[0]) == volumes, "nothing is lost if that host never comes back"
    labs[1].sandbox.restart()
    await until(lambda: master.beta.usable)
    await master.alpha.free_leftovers()
    assert not list(master.alpha.frozen)
    assert owned(labs[0]) == []
    (machine,) = master.adopted
    await machine.listen()
    assert await says(vm_of(machine, master.beta), 2) == before


@contextmanager
def _moving(labs: tuple[Lab, Lab], step: str) -> Iterator[IO[str]]:
    """Let a master move the VM up to that step, and kill it; give what it prints."""
    uris = [lab.uri for lab in labs]
    command = [sys.executable, moving_master.__file__, OWNER.master, step, *uris]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout
        finally:
            process.kill()


def _runs(lab: Lab) -> bool:
    with lab.connection() as connection:
        return [domain.state()[0] for domain in connection.listAllDomains()] == [
            libvirt.VIR_DOMAIN_RUNNING
        ]


def _copy_and_die(labs: tuple[Lab, Lab], frozen: FrozenVm, *, in_the_middle: bool) -> None:
    uris = [lab.uri for lab in labs]
    command = [sys.executable, "-c", COPYING, *uris, STORAGE_POOL, frozen.name.state]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + DEADLINE
        while in_the_middle and frozen.name.state not in owned(labs[1]):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if in_the_middle:
            process.kill()
        assert process.wait(DEADLINE) == (-9 if in_the_middle else 0)
    assert frozen.name.state in owned(labs[1])


@pytest_twisted.ensureDeferred
async def test_a_copy_that_fails_or_is_given_up_leaves_the_vm_where_it_was(
    labs: tuple[Lab, Lab],
    remembering: LocalImage,
    masters: list[Master],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is copied to a host with a lesser processor. A libvirtd may die on the way."""
    for lab in labs:
        lab.publish(remembering)
    masters.append(master := Master(labs))
    await master.start(master.alpha, master.beta)
    vm = await held(master.alpha)
    before = await says(vm, 1)
    frozen = await master.alpha.freezing.freeze(vm.machine, GIB)

    other = replace(frozen, xml=_with_another_cpu(frozen.xml))
    with pytest.raises(ConfigurationError, match=r"on host beta: the processor of .* cannot run"):
        await moved(other, master.alpha, master.beta)
    assert owned(labs[1]) == []
    await until(lambda: not master.beta.blocked_slots)

    monkeypatch.setattr(move, "TIMEOUT", 0.0)
    with pytest.raises(HostError, match=r"on host alpha, .* on host beta: it was not copied in"):
        await moved(frozen, master.alpha, master.beta)
    monkeypatch.undo()
    await until(lambda: not owned(labs[1]) and not master.beta.blocked_slots)

    machine = master.beta.new_machine(_plan(replace(frozen.record, state="held")))
    moving = master.beta.freezing.move_of(frozen, master.alpha)
    going = Deferred.fromCoroutine(moving.run(machine))
    await until(lambda: owned(labs[1]))
    await moving.give_up()
    with pytest.raises(HostError, match="was given up"):
        await going
    await master.beta.discard(machine)
    await master.beta.free_leftovers()
    assert owned(labs[1]) == []

    with _full_disk(labs[1], monkeypatch):
        with pytest.raises(HostError, match="on host beta: it could not be copied") as full:
            await moved(frozen, master.alpha, master.beta)
        assert "No space left on device" in str(full.value.details)
        await until(lambda: not owned(labs[1]) and not master.beta.blocked_slots)
    assert [each.vm_id for each in master.alpha.frozen] == [frozen.vm_id]

    cut_off = Deferred.fromCoroutine(moved(frozen, master.alpha, master.beta))
    await until(lambda: owned(labs[1]))
    labs[1].sandbox.kill()
    with pytest.raises(HostError, match=r"on host alpha, .* on host beta"):
        await cut_off
    await until(lambda: not master.beta.usable)  # a stream ends before the connection does
    labs[1].sandbox.restart()
    await until(lambda: master.beta.usable)
    await master.beta.free_leftovers()
    assert owned(labs[1]) == []

    there = await moved(frozen, master.alpha, master.beta)
    assert await says(there, 2) == before


@contextmanager
def _full_disk(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let somebody else fill the storage pool after there was space for the VM."""
    with lab.connection() as connection, monkeypatch.context() as patched:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        pool.refresh(0)
        size = int(pool.info()[3]) - 8 * MIB
        xml = f"<volume><name>filler</name><capacity>{size}</capacity></volume>"
        filler = pool.createXML(xml)
        patched.setattr(copying._Copying, "_check_space", lambda *_: None)
        yield
        filler.delete()


def _with_another_cpu(xml: str) -> str:
    """Return the XML of a VM that needs a processor that nobody has here."""
    root = etree.fromstring(xml)
    for cpu in root.findall("cpu"):
        root.remove(cpu)
    model = "<cpu mode='custom' match='exact'><model>Cascadelake-Server</model></cpu>"
    root.append(etree.fromstring(model))
    return etree.tostring(root, encoding="unicode")
