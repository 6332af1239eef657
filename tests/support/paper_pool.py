# SPDX-License-Identifier: GPL-2.0-only
"""A real pool whose hosts and VMs exist on paper only: no libvirt is asked.

The test says of each VM when its next step is done, when it fails and when it dies: that cannot be
had from real ones at a chosen moment. The steps of real VMs are tested in tests/integration.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from latent_libvirt.config import HostConfig, ImageConfig, PoolConfig
from latent_libvirt.errors import ConfigurationError, GuestError, HostError, LatentLibvirtError
from latent_libvirt.guest.protocol import Identity, MasterAddress
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.vm_spec import Network
from latent_libvirt.host.host import Host
from latent_libvirt.host.kvm.accelerator import ProbeResult
from latent_libvirt.host.meters.usage import Meter, Reading
from latent_libvirt.host.names import OwnedVolume, Owner
from latent_libvirt.host.states.frozen import FrozenVm, FrozenVms
from latent_libvirt.host.states.saved_states import (
    SavedState,
    SavedStates,
)
from latent_libvirt.host.volumes.base_image import BaseImage
from latent_libvirt.host.volumes.storage import Backing
from latent_libvirt.pool.events import NullEvents
from latent_libvirt.pool.lease import Lease, LeaseReport
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.vm import VM
from latent_libvirt.pool.vm_pool import Environment, VmPool
from latent_libvirt.status.hosts import Density
from synchronous import all_of

OWNER = Owner("master", "pool")

START = ("prepare", "clone", "boot", "wait")
"""The steps of a VM, until it waits for an identity."""

IDENTITY = Identity("worker", "secret", MasterAddress("10.0.2.2", 9989), "worker")


def config_of(
    *,
    hosts: tuple[str, ...] = ("alpha", "beta"),
    slots: int = 2,
    max_vms: int = 10,
    **labels: dict[str, object],
) -> PoolConfig:
    """Return a configuration with these hosts, and labels with what is said of each."""
    host = {"storage_pool": "default", "slots": slots}
    return PoolConfig.model_validate(
        {
            "master": {"max_vms": max_vms},
            "hosts": {name: {**host, "uri": f"qemu+ssh://{name}/system"} for name in hosts},
            "labels": {name: {"image": "debian-12", **label} for name, label in labels.items()},
        }
    )


class PaperMachine:
    """A machine, and its guest, that take each step when the test says so.

    :ivar step: what it is doing at this moment; empty if nothing.
    """

    def __init__(self, plan: MachinePlan, host: PaperHost, *, booted: bool = False) -> None:
        self.plan = plan
        self.record = plan.record
        self.host = host
        self.name = f"domain-{plan.slot}"
        self.image_digest = ""
        self.booted = booted
        self.step = ""
        self.guest = self
        self.has_channel = False
        self.has_proxy = False
        self.connection = ""
        self.pause = ""
        self.marks: list[dict[str, str]] = []
        self.is_listened_to = False
        self.meter = Meter()
        self.shut_down_for: list[float] = []
        self.saved: object | None = None
        self.is_to_be_saved = False
        self.is_saved_well = True
        self.rehearsals = 0
        self.is_over = False
        self._end: GuestError | None = None
        self._gate: Deferred[None] = Deferred()
        self._expected: list[Deferred[Any]] = []

    # What the test says.

    @property
    def is_busy(self) -> bool:
        """Whether a step is under way."""
        return bool(self.step) and not self._gate.called

    def goes_on(self) -> None:
        """Let the step that is under way end well."""
        assert self.is_busy
        self._gate.callback(None)

    def comes_up(self) -> None:
        """Go through all steps, until it waits for an identity."""
        while self.is_busy and self.step in START:
            self.goes_on()

    def fails(self, error: Exception) -> None:
        """Let the step that is under way fail."""
        assert self.is_busy
        self._gate.errback(error)

    def dies(self, why: str = "") -> None:
        """End, whatever is expected of it."""
        if self._end is not None:
            return
        self._end = GuestError(why or f"{self.name} is gone")
        expected, self._expected = self._expected, []
        for deferred in expected:
            if not deferred.called:
                deferred.errback(self._end)
        if self.is_busy and self.step in ("wait", "assign"):
            self.fails(self._end)

    # What the pool says: see host/machine.py and host/guest.py.

    def ended(self, reason: str, *, at_once: bool) -> None:
        assert at_once
        self.dies(reason)

    async def prepare(self) -> None:
        await self.do("prepare")
        version = self.plan.version or "newest"
        self.image_digest = self.host.newest if version in self.host.lacks else version

    async def clone(self) -> None:
        await self.do("clone")

    async def boot(self) -> None:
        await self.do("boot")
        self.booted = True

    async def until_waiting(self, _timeout: float) -> None:
        await self.do("wait")

    async def resume(self, _timeout: float) -> bool:
        await self.do("resume")
        if not self.is_saved_well:
            self.saved = None
        return self.is_saved_well

    async def save(self) -> None:
        await self.do("save")
        self.saved = "state" if self.plan.start == "resume" else None

    async def assign(self, _identity: Identity) -> None:
        await self.do("assign")

    async def listen(self) -> None:
        self.host.refuse_if_deaf()
        self.is_listened_to = True

    async def mark(self, **changes: str) -> None:
        self.host.refuse_if_deaf()
        self.marks.append(changes)
        self.record = replace(self.record, **changes)

    async def measure(self) -> None:
        self.host.refuse_if_deaf()

    async def rehearse(self) -> None:
        self.host.refuse_if_deaf()
        self.rehearsals += 1

    async def shut_down(self, timeout: float) -> None:
        self.shut_down_for.append(timeout)

    def expect(self) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        if self._end is not None:
            deferred.errback(self._end)
        else:
            self._expected.append(deferred)
        return deferred

    def with_console(self, error: GuestError) -> GuestError:
        return error

    def destroyed(self) -> None:
        """Let no further step begin; what is under way fails a moment later, as with real ones."""
        self.is_over = True
        self.host.reactor.callLater(0, self._is_gone)

    def _is_gone(self) -> None:
        self.dies()
        if self.is_busy:
            self.fails(GuestError(f"{self.name} has been given up"))

    async def do(self, step: str) -> None:
        """Be at that step until the test says that it is done."""
        if self.is_over:
            raise GuestError(f"{self.name} has been given up")
        self.step, self._gate = step, Deferred()
        await self._gate


class PaperHost:
    """A host on paper.

    :ivar newest: the digest of each image that :attr:`newest_of` does not have.
    :ivar lacks: the digests of versions that are not published there.
    :ivar questions: the labels of each question about images.
    :ivar thinks: what its next answer about images waits for.
    :ivar is_deaf: whether calls that ask something of a domain fail.
    :ivar frees_at_once: whether a tear-down is done as soon as it is asked for; if not, it waits
        for :meth:`frees`.
    """

    def __init__(self, name: str, reactor: Clock) -> None:
        self.name = name
        self.uuid = f"uuid-of-{name}"
        self.reactor = reactor
        self.config: HostConfig | None = None
        self.storage_pool = "default"
        self.usable = True
        self.trouble = ""
        self.blocked_slots: frozenset[int] = frozenset()
        self.squatters: tuple[str, ...] = ()
        self.connection = SimpleNamespace(is_up=True)
        self.identity: object | None = None
        self.machine_room: object | None = None
        self.is_shared = False
        self.density: Density | None = None
        self.is_deaf = False
        self.stopped = False
        self.frees_at_once = True
        self.discarded: list[PaperMachine] = []
        self.left: list[PaperMachine] = []
        self.machines: list[PaperMachine] = []
        self.newest = "newest"
        self.newest_since = 1.0
        self.newest_is_chosen = False
        self.lacks: set[str] = set()
        self.newest_of: dict[str, str] = {}
        self.saved = PaperKeeper()
        self.frozen = FrozenVms(name)
        self.freezing = PaperFreezing(self)
        self.size_of_frozen = 1
        self.spaces: list[int] = []
        self.questions: list[list[str]] = []
        self.thinks: Deferred[None] | None = None
        self._freeing: list[tuple[PaperMachine, Deferred[None]]] = []

    def start(self) -> None:
        pass

    def adopt(self, _config: object) -> bool:
        return True

    async def stop_when_empty(self, *, timeout: float | None) -> None:
        self.stopped = True

    def frees(self) -> None:
        """End the tear-downs that are under way."""
        freeing, self._freeing = self._freeing, []
        for _machine, freed in freeing:
            freed.callback(None)

    def refuse_if_deaf(self) -> None:
        """Fail if it is deaf."""
        if self.is_deaf:
            raise HostError(f"host {self.name} does not answer")

    def new_machine(self, plan: MachinePlan) -> PaperMachine:
        self.machines.append(PaperMachine(plan, self))
        return self.machines[-1]

    def adopt_machine(self, plan: MachinePlan) -> PaperMachine:
        self.machines.append(PaperMachine(plan, self, booted=True))
        return self.machines[-1]

    async def discard(self, machine: PaperMachine) -> None:
        self.discarded.append(machine)
        machine.destroyed()
        if not self.frees_at_once:
            freed: Deferred[None] = Deferred()
            self._freeing.append((machine, freed))
            await freed

    async def leave_running(self, machine: PaperMachine) -> None:
        self.left.append(machine)

    def leave_to_the_host(self, machine: PaperMachine) -> None:
        self.left.append(machine)

    async def newest_images(
        self, wanted: Mapping[str, ImageConfig]
    ) -> Mapping[str, BaseImage | LatentLibvirtError]:
        self.refuse_if_deaf()
        self.questions.append(sorted(key for key in wanted if not key.endswith(" in use")))
        if self.thinks:
            await self.thinks
        return {key: self._image(image) for key, image in wanted.items()}

    def _image(self, image: ImageConfig) -> BaseImage | LatentLibvirtError:
        if image.digest in self.lacks:
            return HostError(f"host {self.name} has no {image.digest}")
        if image.name in self.lacks:
            return ConfigurationError(
                f"image {image.name} is not published", resolution=f"Publish {image.name}."
            )
        return BaseImage(
            "volume",
            None,
            self.newest_of.get(str(image.name), self.newest),
            Backing("/volume", 2**20),
            since=self.newest_since,
            is_chosen=self.newest_is_chosen,
        )

    async def master_address(
        self, network: Network, configured: str | None, *, of_label: str | None = None
    ) -> str:
        return of_label or configured or f"the {network.kind} network of {self.name}"


class PaperFreezing:
    """What freezes and thaws on a host on paper."""

    def __init__(self, host: PaperHost) -> None:
        self._host = host

    async def freeze(self, machine: PaperMachine, space: int) -> FrozenVm:
        self._host.spaces.append(space)
        self._host.frozen.busy.add(machine.record.vm_id)
        try:
            await machine.do("freeze")
        finally:
            self._host.frozen.busy.discard(machine.record.vm_id)
        frozen = FrozenVm(
            OwnedVolume(machine.record.owner_id, machine.plan.slot, machine.record.vm_id),
            machine.record,
            "",
            "",
            self._host.size_of_frozen,
            machine.plan.vm.label.vcpus,
            machine.plan.vm.label.memory,
        )
        self._host.frozen.add(frozen)
        return frozen

    async def thaw(self, machine: PaperMachine, frozen: FrozenVm) -> None:
        self._host.frozen.busy.add(frozen.vm_id)
        try:
            await machine.do("thaw")
            self._host.frozen.remove(frozen.vm_id)
        finally:
            self._host.frozen.busy.discard(frozen.vm_id)

    def move_of(self, frozen: FrozenVm, source: PaperHost) -> PaperMove:
        return PaperMove(frozen, source, self._host)

    async def delete(self, frozen: FrozenVm) -> None:
        self._host.refuse_if_deaf()
        self._host.frozen.remove(frozen.vm_id)


class PaperMove:
    """A move from one host on paper to another, in two steps of the machine: copy and thaw."""

    def __init__(self, frozen: FrozenVm, source: PaperHost, target: PaperHost) -> None:
        self._frozen = frozen
        self._source = source
        self._target = target
        self._machine: PaperMachine | None = None

    async def run(self, machine: PaperMachine) -> None:
        hosts, self._machine = (self._source, self._target), machine
        for host in hosts:
            host.frozen.busy.add(self._frozen.vm_id)
        try:
            await machine.do("copy")
            await self._target.freezing.thaw(machine, self._frozen)
            self._source.frozen.remove(self._frozen.vm_id)
        finally:
            for host in hosts:
                host.frozen.busy.discard(self._frozen.vm_id)

    async def give_up(self) -> None:
        machine = self._machine
        if machine is not None and machine.is_busy and machine.step == "copy":
            machine.fails(HostError("the copying was given up"))


class PaperKeeper:
    """The saved states of a host, on paper.

    :ivar gone: those that were retired, with the reason.
    """

    def __init__(self) -> None:
        self.states = SavedStates()
        self.gone: list[tuple[str, str]] = []
        self.retired_all: list[str] = []

    def retire(self, state: SavedState, why: str) -> None:
        self.states.retire(state)
        self.states.take_unused(())
        self.gone.append((state.name.vm_id, why))

    def retire_all(self, why: str) -> None:
        self.retired_all.append(why)
        for state in self.states:
            self.retire(state, why)


class Noted(NullEvents):
    """Remembers which failures, leases and wishes for spares were noted."""

    def __init__(self) -> None:
        self.failed_vms: list[LatentLibvirtError] = []
        self.failed_in: list[Allocation] = []
        self.failed_on: list[str] = []
        self.began: list[tuple[LeaseReport, float]] = []
        self.spares_asked_for: list[tuple[str, bool]] = []
        self.trials: list[tuple[str, bool]] = []

    def vm_failed(self, allocation: Allocation, error: LatentLibvirtError) -> None:
        self.failed_vms.append(error)
        self.failed_in.append(allocation)

    def failed(self, error: Exception, *, host: str = "") -> None:
        del error
        self.failed_on.append(host)

    def lease_began(self, report: LeaseReport, *, seconds: float) -> None:
        self.began.append((report, seconds))

    def trial_ended(self, *, image: str, accepted: bool) -> None:
        self.trials.append((image, accepted))

    def spare_asked_for(self, *, label: str, was_ready: bool) -> None:
        self.spares_asked_for.append((label, was_ready))


class Rollouts:
    """Remembers roll-outs, as JSON does."""

    def __init__(self) -> None:
        self.saved: dict[str, str] = {}

    async def load_rollout(self, image: str) -> Mapping[str, Any] | None:
        return cast("Mapping[str, Any]", json.loads(self.saved.get(image, "null")))

    async def save_rollout(self, image: str, values: Mapping[str, Any]) -> None:
        self.saved[image] = json.dumps(values)


class Notes:
    """Remembers notes of frozen VMs, as JSON does."""

    def __init__(self) -> None:
        self.saved = "[]"
        self.saves = 0

    async def load_frozen(self) -> Sequence[Mapping[str, Any]]:
        return cast("Sequence[Mapping[str, Any]]", json.loads(self.saved))

    async def save_frozen(self, notes: Sequence[Mapping[str, Any]]) -> None:
        self.saves += 1
        self.saved = json.dumps(list(notes))


class Memory:
    """Remembers no probe of KVM: hosts on paper need none."""

    async def load(self, _host_uuid: str) -> ProbeResult | None:
        return None

    async def save(self, _host_uuid: str, _result: ProbeResult) -> None:
        pass


async def _nobody(_pools: Collection[str]) -> frozenset[str]:
    return frozenset()


class PaperPool(VmPool):
    """The real pool over hosts on paper.

    :ivar wakes: how often builds were told to look for room.
    :ivar waiting: the labels of jobs that start as soon as they have room.
    :ivar reports: of the leases that have ended.
    :ivar lost_builds: the host, the label and the size of each VM that served a killed master's
        build.
    :ivar lost_holds: the id of each VM that is not held although somebody has asked for that, with
        who that was, and why.
    :cvar cache: a directory for what guests fetch; ``None`` to keep nothing.
    """

    cache: Path | None = None

    def __init__(self, config: PoolConfig) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.told = Noted()
        self.rollouts = Rollouts()
        self.notes = Notes()
        self.is_running = True
        self.paper_hosts: dict[str, PaperHost] = {}
        self.begin(config)

    def begin(self, config: PoolConfig | None = None) -> None:
        """Begin as the master after the last one does: knowing nothing of any VM."""
        self.wakes = 0
        self.waiting: set[str] = set()
        self.reports: list[LeaseReport] = []
        self.lost_builds: list[tuple[str, str, Size]] = []
        self.lost_holds: list[tuple[str, str, str]] = []
        environment = Environment(
            reactor=self.clock,
            is_running=lambda: self.is_running,
            room_changed=self._wake,
            lease_ended=self.reports.append,
            memory=Memory(),
            dead_owners=_nobody,
            failed_over_owners=_nobody,
            events=self.told,
            make_host=self._make_host,
            rollouts=self.rollouts,
            frozen=self.notes,
            cache=self.cache,
            abandoned=self._note_lost_build,
            hold_lost=lambda *lost: self.lost_holds.append(lost),
            waiting=lambda: self.waiting,
        )
        super().__init__(config or self.config, OWNER, environment)
        self.configure(self.config)

    def _wake(self) -> None:
        self.wakes += 1

    def _note_lost_build(self, host: str, record: VmRecord, size: Size, _used: Reading) -> None:
        self.lost_builds.append((host, record.label, size))

    def _make_host(self, name: str, config: HostConfig, _context: PoolContext) -> Host:
        if name not in self.paper_hosts:
            self.paper_hosts[name] = PaperHost(name, self.clock)
            self.paper_hosts[name].config = config
        return cast("Host", self.paper_hosts[name])

    def give(self, label: str = "one", worker: str = "worker", *, request: int = 1) -> Lease:
        """Give a worker a VM, for which there has to be room."""
        room = self.allocator.take(label)
        assert room is not None
        return self.leases.give(worker, room, (request,))

    def brought_up(self, lease: Lease) -> Deferred[None]:
        """Begin to bring it up."""
        return Deferred.fromCoroutine(self.leases.bring_up(lease, self._identify))

    def given_back(self, lease: Lease, *, graceful: bool = True) -> Deferred[Any]:
        """Begin to take it back."""
        return Deferred.fromCoroutine(self.leases.release(lease, graceful=graceful))

    def building(self, label: str = "one", worker: str = "worker", *, request: int = 1) -> Lease:
        """Give a worker a VM, and bring it up."""
        lease = self.give(label, worker, request=request)
        done = self.brought_up(lease)
        machine_of(lease.vm).comes_up()
        machine_of(lease.vm).goes_on()
        lease.attached()
        assert done.called
        return lease

    def tidy(self) -> None:
        """Start the spares that are wanted, and end the others."""
        all_of(self.spares.tidy())

    async def _identify(self, _vm: VM) -> Identity:
        return IDENTITY


def machine_of(vm: VM) -> PaperMachine:
    """Return the machine of a VM on paper."""
    return cast("PaperMachine", vm.machine)


def host_of(vm: VM) -> PaperHost:
    """Return the host of a VM on paper."""
    return cast("PaperHost", vm.host)
