# SPDX-License-Identifier: GPL-2.0-only
"""A slot is saved and resumed on a real hypervisor: what is kept, what is not, and what if not.

The guests are tiny: each counts in its memory how often it was greeted, and says what is on its
disk. What a worker in a resumed VM finds is tested in ``test_resumed.py``.
"""

from __future__ import annotations

import os
import resource
import secrets
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import libvirt
import pytest
import pytest_twisted
from click.testing import CliRunner
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

import far_host
import lab as lab_module
import tiny_guests
from forgetful import Forgetful
from lab import STORAGE_POOL, Lab
from latent_libvirt.cli import main
from latent_libvirt.config import HostConfig, LabelConfig
from latent_libvirt.config.hardware.devices import DeviceConfig
from latent_libvirt.errors import ConfigurationError, GuestError, HostError
from latent_libvirt.guest.protocol import (
    Identity,
    MasterAddress,
)
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.plan import (
    MachinePlan,
    Start,
)
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import OwnedVolume, Owner
from latent_libvirt.host.volumes import storage
from latent_libvirt.images.local import LocalImage
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.vm import VM
from specs import a_spec

OWNER = Owner("saving:/master", "pool")
DEADLINE = 180.0
WORDS = "1024 bytes of it"

GREETED = """
count=0
disk() { head -c 16 /dev/vda | tr -d '\\\\0'; }
echo "It begins"
printf 'saved' | dd of=/dev/vda conv=notrunc 2>/dev/null
while :; do
    hear
    case $line in
        *'"hello"'*)
            count=$((count + 1)); echo "Greeted $count times, on my disk is $(disk)"
            echo '{"type": "waiting", "protocol": 1, "saves": true}' >&3 ;;
        *'"save"'*) sync; say saveable ;;
        *'"identity"'*)
            printf 'built!' | dd of=/dev/vda conv=notrunc 2>/dev/null; sync
            echo "Now on my disk is $(disk)"; say starting ;;
    esac
done
"""
"""Says how often it was greeted since it was booted, and writes to its disk."""

_FIND = """
disk() { for at in /sys/block/vd*; do [ "$(cat $at/serial)" = $1 ] && echo /dev/${at##*/}; done; }
on() { head -c 16 $(disk $1) | tr -d '\\0'; }
put() { printf "$2" | dd of=$(disk $1) conv=notrunc 2>/dev/null; }
"""

SEVERAL_DISKS = f"""{_FIND}
put cache booted; put tools booted; sync
while :; do
    hear
    case $line in
        *'"hello"'*) echo '{{"type": "waiting", "protocol": 1, "saves": true}}' >&3 ;;
        *'"save"'*) sync; say saveable ;;
        *'"identity"'*)
            echo 3 >/proc/sys/vm/drop_caches
            echo "cache of $(cat /sys/block/$(basename $(disk cache))/size) has $(on cache);" \
                "tools has $(on tools), sources has $(on sources)"
            put cache built!; put tools built!; sync
            echo "Now cache has $(on cache), tools has $(on tools)"; say starting ;;
    esac
done
"""
"""Writes to its disks when it boots and when it has an identity, and says what was on them."""

_ENDS = ("qcow2", "state")

NEVER_SAVES = GREETED.replace(', "saves": true', "")

DIES_WHEN_IT_IS_GREETED_AGAIN = GREETED.replace(
    "count=$((count + 1));", "count=$((count + 1)); [ $count = 1 ] || poweroff -f;"
)


@pytest.fixture(scope="module")
def hypervisor(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, image: LocalImage
) -> Iterator[Lab]:
    with lab_module.running(tmp_path_factory.mktemp("lab"), cache=cache) as lab:
        for name, script in {
            "greeted": GREETED,
            "never-saves": NEVER_SAVES,
            "dies": DIES_WHEN_IT_IS_GREETED_AGAIN,
            "several": SEVERAL_DISKS,
        }.items():
            directory = tmp_path_factory.mktemp("images") / name
            lab.publish(tiny_guests.make(directory, image, name, script))
        yield lab


