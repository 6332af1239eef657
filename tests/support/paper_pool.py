# SPDX-License-Identifier: GPL-2.0-only
"""A pool whose hosts and VMs exist on paper only: all rules are the real ones, no libvirt is asked.

The test says of each VM when its next step is done, when it fails and when it dies: that cannot be
had from real ones at a chosen moment. The steps of real VMs are tested in tests/integration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from latent_libvirt.attempts import Attempts
from latent_libvirt.capacity import Caps, Ledger
from latent_libvirt.config import PoolConfig
from latent_libvirt.errors import GuestError, HostError, LatentLibvirtError
from latent_libvirt.fleet import Fleet
from latent_libvirt.holds import Holds
from latent_libvirt.host.machine import MachinePlan
from latent_libvirt.host.sealed import SealedState, SealedStates
from latent_libvirt.identity import Identity, MasterAddress
from latent_libvirt.lease import Lease
from latent_libvirt.leases import Leases
from latent_libvirt.sealer import Sealer
from latent_libvirt.set_aside import SetAside
from latent_libvirt.spares import Spares
from latent_libvirt.stock import Stock
from latent_libvirt.supply import Evictable, Room, Supply
from latent_libvirt.vm import VM
from paper_stock import OWNER
from synchronous import all_of

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
        self.marks: list[dict[str, str]] = []
        self.shut_down_for: list[float] = []
        self.sealed: object | None = None
        self.is_to_be_sealed = False
        self.is_sealed_well = True
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

    def dies(self) -> None:
        """End, whatever is expected of it."""
        if self._end is not None:
            return
        self._end = GuestError(f"{self.name} is gone")
        expected, self._expected = self._expected, []
        for deferred in expected:
            if not deferred.called:
                deferred.errback(self._end)
        if self.is_busy and self.step in ("wait", "hand-over"):
            self.fails(self._end)

    # What the pool says: see host/machine.py and host/guest.py.

    async def prepare(self) -> None:
        await self._do("prepare")
        self.image_digest = "newest"

    async def clone(self) -> None:
        await self._do("clone")

    async def boot(self) -> None:
        await self._do("boot")
        self.booted = True

    async def until_waiting(self, _timeout: float) -> None:
        await self._do("wait")

    async def resume(self, _timeout: float) -> bool:
        await self._do("resume")
        if not self.is_sealed_well:
            self.sealed = None
        return self.is_sealed_well

    async def seal(self) -> None:
        await self._do("seal")
        self.sealed = "state" if self.plan.start == "resume" else None

    async def hand_over(self, _identity: Identity) -> None:
        await self._do("hand-over")

    async def listen(self) -> None:
        self.host.refuse_if_deaf()

    async def mark(self, **changes: str) -> None:
        self.host.refuse_if_deaf()
        self.marks.append(changes)

    async def rehearse(self) -> None:
        self.host.refuse_if_deaf()

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

    async def _do(self, step: str) -> None:
        if self.is_over:
            raise GuestError(f"{self.name} has been given up")
        self.step, self._gate = step, Deferred()
        await self._gate


class PaperHost:
    """A host on paper.

    :ivar is_deaf: whether calls that ask something of a domain fail.
    :ivar frees_at_once: whether a tear-down is done as soon as it is asked for; if not, it waits
        for :meth:`frees`.
    """

    def __init__(self, name: str, reactor: Clock) -> None:
        self.name = name
        self.reactor = reactor
        self.usable = True
        self.is_shared = False
        self.is_deaf = False
        self.frees_at_once = True
        self.discarded: list[PaperMachine] = []
        self.left: list[PaperMachine] = []
        self.machines: list[PaperMachine] = []
        self.newest = "newest"
        self.sealed = PaperKeeper()
        self._freeing: list[tuple[PaperMachine, Deferred[None]]] = []

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

    async def let_go(self, machine: PaperMachine) -> None:
        self.left.append(machine)

    async def image_digest(self, _image: object) -> str:
        return self.newest


class PaperKeeper:
    """The sealed states of a host, on paper.

    :ivar gone: those that were retired, with the reason.
    """

    def __init__(self) -> None:
        self.states = SealedStates()
        self.gone: list[tuple[str, str]] = []

    def retire(self, state: SealedState, why: str) -> None:
        self.states.retire(state)
        self.states.take_unused(())
        self.gone.append((state.name.lease, why))

    def retire_all(self, why: str) -> None:
        for state in self.states:
            self.retire(state, why)


class Failures:
    """Remembers which failures were told (see ``stock.StockEvents``)."""

    def __init__(self) -> None:
        self.failed: list[LatentLibvirtError] = []

    def vm_started(self, place: object) -> None:
        pass

    def vm_is_up(self, place: object, phases: Mapping[str, float]) -> None:
        pass

    def vm_failed(self, place: object, error: LatentLibvirtError) -> None:
        self.failed.append(error)

    def vm_ended(self, place: object, phases: Mapping[str, float]) -> None:
        pass


class PaperPool:
    """The parts of a pool that have to do with VMs, put together as ``pool.py`` does."""

    def __init__(self, config: PoolConfig) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.config = config
        self.ledger = Ledger(Caps.of(config))
        self.hosts = {name: PaperHost(name, self.clock) for name in config.hosts}
        self.set_aside = SetAside(self.clock.seconds, changed=self.hosts_changed)
        self.told = Failures()
        self.begin()

    def begin(self) -> None:
        """Begin as the master after the last one does: knowing nothing of any VM."""
        self.stock = Stock(
            self.ledger,
            cast("Fleet", self.hosts),
            set_aside=self.set_aside,
            changed=self.room_changed,
            events=self.told,
        )
        self.spares = Spares(self.stock, self.ledger, owner=OWNER, reactor=self.clock)
        self.holds = Holds(self.stock, self.ledger, reactor=self.clock)
        self.sealer = Sealer(
            self.stock,
            self.ledger,
            cast("Fleet", self.hosts),
            owner=OWNER,
            reactor=self.clock,
        )
        self.supply = Supply(self.ledger, self.spares, self._evictable)
        self.attempts = Attempts()
        self.leases = Leases(
            self.stock, self.supply, self.holds, attempts=self.attempts, make_vm=self._vm_in
        )

    def hosts_changed(self) -> None:
        """Use no host that is in trouble or set aside."""
        in_trouble = {name: None for name, host in self.hosts.items() if not host.usable}
        self.ledger.set_unusable(in_trouble | dict.fromkeys(self.set_aside.hosts()))
        self.ledger.set_unfit(self.set_aside.labels())
        self.room_changed()

    def room_changed(self) -> None:
        """Take note that there may be room."""
        self.supply.changed()

    def give(self, label: str = "one", worker: str = "worker", *, request: int = 1) -> Lease:
        """Give a worker a VM, for which there has to be room."""
        room = self.supply.take(label)
        assert room is not None
        return self.leases.give(worker, room, (request,))

    def bring_up(self, lease: Lease) -> Deferred[None]:
        """Begin to bring it up."""
        return Deferred.fromCoroutine(self.leases.bring_up(lease, self._identify))

    def release(self, lease: Lease, *, graceful: bool = True) -> Deferred[Any]:
        """Begin to take it back."""
        return Deferred.fromCoroutine(self.leases.release(lease, graceful=graceful))

    def building(self, label: str = "one", worker: str = "worker", *, request: int = 1) -> Lease:
        """Give a worker a VM, and bring it up."""
        lease = self.give(label, worker, request=request)
        done = self.bring_up(lease)
        machine_of(lease.vm).comes_up()
        machine_of(lease.vm).goes_on()
        lease.attached()
        assert done.called
        return lease

    def tidy(self, config: PoolConfig | None = None) -> None:
        """Start the spares that are wanted, and bring them up."""
        all_of(self.spares.tidy(config or self.config))

    async def _identify(self, _vm: VM) -> Identity:
        return IDENTITY

    def _evictable(self) -> Iterator[Evictable]:
        yield from self.sealer.evictable()
        yield from self.leases.evictable(self.clock.seconds())
        yield from self.spares.evictable()

    def _vm_in(self, room: Room, worker: str) -> VM:
        if room.spare is not None:
            return room.spare
        return self.stock.add(self.config, room.place, owner=OWNER, worker=worker)


def machine_of(vm: VM) -> PaperMachine:
    """Return the machine of a VM on paper."""
    return cast("PaperMachine", vm.machine)


def host_of(vm: VM) -> PaperHost:
    """Return the host of a VM on paper."""
    return cast("PaperHost", vm.host)
