# SPDX-License-Identifier: GPL-2.0-only
"""The pool: all parts that decide which VMs exist and for whom, put together once.

Room is in ``room/`` and ``allocator.py``, builds are let in by ``admission.py``. VMs are in
``vms.py``, ``leases.py``, ``spares.py`` and ``holding/``, what they are resumed from in
``upkeep/state_saver.py``, and hosts in ``hosts.py``. Neither Buildbot nor libvirt is known here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.config.hardware.choice import chosen_size
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import CapacityError, ConfigurationError
from latent_libvirt.guest.protocol import Identity
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.proxy.file_cache import FileCache
from latent_libvirt.pool.admission import Admission
from latent_libvirt.pool.allocator import Allocator
from latent_libvirt.pool.events import NullEvents
from latent_libvirt.pool.holding import failed_builds
from latent_libvirt.pool.holding.freezer import Freezer
from latent_libvirt.pool.holding.frozen import AllFrozen
from latent_libvirt.pool.holding.holds import Holds
from latent_libvirt.pool.holding.notes import FrozenNotes
from latent_libvirt.pool.holding.thawing.conditions import Conditions
from latent_libvirt.pool.holding.thawing.running_thaws import RunningThaws
from latent_libvirt.pool.holding.thawing.thaws import Thaws
from latent_libvirt.pool.host_backoff import HostBackoff
from latent_libvirt.pool.hosts import Hosts
from latent_libvirt.pool.leases import Leases
from latent_libvirt.pool.plan import size_of
from latent_libvirt.pool.records.attempts import Attempts
from latent_libvirt.pool.records.history import History
from latent_libvirt.pool.records.rollout.canaries import Canaries
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.capacity import Capacity
from latent_libvirt.pool.room.caps import Caps
from latent_libvirt.pool.spares import Spares
from latent_libvirt.pool.upkeep.image_check import ImageCheck
from latent_libvirt.pool.upkeep.missing_images import MissingImages
from latent_libvirt.pool.upkeep.state_saver import StateSaver
from latent_libvirt.pool.usable import UsableSlots
from latent_libvirt.pool.vms import VmRegistry
from latent_libvirt.pool.ways import Ways
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from pathlib import Path

    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.host.context import ChangeDomain
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.domains.slot_domains import SlotDomain
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.kvm.accelerator import ProbeMemory
    from latent_libvirt.host.meters.usage import Reading
    from latent_libvirt.host.names import Owner
    from latent_libvirt.pool.allocator import Evictable, Grant
    from latent_libvirt.pool.events import PoolEvents
    from latent_libvirt.pool.holding.notes import FrozenMemory
    from latent_libvirt.pool.hosts import MakeHost
    from latent_libvirt.pool.lease import Lease, LeaseReport
    from latent_libvirt.pool.leases import Identify
    from latent_libvirt.pool.records.rollout.canaries import RolloutMemory
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.vm import VM
    from latent_libvirt.pool.ways import WorkerPort

FindOwners = Callable[[Collection[str]], Awaitable[frozenset[str]]]
"""Returns ids of owners; called with the names of the pools that they may have had."""


@dataclass(frozen=True)
class Environment:
    """The process around a pool.

    :param is_running: whether it takes VMs over; one that stops does not.
    :param room_changed: called when a build may find room.
    :param lease_ended: called when nothing is left of a worker's VM.
    :param memory: keeps the results of KVM probes.
    :param dead_owners: those that will never come back for their VMs.
    :param failed_over_owners: those whose jobs were given to others; they may come back for spares.
    :param rollouts: keeps what is known of versions of images.
    :param abandoned: called with a host's name, the record and the size of a VM that served a build
        whose master was killed, and what that VM has used.
    :param hold_lost: called with the id of a VM that is not held although an operator has asked for
        that, with who that was, and why it is not.
    :param frozen: keeps what is known of frozen VMs.
    :param waiting: returns the labels of jobs that start as soon as they have room.
    :param make_host: makes a host; tests make some on paper.
    :param change_domain: returns the function of ``master.cfg`` that changes domains, if any.
    :param cache: a directory for packages that guests have fetched; ``None`` to keep none.
    """

    reactor: Any
    is_running: Callable[[], bool]
    room_changed: Callable[[], None]
    lease_ended: Callable[[LeaseReport], None]
    memory: ProbeMemory
    dead_owners: FindOwners
    failed_over_owners: FindOwners
    make_host: MakeHost
    rollouts: RolloutMemory
    frozen: FrozenMemory
    events: PoolEvents = field(default_factory=NullEvents)
    cache: Path | None = None
    change_domain: Callable[[], ChangeDomain | None] = lambda: None
    abandoned: Callable[[str, VmRecord, Size, Reading], None] = lambda *_: None
    hold_lost: Callable[[str, str, str], None] = lambda *_: None
    waiting: Callable[[], Collection[str]] = frozenset

    def file_cache(self, space: Callable[[], int]) -> FileCache | None:
        """Return the cache of what guests fetch.

        :param space: returns how many bytes it may have.
        """
        return None if self.cache is None else FileCache(self.cache, space, reactor=self.reactor)


class VmPool:
    """The VMs of one master.

    :param owner: whose VMs they are, on every host.
    """

    def __init__(self, config: PoolConfig, owner: Owner, environment: Environment) -> None:
        self.config = config
        self.owner = owner
        self.name = owner.pool
        self.events = environment.events
        self._environment = environment
        self._machines: dict[str, Machine] = {}
        reactor = environment.reactor

        def current() -> PoolConfig:
            return self.config

        self._cache = environment.file_cache(lambda: self.config.master.fetch_cache)
        self._ways = Ways(self._cache)
        self.attempts = Attempts()
        self.capacity = Capacity(Caps.of(config))
        self.hosts = Hosts(environment.make_host)
        self.host_backoff = HostBackoff(lambda: passed(reactor), changed=self.hosts_changed)
        self.history = History(reactor.seconds)
        self.canaries = Canaries(
            current, memory=environment.rollouts, events=self.events, ended=self._check_images
        )
        self.registry = VmRegistry(
            self.capacity,
            self.hosts,
            config=current,
            owner=owner,
            host_backoff=self.host_backoff,
            changed=self.room_changed,
            events=self.events,
            history=self.history,
            canaries=self.canaries,
        )
        self.missing_images = MissingImages(current, lambda: self.hosts.too_small(self.config))
        self.spares = Spares(
            self.registry, self.capacity, self.missing_images, config=current, reactor=reactor
        )
        self.state_saver = StateSaver(
            self.registry,
            self.capacity,
            self.hosts,
            self.missing_images,
            config=current,
            waiting=environment.waiting,
            reactor=reactor,
        )
        self.image_check = ImageCheck(
            self.hosts,
            self.spares,
            self.state_saver,
            self.canaries,
            self.missing_images,
            config=current,
            changed=self.hosts_changed,
            reactor=reactor,
        )
        self.holds = Holds(self.registry, self.capacity, config=current, reactor=reactor)
        self.freezer = Freezer(self.registry, self.holds, config=current)
        running_thaws = RunningThaws(
            self.registry, self.holds, thawed=self._thawed, reactor=reactor
        )
        self.frozen = AllFrozen(self.registry, self.hosts, running_thaws)
        self.thaws = Thaws(
            self.frozen,
            running_thaws,
            Conditions(self.frozen, self.capacity, config=current),
            evictable=self._evictable,
            changed=self.hosts_changed,
        )
        self.usable = UsableSlots(
            self.capacity,
            self.hosts,
            self.host_backoff,
            self.state_saver,
            self.missing_images,
            reserved=self.thaws.reserved,
            config=current,
        )
        self.frozen_notes = FrozenNotes(
            self.hosts, environment.frozen, reactor, running=self.frozen.running
        )
        self.allocator = Allocator(self.capacity, self.spares, self._evictable)
        self.leases = Leases(
            self.registry,
            self.allocator,
            self.holds,
            attempts=self.attempts,
            make_vm=self._vm_in,
            hold_lost=self._hold_lost,
        )
        self.admission = Admission(
            self.capacity,
            self.allocator,
            self.leases,
            config=current,
            room_changed=self.room_changed,
        )

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return float(self._environment.reactor.seconds())

    def _hold_lost(self, vm: VM, user: str, why: str) -> None:
        self.history.note_lost_hold(vm, user, why)
        self._environment.hold_lost(vm.vm_id, user, why)

    def _thawed(self, vm_id: str) -> None:
        self.frozen_notes.forget(vm_id)

    # Its configuration, its start and its end.

    def configure(self, config: PoolConfig) -> None:
        """Follow *config* from now on: running VMs keep what they have."""
        known = self.admission.withdrawn.union(self.config.labels)
        self.admission.withdrawn = known.difference(config.labels)
        before, self.config = self.config, config
        if self._cache is not None and config.master.fetch_cache < before.master.fetch_cache:
            self._cache.shrink()
        self.capacity.caps = Caps.of(config)
        self.frozen_notes.look()  # before a host leaves
        self.hosts.configure(config.hosts, self._context())
        self.hosts_changed()

    def _context(self) -> PoolContext:
        return PoolContext(
            owner=self.owner,
            machines=self._machines,
            memory=self._environment.memory,
            changed=self._host_may_have_changed,
            reactor=self._environment.reactor,
            adopt=self._adopt,
            dead_owners=self._environment.dead_owners,
            failed_over_owners=self._environment.failed_over_owners,
            twin=self.hosts.twin_of,
            events=self.events,
            change_domain=self._environment.change_domain,
            abandoned=self._abandoned,
        )

    def _abandoned(self, host: str, record: VmRecord, reading: Reading) -> None:
        label = self.config.labels.get(record.label)
        known = Size(label.vcpus, label.memory) if label is not None else Size(0, 0)
        size = size_of(self.config, record) or known
        self._environment.abandoned(host, record, size, reading)

    def _adopt(self, host: Host, domain: SlotDomain) -> bool:
        record = domain.record
        if record is None or not self._environment.is_running():
            return False
        if record.state not in ("held", "freezing") and not record.is_to_be_held:
            return self.spares.adopt(host.name, domain.slot, record)
        size = Size(domain.vcpus, domain.memory) if domain.vcpus and domain.memory else None
        return self.holds.adopt(host.name, domain.slot, record, size)

    async def stop(self, *, keep: bool) -> None:
        """End what no worker has, then close the connections.

        :param keep: let spares and held VMs run on, for the next process to adopt.
        """
        # First: a slot that anything leaves is not for a VM to be thawed in any more.
        await self.thaws.stop(keep=keep)
        self.frozen_notes.look()
        await (self.state_saver.stop() if keep else self.state_saver.end())
        for keeper in (self.spares, self.holds):
            await (keeper.leave_running() if keep else keeper.end())
        if not keep:
            self.frozen.end()
        await self.hosts.stop()
        if self._cache is not None:
            self._cache.stop()

    # Room.

    def room_changed(self) -> None:
        """Let builds look for room again; what it costs does not depend on the hosts."""
        if self.thaws.go_on():
            self.usable.update()
        self.allocator.changed()
        self._environment.room_changed()

    def hosts_changed(self) -> None:
        """Work out which slots of which hosts can be used; that may make room."""
        self.usable.update()
        self.room_changed()

    def _host_may_have_changed(self) -> None:
        """Do the same if anything has changed: each sweep of each host ends with this."""
        if self.usable.update():
            self.room_changed()

    def _check_images(self) -> None:
        """Look at once whether spares and saved states have the wrong image."""
        in_background(self.image_check.run(), "images cannot be looked for")

    def _evictable(self) -> Iterator[Evictable]:
        """Yield the VMs that may go if a job needs their room, those missed least first."""
        yield from self.state_saver.evictable()
        yield from self.leases.evictable(passed(self._environment.reactor))
        yield from self.spares.evictable()

    # VMs for workers.

    def _vm_in(self, grant: Grant, worker: str) -> VM:
        if grant.spare is not None:
            return grant.spare
        return self.registry.add(grant.allocation, worker=worker)

    def lease(
        self,
        worker: str,
        label: str,
        requests: tuple[int, ...] = (),
        size: Size | None = None,
    ) -> Lease:
        """Give *worker* the VM of *label* that room was reserved for, or another.

        :param requests: the ids of the build requests that it is for.
        :param size: that the build has chosen, or ``None`` for the label's.
        :raises ConfigurationError: if there is no such label, or they have lost too many VMs.
        :raises CapacityError: if there is no room now.
        """
        self.attempts.check(requests, allowed=self._label(label).launch_attempts)
        reserved = self.admission.reserved(worker, label, size)
        grant = reserved or self.allocator.take(label, size=size)
        if grant is None:
            raise CapacityError(
                f"no room for a VM of label {label!r}", details=self._why_no_room(label)
            )
        if grant.way == "spare" or self.spares.wanted().get(label):
            self.events.spare_asked_for(label=label, was_ready=grant.way == "spare")
        return self.leases.give(worker, grant, requests)

    async def bring_up(self, lease: Lease, identify: Identify) -> None:
        """Bring the VM of *lease* up, or another one, and return when its worker has attached.

        :raises ConfigurationError: if trying again cannot help, or was tried often enough.
        :raises LatentLibvirtError: if there is no room to try again now.
        """
        await self.leases.bring_up(lease, identify)
        self.events.lease_began(lease.report(), seconds=lease.timeline.age)

    async def identity(self, vm: VM, worker: str, *, password: str, port: WorkerPort) -> Identity:
        """Return who *vm* is to be.

        :param password: for its one connection to the master.
        :raises LatentLibvirtError: its worker has no way to the master.
        """
        master = await self._ways.to_master(vm, port, self.config)
        network = self._ways.network(vm, self.config)
        user = vm.label.user
        return Identity(worker, password, master=master, user=user, network=network)

    def chosen_size(self, label: str, properties: Mapping[str, object]) -> Size | None:
        """Return the size of the VM that a build of *label* gets, or ``None`` if it cannot choose.

        :raises ConfigurationError: if its properties choose none that it may.
        """
        found = self.config.labels.get(label)
        size = None if found is None else chosen_size(label, found, properties)
        return None if size is None else Size(*size)

    def uses_channel(self, label: str) -> bool:
        """Whether workers of *label* come to their master through channels."""
        found = self.config.labels.get(label)
        return found is not None and found.connection == "channel"

    async def release(self, lease: Lease, *, graceful: bool, failed: bool = False) -> None:
        """Take the VM of *lease* back, then wake those that wait for room.

        :param failed: whether its build failed, for which its label may want to hold it.
        """
        if failed:
            label = self.config.labels.get(lease.label_name, lease.label)
            failed_builds.hold(lease, label, self.freezer.held_in_slots(lease.label_name))
        vm = lease.vm
        report = await self.leases.release(lease, graceful=graceful)
        if "build" in report.phases:
            self.canaries.note_build(vm, failed=failed or bool(report.failure))
        if lease.is_to_be_frozen and (hold := self.holds.of(lease.vm)) is not None:
            in_background(self.freezer.freeze(hold), f"freezing {lease}")
        self.room_changed()
        self._environment.lease_ended(report)

    def _label(self, name: str) -> LabelConfig:
        label = self.config.labels.get(name)
        if label is None:
            raise no_such_label(name, self.config)
        return label

    def held_places(self) -> dict[Allocation, str]:
        """Return the ids of the held VMs that stay where they are, by what each of them takes."""
        staying = [hold.vm for hold in self.holds if not self.freezer.is_freezing(hold)]
        return {vm.allocation: vm.vm_id for vm in staying}

    def _why_no_room(self, label: str) -> str:
        count = f"{len(self.capacity.taken)} of max_vms {self.config.master.max_vms} VMs are there."
        held = [
            f"VM {vm_id} is held: latent-libvirt release {vm_id} frees its place."
            for vm_id in sorted(self.held_places().values())
        ]
        return "\n".join([count, *held, *self.usable.troubles(label)])


def no_such_label(label: str, config: PoolConfig) -> ConfigurationError:
    """Return the error that says that *label* is not among those of *config*."""
    near = nearest(label, config.labels)
    guess = f"Did you mean {near!r}? If not, add" if near else "Add"
    return ConfigurationError(
        f"label {label!r} is not configured",
        details=f"The pool's labels: {', '.join(config.labels)}.",
        resolution=f"{guess} it to the pool's YAML file, or correct the label where it is asked "
        "for: in master.cfg, or in the build property that it comes from.",
    )