class Hypervisor:
    """What is on the host, seen from outside, and a pool's host on it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.hosts: list[Host] = []
        self.events: list[str] = []

    def host(self, owner: Owner = OWNER, *, uri: str = "") -> Host:
        uri = uri or self.lab.uri
        config = HostConfig(uri=uri, slots=3, storage_pool=STORAGE_POOL, accelerator="tcg")
        context = PoolContext(owner, {}, Forgetful(), lambda: None, reactor)
        host = Host("here", config, context)
        self.hosts.append(host)
        host.start()
        return host

    async def stop(self, host: Host) -> None:
        """Let the master that *host* is of end."""
        self.hosts.remove(host)
        await host.stop_when_empty()

    @contextmanager
    def pool(self) -> Iterator[libvirt.virStoragePool]:
        with self.lab.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            pool.refresh(0)
            yield pool

    def volumes(self) -> list[str]:
        """Return the names of all volumes of saved states."""
        with self.pool() as pool:
            return sorted(name for name in pool.listVolumes() if OwnedVolume.saved(name))

    def path(self, volume: str) -> Path:
        with self.pool() as pool:
            return Path(pool.storageVolLookupByName(volume).path())


@pytest_twisted.async_yield_fixture
async def here(hypervisor: Lab) -> AsyncIterator[Hypervisor]:
    """Give the hypervisor, empty; see that nothing but saved states is left."""
    here = Hypervisor(hypervisor)
    yield here
    for host in here.hosts:
        await host.stop_when_empty()
    assert hypervisor.leftovers() == []
    with here.pool() as pool:
        for name in pool.listVolumes():
            if OwnedVolume.saved(name) or OwnedVolume.overlay(name):
                pool.storageVolLookupByName(name).delete(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait, without holding up the reactor, until *condition* is true."""

    async def poll() -> None:
        while not condition():
            await deferLater(reactor, 0.05, lambda: None)

    await Deferred.fromCoroutine(poll()).addTimeout(DEADLINE, reactor)


async def new_vm(
    host: Host,
    image: str = "greeted",
    *,
    slot: int = 1,
    start: Start = "resume",
    spec_hash: str = "wishes",
    memory: int = 128 * 2**20,
    **label: object,
) -> VM:
    """Put a VM on record."""
    await until(lambda: host.usable)
    record = VmRecord(
        owner_id=host.owner.id,
        master=host.owner.master,
        pool=host.owner.pool,
        vm_id=secrets.token_hex(8),
        label="label",
        worker="w",
        image=image,
        since="s",
        spec_hash=spec_hash,
    )
    plan = MachinePlan(
        slot=slot,
        record=record,
        vm=a_spec(image=image, memory=f"{memory // 2**20}MiB", **label),
        start=start,
    )
    place = Allocation("label", host.name, slot, Size(1, memory))
    return VM(place, LabelConfig(image=image), host, host.new_machine(plan))


async def started(host: Host, image: str = "greeted", **what: object) -> VM:
    vm = await new_vm(host, image, **what)  # type: ignore[arg-type]
    await vm.start()
    return vm


async def saved(host: Host, image: str = "greeted", **spec_hash: object) -> None:
    """Save a slot, and nothing else."""
    vm = await started(host, image, start="save", **spec_hash)
    await host.discard(vm.machine)


def _says(vm: VM, text: str) -> bool:
    return text in said(vm)


def said(vm: VM) -> str:
    """Return the last that its console said."""
    return str(vm.machine.guest.with_console(GuestError("so far")))


def assign(vm: VM) -> Awaitable[None]:
    return vm.machine.assign(Identity("w", "secret", MasterAddress("10.0.2.2", 9), "worker"))


