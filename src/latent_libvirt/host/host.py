# SPDX-License-Identifier: GPL-2.0-only
"""A host as the pool sees it: is it usable, which slots are not, and VMs on it.

Joins the connection, the machines that live on the host, and the sweeps. How many VMs may run, and
which job gets one, is decided above.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import libvirt
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError, LatentLibvirtError
from latent_libvirt.host import names
from latent_libvirt.host.channels.worker_channels import WorkerChannels
from latent_libvirt.host.context import STOP_TIMEOUT
from latent_libvirt.host.domains.live_machines import LiveMachines
from latent_libvirt.host.domains.machine import Machine
from latent_libvirt.host.domains.slot_hardware import SlotHardware
from latent_libvirt.host.identity import identity_of, twice
from latent_libvirt.host.kvm.accelerator import Accelerator
from latent_libvirt.host.libvirtd.connection import Connection
from latent_libvirt.host.machine_room import machine_room
from latent_libvirt.host.meters.readings import MeterReadings
from latent_libvirt.host.names import NETWORK_CHANNEL_NAME
from latent_libvirt.host.networks.master_address import host_address
from latent_libvirt.host.networks.ports import Ports
from latent_libvirt.host.proxy.resolver import Resolver
from latent_libvirt.host.states.freezing import Freezing
from latent_libvirt.host.states.frozen import FrozenVms
from latent_libvirt.host.states.state_store import StateKeeper, StoreContext
from latent_libvirt.host.sweeper import Sweeper
from latent_libvirt.host.volumes import base_image, storage
from latent_libvirt.host.volumes.proof import Proofs
from latent_libvirt.images.architectures import X86_64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latent_libvirt.config.sections.host import HostConfig
    from latent_libvirt.config.sections.image import ImageConfig
    from latent_libvirt.host.context import ChangeDomain, PoolContext
    from latent_libvirt.host.domains.plan import MachinePlan
    from latent_libvirt.host.domains.vm_spec import Network
    from latent_libvirt.host.identity import HostIdentity
    from latent_libvirt.host.machine_room import MachineRoom
    from latent_libvirt.host.sweep import Leftovers, Survey
    from latent_libvirt.host.volumes.base_image import BaseImage
    from latent_libvirt.status.hosts import Density

log = Logger()


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
        self.live = LiveMachines(context.machines, self._has_gone, self.reactor)
        self._sweeper = Sweeper(self, context, self.live.by_id)
        self.saved = StateKeeper(
            StoreContext(
                owner=self.owner,
                connection=self.connection,
                events=self._events,
                storage_pool=lambda: self.storage_pool,
                in_use=self._states_in_use,
                changed=context.changed,
                failed=self._sweeper.later,
            )
        )
        self.frozen = FrozenVms(name)
        self.freezing = Freezing(self, self._sweeper.later)
        self._context = context
        self._changed = context.changed
        self.meters = MeterReadings(self, self.live.by_id)

    @property
    def usable(self) -> bool:
        """Whether VMs can be started: it is connected, and what a killed master left is freed."""
        return self._sweeper.is_done and self.connection.is_up

    @property
    def trouble(self) -> str:
        """Why the host is not usable, in a sentence; empty if it is."""
        if self.usable:
            return ""
        return self._sweeper.trouble or self.connection.last_reason or "not connected yet"

    @property
    def blocked_slots(self) -> frozenset[int]:
        """Slots with a domain of none of our live VMs: another master's, or left over."""
        return self._sweeper.slots.slots

    @property
    def squatters(self) -> tuple[str, ...]:
        """Which domains that no master of ours has made keep slots, in a sentence each."""
        return self._sweeper.slots.strangers

    @property
    def is_shared(self) -> bool:
        """Whether another owner had VMs or volumes there at the last sweep."""
        return self._sweeper.is_shared

    @property
    def density(self) -> Density | None:
        """How much of its memory VMs have, at the last reading; ``None`` if nobody knows."""
        room = self.machine_room
        return None if room is None else self.meters.density.density(room.memory)

    @property
    def change_domain(self) -> ChangeDomain | None:
        """What changes the domain of each VM, called with the name of its label."""
        return self._context.change_domain()

    @property
    def architecture(self) -> str:
        """Its own, as `uname -m` names it; x86_64 as long as it is not known."""
        room = self.machine_room
        return X86_64 if room is None else room.architectures.native

    @property
    def slot_hardware(self) -> SlotHardware:
        """Which of its CPUs and devices are for which slot."""
        return SlotHardware(self.name, self.config)

    @property
    def storage_pool(self) -> str:
        """The name of the storage pool for overlays and base images."""
        return self.config.storage_pool

    def start(self) -> None:
        """Connect, sweep, and keep doing so, in the background."""
        self.connection.start()
        self._sweeper.start()
        self.meters.start()

    def adopt(self, config: HostConfig) -> bool:
        """Take over a changed configuration, if that is possible without connecting again."""
        if _connection_settings(config) != _connection_settings(self.config):
            return False
        self.config = config
        return True

    async def stop_when_empty(self, timeout: float | None = STOP_TIMEOUT) -> None:
        """Wait for the VMs on this host to end, and to be moved away; then close the connection.

        :param timeout: seconds after which VMs still running are left to the next start's sweep;
            ``None``: however long it takes.
        """
        try:
            await self.live.until_empty(timeout)
            await self.saved.until_deleted()
            self.meters.stop()
            await self._sweeper.stop()
            self.proofs.stop()
            self.channels.stop()
            self.network_channels.stop()
            self.resolver.stop()
        finally:
            await self.connection.stop()

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
        return self.live.add(Machine(self, plan))

    def adopt_machine(self, plan: MachinePlan) -> Machine:
        """Register a VM that a master has left running."""
        return self.live.add(Machine.found_running(self, plan))

    def leave_to_the_host(self, machine: Machine) -> None:
        """Unregister a VM of which only the host knows what has become; the sweep finds it."""
        self._sweeper.block(machine.plan.slot)
        self.live.remove(machine)
        self._sweeper.later()

    async def leave_running(self, machine: Machine) -> None:
        """Unregister the VM and leave it running, for the next master to adopt."""
        try:
            await machine.leave_running()
        except LatentLibvirtError as error:
            log.warn("{error}", error=str(error))
        finally:
            self.live.remove(machine)

    async def discard(self, machine: Machine) -> None:
        """Destroy and unregister the VM; what cannot be freed now, the sweep will."""
        if machine.came_too_late:
            # That somebody took the slot was reported, but as an event of this machine's.
            self._sweeper.block(machine.plan.slot)
            self.sweep_soon()
        try:
            await machine.destroy()
        except LatentLibvirtError as error:
            log.warn("{error}; the sweep will free it", error=str(error))
            self._sweeper.give_up(machine)
        except CancelledError:
            raise
        except Exception:  # noqa: BLE001 - nobody who ends a VM can do anything about it
            log.failure("{domain}; the sweep will free it", domain=machine.name)
            self._sweeper.give_up(machine)
        finally:
            self.live.remove(machine)

    def _has_gone(self, vm_id: str) -> None:
        self.saved.states.end(vm_id)
        self.saved.delete_unused()

    def _states_in_use(self) -> set[str]:
        in_use = {machine.record.saved for machine in self.live.by_id.values()}
        if self.frozen.has_unread:
            in_use |= self.saved.states.retired
        return in_use | self.frozen.states_in_use

    def needed_states(self, seen: Survey) -> frozenset[str]:
        """Return the ids of the saved states that are to stay, of those that a sweep has found."""
        every = [name.vm_id for name in seen.saved] if self.frozen.has_unread else []
        return self.saved.needed.union(every)

    def sweep_soon(self) -> None:
        """Sweep in the background, unless there is no connection or a sweep is about to begin."""
        self._sweeper.soon()

    # What the connection reports (see connection.Listener).

    def connected(self) -> None:
        """Sweep first: only then are slots what they seem."""
        self.accelerator.forget()
        self.machine_room = None
        self.sweep_soon()

    def disconnected(self, reason: str) -> None:  # noqa: ARG002 (logged by the connection)
        """Start nothing here until the connection is back, and a sweep has followed."""
        self._sweeper.connection_is_lost()
        self.meters.density.forget()
        for machine in tuple(self.live.by_id.values()):
            machine.connection_is_lost()
        self._changed()

    def domain_event(self, name: str, event: int, detail: int) -> None:
        """Tell the machine in whose slot something happened, or look who took or left the slot."""
        slot = names.slot_of(name)
        if slot is None:
            return
        machine = self.live.in_slot(slot)
        if machine is not None:
            machine.domain_event(event, detail)
        elif event in (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_DEFINED):
            self._sweeper.block(slot)
            self.sweep_soon()
        elif slot in self.blocked_slots:
            self.sweep_soon()

    async def free_leftovers(self) -> Leftovers:
        """Free what belongs to this owner and to no live VM; return what that was.

        :raises LatentLibvirtError: which is the host's trouble from now on.
        """
        return await self._sweeper.free_leftovers()

    async def leftovers(self) -> Leftovers:
        """Return what :meth:`free_leftovers` would free now, and leave it there.

        :raises LatentLibvirtError: if the host cannot be asked.
        """
        return await self._sweeper.leftovers()

    async def get_to_know(self, uuid: str) -> None:
        """Ask once what stays the same for as long as the connection stands.

        :raises LatentLibvirtError: if it cannot be asked.
        :raises ConfigurationError: if another host of the pool leads to this very libvirt.
        """
        self.uuid = uuid
        if self.machine_room is not None:
            return
        call = self.connection.call
        self.identity = await call("examine", "say who it is", identity_of, self.uuid)
        self._refuse_twin()
        self.machine_room = await call("examine", "say what a VM can have", machine_room)

    def _refuse_twin(self) -> None:
        """Raise if another host of the pool leads to this very libvirt.

        Nothing of it is to be swept or adopted then: that is done there.
        """
        twin = self._context.twin(self)
        if twin is not None:
            self.identity = None
            brief, advice = twice(self.name, twin.name, twin.config.uri)
            raise ConfigurationError(brief, resolution=advice)


def _connection_settings(config: HostConfig) -> tuple[str, str, str]:
    """Return what a connected host cannot change; the rest is looked up when it is needed."""
    return config.uri, config.storage_pool, config.accelerator
