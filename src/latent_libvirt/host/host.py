# SPDX-License-Identifier: GPL-2.0-only
"""A hypervisor host as the pool sees it: is it usable, which slots are not, and VMs on it.

Joins the connection, the machines that live on the host, and the sweep. How many VMs may run, and
which job gets one, is decided above.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import libvirt
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.config.hardware import cpu_sets
from latent_libvirt.config.hardware.devices import addresses_in, slots_with
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import ConfigurationError, HostError, LatentLibvirtError
from latent_libvirt.host import (
    names,
    sweep,
    usage,
)
from latent_libvirt.host.channels.worker_channels import WorkerChannels
from latent_libvirt.host.context import STOP_TIMEOUT
from latent_libvirt.host.domains.machine import (
    Machine,
)
from latent_libvirt.host.identity import identity_of, twice
from latent_libvirt.host.kvm.accelerator import (
    Accelerator,
)
from latent_libvirt.host.libvirtd.connection import Connection
from latent_libvirt.host.machine_room import machine_room
from latent_libvirt.host.names import NETWORK_CHANNEL_NAME
from latent_libvirt.host.networks.master_address import host_address
from latent_libvirt.host.networks.ports import Ports
from latent_libvirt.host.proxy.resolver import Resolver
from latent_libvirt.host.states import frozen_io
from latent_libvirt.host.states.frozen import FrozenVms
from latent_libvirt.host.states.state_store import (
    StateKeeper,
    StoreContext,
)
from latent_libvirt.host.volumes import (
    base_image,
    storage,
)
from latent_libvirt.host.volumes.proof import Proofs
from latent_libvirt.images.architectures import X86_64
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.config.models import HostConfig, ImageConfig, LabelConfig
    from latent_libvirt.host.context import ChangeDomain, PoolContext
    from latent_libvirt.host.domains.plan import MachinePlan
    from latent_libvirt.host.domains.slot_domains import SlotDomain
    from latent_libvirt.host.domains.vm_spec import Network
    from latent_libvirt.host.identity import HostIdentity
    from latent_libvirt.host.machine_room import MachineRoom
    from latent_libvirt.host.states.frozen import Found, FrozenVm
    from latent_libvirt.host.sweep import Leftovers
    from latent_libvirt.host.volumes.base_image import BaseImage

log = Logger()

SWEEP_INTERVAL = 60.0
"""Seconds between sweeps; one also follows every (re)connection and every failed tear-down."""

_SWEEP_AGAIN_AFTER = 5.0


class Host:
    """One host."""

    def __init__(self, name: str, config: HostConfig, context: PoolContext) -> None:
        self.name = name
        self.config = config
        self.owner = context.owner
        self.uuid = ""
        self.identity: HostIdentity | None = None
        self.machine_room: MachineRoom | None = None
        """What one VM can have at most; known once the host was swept."""
        self.reactor = context.reactor
        self._events = context.events
        self.connection = Connection(
            name, config.uri, listener=self, reactor=self.reactor, events=self._events
        )
        self.accelerator = Accelerator(
            config.accelerator,
            connection=self.connection,
            memory=context.memory,
            reactor=self.reactor,
        )
        another = self.connection.another
        self.channels = WorkerChannels(name, another, reactor=self.reactor)
        self.network_channels = WorkerChannels(
            name, another, port=NETWORK_CHANNEL_NAME, reactor=self.reactor
        )
        self.resolver = Resolver(name, reactor=self.reactor)
        self.ports = Ports(name)
        self.catalog = base_image.Catalog()
        self.proofs = Proofs(name, config.uri, lambda: self.storage_pool, reactor=self.reactor)
        self.saved = StateKeeper(
            StoreContext(
                owner=self.owner,
                connection=self.connection,
                events=self._events,
                storage_pool=lambda: self.storage_pool,
                in_use=self._states_in_use,
                changed=context.changed,
                failed=self._sweep_later,
            )
        )
        self.frozen = FrozenVms(name)
        self._context = context
        self._changed = context.changed
        self._machines = context.machines
        self._own: dict[str, Machine] = {}
        self._in_slot: dict[int, Machine] = {}
        self._is_measuring = False
        self._given_up: set[str] = set()
        self._blocked: frozenset[int] = frozenset()
        self._squatters: dict[int, str] = {}
        self._swept = False
        self.is_shared = False
        """Whether another owner had VMs or volumes here at the last sweep."""
        self._losses = 0
        self._trouble = ""
        self._empty: Deferred[None] | None = None
        self._sweeping = DeferredLock()
        self._sweep_waits = False
        self._next_sweep: Any = None
        self._sweep_timer = LoopingCall(self.sweep_soon)
        self._sweep_timer.clock = self.reactor
        self._meter_timer = LoopingCall(self._read_meters_in_background)
        self._meter_timer.clock = self.reactor

    @property
    def usable(self) -> bool:
        """Whether VMs can be started: it is connected, and what a killed master left is freed."""
        return self._swept and self.connection.is_up

    @property
    def trouble(self) -> str:
        """Why the host is not usable, in a sentence; empty if it is."""
        if self.usable:
            return ""
        return self._trouble or self.connection.last_reason or "not connected yet"

    @property
    def blocked_slots(self) -> frozenset[int]:
        """Slots with a domain of none of our live VMs: another master's, or left over."""
        return self._blocked

    @property
    def squatters(self) -> tuple[str, ...]:
        """Which domains that no master of ours has made keep slots, in a sentence each."""
        return tuple(f"slot {slot}: {who}" for slot, who in sorted(self._squatters.items()))

    @property
    def change_domain(self) -> ChangeDomain | None:
        """What changes the domain of each VM, called with the name of its label."""
        return self._context.change_domain()

    @property
    def architecture(self) -> str:
        """Its own, as `uname -m` names it; x86_64 as long as it is not known."""
        room = self.machine_room
        return X86_64 if room is None else room.architectures.native

    def devices_of(self, slot: int, label: LabelConfig) -> tuple[str, ...]:
        """Return the addresses of the devices that are for a VM of *label* in *slot*.

        :raises ConfigurationError: if there is none for that slot any more.
        """
        devices = self.config.devices
        if label.devices and slots_with(devices, label.devices) < slot:
            raise ConfigurationError(
                f"slot {slot} of host {self.name} has no {' and '.join(label.devices)} any more",
                resolution="Add an address for it to the host's devices.",
            )
        return addresses_in(slot, devices, label.devices)

    def cpus_of(self, slot: int, label: LabelConfig) -> tuple[int, ...]:
        """Return the CPUs that are for a VM in *slot* whose *label* pins its vCPUs.

        :raises ConfigurationError: if they are too few for it by now.
        """
        sets = self.config.pinned_cpus
        found = cpu_sets.cpus(sets[slot - 1]) if slot <= len(sets) else ()
        if len(found) < label.vcpus:
            raise ConfigurationError(
                f"slot {slot} of host {self.name} has {len(found)} CPUs by now, for a VM with "
                f"{label.vcpus} vCPUs",
                resolution="Put a set of CPUs for it back into the host's pinned_cpus.",
            )
        return found

    @property
    def storage_pool(self) -> str:
        """The name of the storage pool for overlays and base images."""
        return self.config.storage_pool

    def start(self) -> None:
        """Connect, sweep, and keep doing so, in the background."""
        self.connection.start()
        self._sweep_timer.start(SWEEP_INTERVAL, now=False)
        self._meter_timer.start(usage.INTERVAL, now=False)

    def adopt(self, config: HostConfig) -> bool:
        """Take over a changed configuration, if that is possible without connecting again."""
        if _connection_settings(config) != _connection_settings(self.config):
            return False
        self.config = config
        return True

    async def stop_when_empty(self, timeout: float | None = STOP_TIMEOUT) -> None:
        """Wait for the VMs on this host to end, then close the connection.

        :param timeout: seconds after which VMs still running are left to the next start's sweep;
            ``None``: however long it takes.
        """
        if self._own:
            self._empty = Deferred()
            if timeout is not None:
                self._empty.addTimeout(timeout, self.reactor)
            with contextlib.suppress(defer.TimeoutError):
                await self._empty
        await self.saved.until_deleted()
        for timer in (self._sweep_timer, self._meter_timer):
            if timer.running:
                timer.stop()
        await self._sweep_at_last()
        if self._next_sweep is not None and self._next_sweep.active():
            self._next_sweep.cancel()
        self.proofs.stop()
        self.channels.stop()
        self.network_channels.stop()
        self.resolver.stop()
        await self.connection.stop()

    async def _sweep_at_last(self) -> None:
        """Free what is left, but for what is to outlive us: the next start may be far away.

        That is what could not be freed before, and what a call has brought into being on which
        nobody waits any more.
        """
        if not self.usable:
            return  # then nobody knows what is saved here
        try:
            async with self._sweeping:
                await self._free_all_but(self._machines)
        except LatentLibvirtError as error:
            log.warn("{error}; the sweep of the next start will free it", error=str(error))
        except CancelledError:  # by a deadline of who stops it; the connection is still closed
            log.warn(
                "host {host}: its last sweep took too long; the sweep of the next start will free "
                "what is left",
                host=self.name,
            )
        except Exception:  # noqa: BLE001 - a stop ends, whatever a host has said
            log.failure("host {host}: its last sweep", host=self.name)

    async def _free_all_but(self, live: Collection[str]) -> None:
        seen = await self._survey()
        staying = {d.record.vm_id for d in seen.meant_to_stay(self.owner) if d.record is not None}
        kept = {*live, *(staying - self._given_up)}
        left = seen.left_behind({self.owner.id}, kept, self._needed(seen), self.frozen.vm_ids)
        if left:
            await self._free(left)

    async def master_address(
        self, network: Network, configured: str | None, *, of_label: str | None = None
    ) -> str:
        """Return the address at which guests of *network* find the master.

        :param configured: the master's own setting, for hosts that have none.
        :param of_label: the label's, which comes first: it is about that network alone.
        :raises ConfigurationError: if there is no setting and none can be derived.
        """
        given = of_label or self.config.address or configured
        if given is not None:
            return given
        return await self.connection.call("find_address", "give its address", host_address, network)

    async def newest_images(
        self, wanted: Mapping[str, ImageConfig]
    ) -> Mapping[str, BaseImage | LatentLibvirtError]:
        """Return what each of *wanted* stands for on this host now.

        That is one question to the host, however many there are. Of one that is not there, it
        returns why.

        :raises LatentLibvirtError: if the host cannot be asked.
        """
        return await self.connection.call(
            "resolve_image", "look up images", self._look_up, dict(wanted)
        )

    def _look_up(
        self, connection: libvirt.virConnect, wanted: Mapping[str, ImageConfig]
    ) -> Mapping[str, BaseImage | LatentLibvirtError]:
        resolve = partial(self.catalog.resolve_all, wanted=wanted)
        return storage.in_pool(connection, self.storage_pool, resolve)

    def new_machine(self, plan: MachinePlan) -> Machine:
        """Register a VM; nothing of it exists yet."""
        return self._register(Machine(self, plan))

    def adopt_machine(self, plan: MachinePlan) -> Machine:
        """Register a VM that a master has left running."""
        return self._register(Machine.found_running(self, plan))

    def _register(self, machine: Machine) -> Machine:
        vm_id = machine.record.vm_id
        self._machines[vm_id] = self._own[vm_id] = self._in_slot[machine.plan.slot] = machine
        return machine

    async def freeze(self, machine: Machine, space: int) -> FrozenVm:
        """Freeze the VM and unregister it.

        :param space: bytes that its memory and its disk may take.
        :raises CannotBeFrozenError: if it runs on as it is.
        :raises LatentLibvirtError: if nobody knows what has become of it but the host.
        """
        vm_id = machine.record.vm_id
        self.frozen.busy.add(vm_id)
        try:
            frozen = await machine.freeze(space)
            self.frozen.add(frozen)
        finally:
            self.frozen.busy.discard(vm_id)
        self._unregister(machine)
        return frozen

    async def thaw(self, machine: Machine, frozen: FrozenVm) -> None:
        """Let a frozen VM, which *machine* is from now on, go on.

        :raises LatentLibvirtError: if it stays frozen, or nobody knows but the host.
        """
        self.frozen.busy.add(frozen.vm_id)
        try:
            await machine.thaw(frozen)
            self.frozen.remove(frozen.vm_id)
        finally:
            self.frozen.busy.discard(frozen.vm_id)

    async def delete_frozen(self, frozen: FrozenVm) -> None:
        """Delete a frozen VM.

        :raises LatentLibvirtError: if that cannot be done now; the sweep will do it.
        """
        self.frozen.remove(frozen.vm_id)
        what = f"delete frozen VM {frozen.domain}"
        try:
            await self.connection.call(
                "delete_saved", what, frozen_io.delete, self.storage_pool, frozen.name
            )
        except LatentLibvirtError:
            self._sweep_later()
            raise

    def leave_to_the_host(self, machine: Machine) -> None:
        """Unregister a VM of which only the host knows what has become; the sweep finds it."""
        self._block(machine.plan.slot)
        self._unregister(machine)
        self._sweep_later()

    async def leave_running(self, machine: Machine) -> None:
        """Unregister the VM and leave it running, for the next master to adopt."""
        try:
            await machine.leave_running()
        except LatentLibvirtError as error:
            log.warn("{error}", error=str(error))
        finally:
            self._unregister(machine)

    async def discard(self, machine: Machine) -> None:
        """Destroy and unregister the VM; what cannot be freed now, the sweep will."""
        if machine.came_too_late:
            # That somebody took the slot was reported, but as an event of this machine's.
            self._block(machine.plan.slot)
            self.sweep_soon()
        try:
            await machine.destroy()
        except LatentLibvirtError as error:
            log.warn("{error}; the sweep will free it", error=str(error))
            self._leave_to_the_sweep(machine)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - nobody who ends a VM can do anything about it
            log.failure("{domain}; the sweep will free it", domain=machine.name)
            self._leave_to_the_sweep(machine)
        finally:
            self._unregister(machine)

    def _leave_to_the_sweep(self, machine: Machine) -> None:
        self._given_up.add(machine.record.vm_id)
        self._block(machine.plan.slot)
        self._sweep_later()

    def _unregister(self, machine: Machine) -> None:
        self._machines.pop(machine.record.vm_id, None)
        self._own.pop(machine.record.vm_id, None)
        if self._in_slot.get(machine.plan.slot) is machine:
            del self._in_slot[machine.plan.slot]
        self.saved.states.end(machine.record.vm_id)
        self.saved.delete_unused()
        if self._empty is not None and not self._own and not self._empty.called:
            self._empty.callback(None)

    def _states_in_use(self) -> set[str]:
        in_use = {machine.record.saved for machine in self._own.values()}
        if self.frozen.has_unread:
            in_use |= self.saved.states.retired
        return in_use | self.frozen.states_in_use

    def _needed(self, seen: sweep.Survey) -> frozenset[str]:
        """Return the ids of the saved states that are to stay."""
        every = [name.vm_id for name in seen.saved] if self.frozen.has_unread else []
        return self.saved.needed.union(every)

    def sweep_soon(self) -> None:
        """Sweep in the background, unless there is no connection or a sweep is about to begin."""
        if self.connection.is_up and not self._sweep_waits:
            self._sweep_waits = True
            in_background(self._sweep(), f"host {self.name}: sweep")

    def _sweep_later(self) -> None:
        if self._next_sweep is None or not self._next_sweep.active():
            self._next_sweep = self.reactor.callLater(_SWEEP_AGAIN_AFTER, self.sweep_soon)

    def _read_meters_in_background(self) -> None:
        in_background(self.read_meters(), f"host {self.name}: reading meters")

    async def read_meters(self) -> None:
        """Read what all VMs have used, in one call; not if the last one has had no answer yet."""
        if not self.usable or self._is_measuring:
            return
        self._is_measuring = True
        try:
            clock = partial(passed, self.reactor)
            what = "say what its VMs use"
            found = await self.connection.call("measure", what, usage.read_all, clock)
        except LatentLibvirtError:
            return  # it is the host's trouble, which others report
        finally:
            self._is_measuring = False
        machines = {m.name: m for m in self._own.values() if m.booted}
        for (name, domain_id), reading in found.items():
            machine = machines.get(name)
            if machine is not None and machine.domain_id in (None, domain_id):
                machine.meter.note(reading)

    # What the connection reports (see connection.Listener).

    def connected(self) -> None:
        """Sweep first: only then are slots what they seem."""
        self.accelerator.forget()
        self.machine_room = None
        self.sweep_soon()

    def disconnected(self, reason: str) -> None:  # noqa: ARG002 (logged by the connection)
        """Start nothing here until the connection is back, and a sweep has followed."""
        self._swept = False
        self._losses += 1
        self._trouble = ""
        for machine in tuple(self._own.values()):
            machine.connection_is_lost()
        self._changed()

    def domain_event(self, name: str, event: int, detail: int) -> None:
        """Tell the machine in whose slot something happened, or look who took or left the slot."""
        slot = names.slot_of(name)
        if slot is None:
            return
        machine = self._in_slot.get(slot)
        if machine is not None:
            machine.domain_event(event, detail)
        elif event in (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_DEFINED):
            self._block(slot)
            self.sweep_soon()
        elif slot in self._blocked:
            self.sweep_soon()

    async def _sweep(self) -> None:
        with contextlib.suppress(LatentLibvirtError):  # it is the host's trouble now
            await self.free_leftovers()

    async def free_leftovers(self) -> Leftovers:
        """Free what belongs to this owner and to no live VM; return what that was.

        :raises LatentLibvirtError: which is the host's trouble from now on.
        """
        async with self._sweeping:
            self._sweep_waits = False
            try:
                return await self._survey_and_free()
            except LatentLibvirtError as error:
                self._failed_to_sweep(error)
                raise
            except CancelledError:
                raise
            except Exception as error:
                log.failure("host {host}: sweep", host=self.name)
                trouble = HostError(f"host {self.name} could not be swept", details=repr(error))
                self._failed_to_sweep(trouble)
                raise trouble from error
            finally:
                self._changed()

    def _failed_to_sweep(self, error: LatentLibvirtError) -> None:
        self._swept = False
        self._note_trouble(str(error))
        self._sweep_later()

    async def leftovers(self) -> Leftovers:
        """Return what :meth:`free_leftovers` would free now, and leave it there.

        :raises LatentLibvirtError: if the host cannot be asked.
        """
        async with self._sweeping:
            return await self._left_behind(await self._survey())

    async def _survey(self) -> sweep.Survey:
        return await self.connection.call(
            "survey", "list its domains", sweep.survey, self.storage_pool
        )

    async def _survey_and_free(self) -> Leftovers:
        losses, saved_before = self._losses, self.saved.states.vm_ids
        frozen_before = self.frozen.settled
        cut_off = [m for m in self._own.values() if m.is_cut_off]
        seen = await self._survey()
        self.uuid = seen.host_uuid
        if self.machine_room is None:
            await self._get_to_know()
        # First: the disks of frozen VMs may need what is saved.
        await self._compare_frozen(seen, frozen_before)
        await self.saved.compare(seen, saved_before, self._machines)
        self._listen_again(cut_off, seen)
        self._given_up &= seen.vm_ids()
        self._adopt_from(seen)
        self._blocked = self._slots_of_others(seen)
        self._note_others(seen)
        self._note_squatters(seen)
        leftovers = await self._left_behind(seen)
        if leftovers:
            log.warn("host {host}: freeing {what}", host=self.name, what=str(leftovers))
            stuck = await self._free(leftovers)
            gone = set(leftovers.domains) - set(stuck.things.domains)
            self._blocked -= {domain.slot for domain in gone}
        # A sweep that a loss of the connection has overtaken does not stand for the one after it.
        self._swept = self._losses == losses
        self._trouble = ""
        return leftovers

    async def _compare_frozen(self, seen: sweep.Survey, before: Collection[str]) -> None:
        await self.frozen.compare(
            seen, before, owner_id=self.owner.id, live=self._machines, read=self._read_frozen
        )
        self.frozen.forget_old(self.reactor.seconds())

    async def _read_frozen(self, found: Collection[names.OwnedVolume]) -> Found:
        what, pool = "read what is frozen", self.storage_pool
        return await self.connection.call("read_frozen", what, frozen_io.read_all, pool, found)

    async def _get_to_know(self) -> None:
        """Ask what stays the same for as long as the connection stands."""
        call = self.connection.call
        self.identity = await call("examine", "say who it is", identity_of, self.uuid)
        self._refuse_twin()
        self.machine_room = await call("examine", "say what a VM can have", machine_room)

    def _refuse_twin(self) -> None:
        """Raise if another host of the pool is this very hypervisor.

        Nothing of it is to be swept or adopted then: that is done there.
        """
        twin = self._context.twin(self)
        if twin is not None:
            self.identity = None
            brief, advice = twice(self.name, twin.name, twin.config.uri)
            raise ConfigurationError(brief, resolution=advice)

    async def _left_behind(self, seen: sweep.Survey) -> Leftovers:
        # Asked after the survey: what a master that is back has started since is not in it.
        dead = await self._context.dead_owners(seen.pools())
        failed_over = await self._context.failed_over_owners(seen.pools())
        left = seen.left_behind(
            {self.owner.id, *dead}, self._machines, self._needed(seen), self.frozen.vm_ids
        )
        return left | seen.jobs_of(failed_over - {self.owner.id})

    def _adopt_from(self, seen: sweep.Survey) -> None:
        """Offer what the master before has left running; nobody wants it: it is a leftover."""
        for domain in seen.meant_to_stay(self.owner):
            vm_id = domain.record.vm_id if domain.record is not None else ""
            if vm_id not in self._machines and vm_id not in self._given_up:
                self._offer(domain)

    def _offer(self, domain: SlotDomain) -> None:
        try:
            self._context.adopt(self, domain)
        except Exception:  # noqa: BLE001 - what one domain says of itself is not to hide the others
            log.failure("host {host}: {domain}", host=self.name, domain=str(domain))

    async def _free(self, leftovers: Leftovers) -> sweep.Stuck:
        """Free *leftovers*; what stays keeps its slot, and the next sweep tries again."""
        stuck = await self.connection.call(
            "free", "free leftovers", sweep.free, self.storage_pool, leftovers
        )
        if stuck:
            log.warn("host {host}: {stuck}", host=self.name, stuck=str(stuck))
        for kind, count in (leftovers.counts() - stuck.things.counts()).items():
            self._events.leaks_freed(self.name, kind, count)
        return stuck

    def _slots_of_others(self, seen: sweep.Survey) -> frozenset[int]:
        own = self._own
        return frozenset(
            domain.slot
            for domain in seen.domains
            if domain.record is None or domain.record.vm_id not in own
        )

    def _note_others(self, seen: sweep.Survey) -> None:
        shared = seen.has_others_than(self.owner)
        if shared and not self.is_shared:
            log.info(
                "host {host}: another owner has VMs or volumes there. "
                "No slot is saved before a job boots in it.",
                host=self.name,
            )
        self.is_shared = shared

    def _note_squatters(self, seen: sweep.Survey) -> None:
        there = {domain.slot: str(domain) for domain in seen.domains if domain.record is None}
        for slot, who in there.items():
            if self._squatters.get(slot) != who:
                log.warn("host {host}: slot {slot}: {who}", host=self.name, slot=slot, who=who)
        self._squatters = there

    def _listen_again(self, cut_off: Collection[Machine], seen: sweep.Survey) -> None:
        """After a loss of the connection: notice VMs that ended, listen to those that live."""
        running = seen.vm_ids()
        for machine in cut_off:
            vm_id = machine.record.vm_id
            if vm_id in self._machines:
                back = machine.connection_is_back(still_running=vm_id in running)
                Deferred.fromCoroutine(back).addErrback(self._cannot_listen, machine)

    def _cannot_listen(self, failure: Failure, machine: Machine) -> None:
        """Try once more after a while, unless the VM is being given up."""
        if not isinstance(failure.value, LatentLibvirtError):
            log.failure("{domain}: listening again", failure, domain=machine.name)
        elif machine.is_cut_off:
            log.warn("host {h}: {error}; it will be tried again", h=self.name, error=failure.value)
            self._sweep_later()

    def _note_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.error("host {host} is not usable: {trouble}", host=self.name, trouble=trouble)

    def _block(self, slot: int) -> None:
        self._blocked |= {slot}
        self._changed()


def _connection_settings(config: HostConfig) -> tuple[str, str, str]:
    """Return what a connected host cannot change; the rest is looked up when it is needed."""
    return config.uri, config.storage_pool, config.accelerator