@pytest_twisted.ensureDeferred
async def test_a_first_vm_is_saved_on_its_way_and_the_next_ones_go_on_from_there(
    here: Hypervisor,
) -> None:
    host = here.host()

    first = await started(host)
    second_in_another_slot = await started(host, slot=2)
    await host.discard(first.machine)
    next_one = await started(host)

    assert list(first.timeline.phases) == ["prepare", "clone", "boot", "save", "resume"]
    assert list(second_in_another_slot.timeline.phases)[2:] == ["boot", "save", "resume"]
    assert list(next_one.timeline.phases) == ["prepare", "resume"]
    assert "It begins" in said(first)
    assert "It begins" not in said(next_one)
    assert "Greeted 2 times" in said(next_one)
    await host.discard(second_in_another_slot.machine)
    await host.discard(next_one.machine)
    assert len(here.volumes()) == 4


@pytest_twisted.ensureDeferred
async def test_ten_messages_at_most_pass_before_a_resumed_vm_runs(
    here: Hypervisor, tmp_path: Path
) -> None:
    with far_host.FarHost(here.lab.uri, tmp_path / "far").running() as far:
        host = here.host(uri=far.uri)
        await saved(host)
        far.calls.clear()

        vm = await started(host)
        await host.discard(vm.machine)
        messages = far.messages()
        await here.stop(host)

    before = messages[: messages.index(far_host.DOMAIN_RESUME) + 1]
    assert len(before) <= 10, before
    assert len(messages) <= 14, messages


@pytest_twisted.ensureDeferred
async def test_each_resumed_vm_has_the_disk_as_it_was_when_the_memory_was_saved(
    here: Hypervisor,
) -> None:
    host = here.host()
    await saved(host)

    for _ in range(2):
        vm = await started(host)
        await assign(vm)
        await until(lambda: "on my disk is saved" in said(vm))  # noqa: B023
        await until(partial(_says, vm, "Now on my disk is built!"))
        await host.discard(vm.machine)


@pytest_twisted.ensureDeferred
async def test_a_saved_state_is_for_the_hypervisors_user_alone_and_says_whose_it_is(
    here: Hypervisor,
) -> None:
    host = here.host()
    await saved(host)

    names = here.volumes()
    assert [name.rpartition(".")[2] for name in names] == ["qcow2", "state"]
    for name in names:
        found = OwnedVolume.saved(name)
        assert found is not None
        assert (found.owner_id, found.slot) == (OWNER.id, 1)
        mode = here.path(name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o600
    (state,) = host.saved.states
    assert state.size >= sum(here.path(name).stat().st_blocks * 512 for name in names)
    assert here.lab.domains() == []


@pytest_twisted.ensureDeferred
async def test_the_domain_of_a_resumed_vm_says_who_has_it_now(here: Hypervisor) -> None:
    host = here.host()
    await saved(host)

    vm = await started(host)
    await vm.machine.mark(worker="somebody")

    with here.lab.connection() as connection:
        domain = connection.lookupByName("latent-libvirt-1")
        assert "worker somebody" in domain.metadata(libvirt.VIR_DOMAIN_METADATA_TITLE, None)
        assert vm.vm_id in domain.XMLDesc()
    await host.discard(vm.machine)


@pytest_twisted.ensureDeferred
async def test_the_next_master_of_that_name_goes_on_with_what_is_saved(here: Hypervisor) -> None:
    host = here.host()
    await saved(host)
    await here.stop(host)

    vm = await started(here.host())

    assert list(vm.timeline.phases) == ["prepare", "resume"]
    await vm.host.discard(vm.machine)


@pytest_twisted.ensureDeferred
async def test_what_was_not_saved_to_its_end_is_swept(here: Hypervisor) -> None:
    """As if the master had been killed while it was saved."""
    host = here.host()
    await saved(host)
    await here.stop(host)
    memory = here.path(next(name for name in here.volumes() if name.endswith(".state")))
    with memory.open("r+b") as file:
        assert file.read(16) == b"LibvirtQemudSave"
        file.seek(0)
        file.write(b"LibvirtQemudPart")

    host = here.host()
    await until(lambda: host.usable)

    assert here.volumes() == []
    assert list(host.saved.states) == []


@pytest_twisted.ensureDeferred
async def test_what_another_master_has_saved_is_left_alone_until_that_is_dead(
    here: Hypervisor,
) -> None:
    other = Owner("saving:/master2", "pool")
    host = here.host(other)
    await saved(host)
    await here.stop(host)

    living = here.host()
    await until(lambda: living.usable)
    assert len(here.volumes()) == 2
    assert list(living.saved.states) == []

    async def dead(_pools: object) -> frozenset[str]:
        return frozenset({other.id})

    sweeper = living._sweeper
    sweeper._context = replace(sweeper._context, dead_owners=dead)
    await living.free_leftovers()
    assert here.volumes() == []


@pytest_twisted.ensureDeferred
async def test_a_state_that_cannot_be_restored_is_thrown_away_and_the_slot_boots(
    here: Hypervisor,
) -> None:
    host = here.host()
    await saved(host)
    before = here.volumes()
    memory = here.path(next(name for name in before if name.endswith(".state")))
    os.truncate(memory, memory.stat().st_size // 2)

    vm = await started(host)

    assert list(vm.timeline.phases) == ["prepare", "resume", "clone", "boot"]
    await until(lambda: "It begins" in said(vm))
    await until(lambda: here.volumes() == [])
    await host.discard(vm.machine)
    again = await started(host)
    assert list(again.timeline.phases) == ["prepare", "clone", "boot", "save", "resume"]
    await host.discard(again.machine)


@pytest_twisted.ensureDeferred
async def test_a_vm_has_the_disks_of_its_label_as_they_were_saved_and_leaves_none_of_them(
    here: Hypervisor,
) -> None:
    with here.pool() as pool:
        for name, kind in (("tools.qcow2", "qcow2"), ("sources.img", "raw")):
            capacity = "<capacity unit='MiB'>1</capacity>"
            format_ = f"<target><format type='{kind}'/></target>"
            pool.createXML(f"<volume><name>{name}</name>{capacity}{format_}</volume>")
    here.path("sources.img").write_bytes(b"given" + bytes(2**20 - 5))
    disks: list[dict[str, object]] = [
        {"name": "cache", "size": "64MiB"},
        {"name": "tools", "volume": "tools.qcow2"},
        {"name": "sources", "volume": "sources.img", "read_only": True},
    ]
    host = here.host()
    ways = []
    for _ in range(3):
        vm = await started(host, "several", disks=disks)
        ways.append(list(vm.timeline.phases))
        await assign(vm)
        await until(partial(_says, vm, "Now cache has built!, tools has built!"))
        assert "cache of 131072 has booted; tools has booted, sources has given" in said(vm)
        await host.discard(vm.machine)
        assert here.lab.overlays() == []

    assert ways == [["prepare", "clone", "boot", "save", "resume"], *([["prepare", "resume"]] * 2)]
    assert len(here.volumes()) == 4
    await _is_swept(here, host)
    await _goes_when_a_volume_changes(here, host, disks)


async def _is_swept(here: Hypervisor, host: Host) -> None:
    """As if the master had been killed after it had made a disk, or while it deleted a state."""
    with here.pool() as pool:
        for key in ("", "0" * 24):
            left = OwnedVolume(OWNER.id, 1, "aa", key).of_disk(2)
            storage.create_empty(pool, left, capacity=2**20)

    await host.free_leftovers()

    assert here.lab.overlays() == []
    assert len(here.volumes()) == 4


async def _goes_when_a_volume_changes(
    here: Hypervisor, host: Host, disks: Sequence[Mapping[str, object]]
) -> None:
    here.path("sources.img").write_bytes(b"other" + bytes(2**20 - 5))

    vm = await started(host, "several", disks=disks)

    assert "boot" in vm.timeline.phases
    await host.discard(vm.machine)
    await until(lambda: len(here.volumes()) == 4)
    with here.pool() as pool:
        for name in ("tools.qcow2", "sources.img"):
            pool.storageVolLookupByName(name).delete(0)
    gone = await new_vm(host, "several", disks=disks)
    with pytest.raises(ConfigurationError, match="has no volume 'tools"):
        await gone.start()
    await host.discard(gone.machine)


def _pins(lab: Lab) -> list[list[tuple[bool, ...]]]:
    """Return, for each VM, the CPUs that each of its vCPUs may run on."""
    with lab.connection() as connection:
        return [domain.vcpuPinInfo() for domain in connection.listAllDomains()]


@pytest_twisted.ensureDeferred
async def test_pinned_vms_share_no_cpu_booted_or_resumed_and_whatever_another_master_says(
    here: Hypervisor,
) -> None:
    mine, other = here.host(), here.host(Owner("other:/m", "pool"))
    mine.config = mine.config.model_copy(update={"pinned_cpus": ("0", "1")})
    first = await started(mine, cpu_pinning=True)
    second = await started(mine, slot=2, cpu_pinning=True)

    assert sorted(pin[0][:2] for pin in _pins(here.lab)) == [(False, True), (True, False)]
    await mine.discard(second.machine)
    again = await started(mine, slot=2, cpu_pinning=True)
    assert list(again.timeline.phases) == ["prepare", "resume"]
    assert sorted(pin[0][:2] for pin in _pins(here.lab)) == [(False, True), (True, False)]

    other.config = other.config.model_copy(update={"pinned_cpus": ("1", "1", "0")})
    theirs = await new_vm(other, slot=3, start="boot", cpu_pinning=True)
    with pytest.raises(ConfigurationError, match="has CPU 0, and so has domain latent-libvirt-1"):
        await theirs.start()
    for vm in (first, again, theirs):
        await vm.host.discard(vm.machine)


@pytest_twisted.ensureDeferred
async def test_a_device_that_the_host_does_not_have_is_the_configurations_fault(
    here: Hypervisor,
) -> None:
    host = here.host()
    device = DeviceConfig.model_validate({"name": "gpu", "addresses": ["00ff:ff:1f.7"]})
    host.config = host.config.model_copy(update={"devices": (device,)})

    vm = await new_vm(host, start="boot", devices=["gpu"])
    with pytest.raises(ConfigurationError, match="because of its size or hardware"):
        await vm.start()
    await host.discard(vm.machine)


@contextmanager
def little_memory(lab: Lab) -> Iterator[None]:
    """Let libvirtd's next QEMU have no address space for a large guest, which it asks for itself.

    A limit of libvirtd's is one of its children's. It gets what it uses already, and a little more.
    """
    libvirtd = _child(lab.sandbox.pid, "libvirtd")
    used = int(Path(f"/proc/{libvirtd}/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.prlimit(libvirtd, resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(libvirtd, resource.RLIMIT_AS, before)


def _child(parent: int, name: str) -> int:
    """Return the process of that name below *parent*."""
    below = [parent]
    for pid in below:
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            return pid
        tasks = Path(f"/proc/{pid}/task").iterdir()
        below += [int(child) for task in tasks for child in (task / "children").read_text().split()]
    raise AssertionError(f"no {name} below {parent}")


@pytest_twisted.ensureDeferred
async def test_a_state_outlives_a_host_that_has_no_memory_for_now(here: Hypervisor) -> None:
    host = here.host()
    large = 2 * 2**30
    await saved(host, memory=large)
    before = here.volumes()

    vm = await new_vm(host, memory=large)
    with little_memory(here.lab), pytest.raises(HostError, match="Cannot allocate memory"):
        await vm.start()
    await host.discard(vm.machine)

    assert here.volumes() == before
    again = await started(host, memory=large)
    assert list(again.timeline.phases) == ["prepare", "resume"]
    await host.discard(again.machine)


@pytest_twisted.ensureDeferred
async def test_a_state_whose_guest_does_not_come_back_is_thrown_away_and_the_slot_boots(
    here: Hypervisor,
) -> None:
    host = here.host()
    await saved(host, "dies")

    vm = await started(host, "dies", start="resume")

    assert list(vm.timeline.phases) == ["prepare", "resume", "clone", "boot"]
    assert list(host.saved.states) == []
    await until(lambda: "Greeted 1 times" in said(vm))
    await until(lambda: here.volumes() == [])
    await host.discard(vm.machine)


@pytest_twisted.ensureDeferred
async def test_an_image_whose_launcher_knows_nothing_of_it_is_booted_and_that_is_said_once(
    here: Hypervisor,
) -> None:
    host = here.host()

    vm = await started(host, "never-saves")
    await host.discard(vm.machine)
    again = await started(host, "never-saves")

    assert "launcher" in host.saved.states.why_unfit(vm.machine.image_digest)
    assert list(again.timeline.phases) == ["prepare", "clone", "boot"]
    assert here.volumes() == []
    await host.discard(again.machine)


@pytest_twisted.ensureDeferred
async def test_other_hardware_is_not_resumed_from_and_the_old_state_goes(
    here: Hypervisor,
) -> None:
    host = here.host()
    await saved(host)
    before = here.volumes()

    vm = await started(host, memory=160 * 2**20)

    assert list(vm.timeline.phases) == ["prepare", "clone", "boot", "save", "resume"]
    await until(lambda: not set(here.volumes()) & set(before))
    await host.discard(vm.machine)


@pytest_twisted.ensureDeferred
async def test_a_state_is_not_deleted_below_a_vm_that_was_resumed_from_it(
    here: Hypervisor,
) -> None:
    host = here.host()
    await saved(host)
    vm = await started(host)
    (state,) = host.saved.states

    host.saved.retire(state, "it is not wanted any more")
    await host.free_leftovers()
    assert len(here.volumes()) == 2

    await host.discard(vm.machine)
    await until(lambda: here.volumes() == [])


@pytest_twisted.ensureDeferred
async def test_a_vm_given_up_while_it_is_saved_leaves_nothing(here: Hypervisor) -> None:
    host = here.host()
    vm = await new_vm(host)
    starting = Deferred.fromCoroutine(vm.start())
    starting.addErrback(lambda _failure: None)
    await until(lambda: "save" in (vm.timeline.current or ()))

    await host.discard(vm.machine)
    await starting
    await host.free_leftovers()

    # Perhaps it was saved just in time.
    assert here.volumes() in ([], [f"{s.name}.{e}" for s in host.saved.states for e in _ENDS])


@pytest.mark.parametrize("end", _ENDS)
@pytest_twisted.ensureDeferred
async def test_a_slot_boots_if_somebody_has_deleted_what_it_was_saved_as(
    here: Hypervisor, end: str
) -> None:
    host = here.host()
    await saved(host)
    here.path(next(name for name in here.volumes() if name.endswith(end))).unlink()

    vm = await started(host)

    assert "boot" in vm.timeline.phases
    assert list(host.saved.states) == []
    await until(lambda: here.volumes() == [])
    await host.discard(vm.machine)


@pytest_twisted.ensureDeferred
async def test_what_somebody_has_deleted_is_noticed(here: Hypervisor) -> None:
    host = here.host()
    await saved(host)
    for name in here.volumes():
        here.path(name).unlink()

    await host.free_leftovers()

    assert list(host.saved.states) == []


@pytest_twisted.ensureDeferred
async def test_what_a_dead_master_has_saved_is_freed_by_its_name_without_any_master(
    here: Hypervisor,
) -> None:
    host, other = here.host(), here.host(Owner("saving:/master2", "pool"))
    await saved(host)
    await saved(other, slot=2)
    await here.stop(host)
    await here.stop(other)
    place = ("--uri", here.lab.uri, "--pool", STORAGE_POOL)
    invoke = CliRunner().invoke

    listed = await deferToThread(invoke, main, ["sweep", "--list", *place])
    freed = await deferToThread(invoke, main, ["sweep", "--owner", OWNER.master, "--yes", *place])

    assert f"{OWNER.id} (saving:/master, pool pool): 0 domains, 0 overlays, 1 saved states" in (
        listed.stdout
    )
    assert freed.exit_code == 0, freed.output
    assert here.volumes()
    assert all(f".{other.owner.id}." in name for name in here.volumes())
