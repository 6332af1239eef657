# SPDX-License-Identifier: GPL-2.0-only
"""Where workers ask a pool: is there room, which VM do I get, who is it to be, take it back.

The order in which Buildbot asks is told in ``worker.py``. What is there to be had, and how VMs come
up and go, is the business of the pool's parts (``supply.py``, ``leases.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from latent_libvirt import child_room
from latent_libvirt.attempts import Attempts
from latent_libvirt.capacity import Ledger
from latent_libvirt.config import LabelConfig, PoolConfig
from latent_libvirt.config.faults import nearest
from latent_libvirt.errors import CapacityError, ConfigurationError
from latent_libvirt.fair_order import FairOrder
from latent_libvirt.fleet import Fleet
from latent_libvirt.holds import Holds
from latent_libvirt.identity import Identity, MasterAddress
from latent_libvirt.lease import Idle, Lease, LeaseReport
from latent_libvirt.leases import Identify, Leases
from latent_libvirt.metrics.instruments import Instruments
from latent_libvirt.reservations import Reservations
from latent_libvirt.set_aside import SetAside
from latent_libvirt.spares import Spares
from latent_libvirt.supply import Evictable, Room, Supply
from latent_libvirt.vm import VM


class Served(Protocol):
    """The pool, as far as it matters here."""

    config: PoolConfig
    attempts: Attempts
    ledger: Ledger
    hosts: Fleet
    metrics: Instruments
    set_aside: SetAside
    order: FairOrder
    supply: Supply
    spares: Spares
    leases: Leases
    holds: Holds

    def evictable(self) -> Iterator[Evictable]:
        """Return the VMs that may go if a job needs their room."""

    def unfit(self) -> dict[str, dict[str, str]]:
        """Return, by label and host, why the label gets no VM there although others may."""

    def room_changed(self) -> None:
        """Tell those that wait for room."""

    def lease_has_ended(self, report: LeaseReport) -> None:
        """Tell those that want to know."""


class Desk:
    """Answers the workers of *pool*."""

    def __init__(self, pool: Any) -> None:
        self._pool: Served = pool
        self._reservations = Reservations(self._pool.supply)
        self._undecided_turn = ""
        self._undecided_vm: Idle | None = None
        self._children: set[str] = set()

    def may_have_room(self, label: str) -> bool:
        """Whether it is worth asking for room for a VM of *label*.

        A label that is not configured has room: its builds must fail and say so, not wait for ever.
        """
        return (
            label not in self._pool.config.labels
            or self._reservations.may_have_room(label)
            or self._pool.supply.can_make_room(label)
        )

    def is_kept_for_children(self, label: str) -> bool:
        """Whether what there is of *label* is only for builds that others wait for."""
        config = self._pool.config
        if label not in config.labels or not child_room.is_kept(config):
            return False
        in_use = self._reservations.places() | {
            name: lease.vm.place for name, lease in self._pool.leases.items() if lease.idle is None
        }
        children = [place for name, place in in_use.items() if name in self._children]
        may_go = {victim.place for victim in self._pool.evictable()}
        busy = self._pool.ledger.taken - may_go
        return not child_room.may_take(label, config, busy, children)

    def note_child(self, worker: str, *, awaited: bool) -> None:
        """Note whether another build waits for the one that *worker* is about to get."""
        (self._children.add if awaited else self._children.discard)(worker)

    def reserve(self, worker: str, label: str, builder: str = "", *, awaited: bool = False) -> bool:
        """Keep room for a VM of *label* for *worker*; return whether there was any.

        :param builder: the name of the builder that asks.
        :param awaited: whether another build waits for this one.
        """
        self.nothing_is_undecided()
        if not awaited and self.is_kept_for_children(label):
            self._pool.order.turns.no_room(builder)
            return False
        self.note_child(worker, awaited=awaited)
        if label not in self._pool.config.labels or self._reservations.reserve(worker, label):
            self._pool.order.turns.took(builder)
            self._undecided_turn = builder
            return True
        self._pool.order.turns.no_room(builder)
        self._pool.supply.make_room(label)
        return False

    def make_way(self, label: str, lease: Lease, idle: Idle) -> None:
        """Begin to free a worker, and room, for a build of *label*; end no more than it takes.

        :param lease: of the worker that was asked, whose VM idles and is of another label.
        """
        self.nothing_is_undecided()
        supply = self._pool.supply
        if label not in self._pool.config.labels or supply.has(label):
            supply.evict(label, [Evictable(lease.vm.place, f"idle VM {lease}", idle.end)])
        else:
            supply.make_room(label)

    def confirm_reservation(self, worker: str) -> None:
        """Keep the room that was reserved: the build has started."""
        self._reservations.confirm(worker)
        self._undecided_turn, self._undecided_vm = "", None

    def promise(self, idle: Idle) -> None:
        """Note that a build may be on its way to a VM that idles."""
        self.nothing_is_undecided()
        self._undecided_vm = idle

    def nothing_is_undecided(self) -> None:
        """Take back what was promised to a build that has not started."""
        self._reservations.void()
        self._pool.order.turns.gave_back(self._undecided_turn)
        if self._undecided_vm is not None:
            self._undecided_vm.promised_until = 0.0
        self._undecided_turn, self._undecided_vm = "", None

    def cancel_reservation(self, worker: str) -> None:
        """Give back room that was reserved, if there is any: the build needs none any more."""
        if self._reservations.cancel(worker):
            self._pool.room_changed()

    def lease(self, worker: str, label: str, requests: tuple[int, ...] = ()) -> Lease:
        """Give *worker* the VM of *label* that room was reserved for, or another.

        :param requests: the ids of the build requests that it is for.
        :raises ConfigurationError: if there is no such label, or they have lost too many VMs.
        :raises CapacityError: if there is no room now.
        """
        self._pool.attempts.check(requests, allowed=self._label(label).launch_attempts)
        room = self._reserved(worker, label) or self._pool.supply.take(label)
        if room is None:
            raise CapacityError(f"no room for a VM of label {label!r}", details=self._why_no_room())
        if room.way == "spare" or self._pool.spares.wanted(self._pool.config).get(label):
            self._pool.metrics.spare_asked_for(label=label, was_ready=room.way == "spare")
        return self._pool.leases.give(worker, room, requests)

    def _reserved(self, worker: str, label: str) -> Room | None:
        """Return the room that was reserved, unless its host has left the configuration."""
        room = self._reservations.use(worker, label)
        if room is None or room.place.host in self._pool.hosts:
            return room
        self._pool.supply.give_back(room)
        return None

    async def bring_up(self, lease: Lease, identify: Identify) -> None:
        """Bring the VM of *lease* up, or another one; return when its worker has attached.

        :raises ConfigurationError: if trying again cannot help, or was tried often enough.
        :raises LatentLibvirtError: if there is no room to try again now.
        """
        await self._pool.leases.bring_up(lease, identify)
        self._pool.metrics.lease_began(lease.report(), seconds=lease.timeline.age)

    async def identity(
        self, vm: VM, worker: str, *, password: str, port: int, certificate: str | None = None
    ) -> Identity:
        """Return who *vm* is to be.

        :param password: for its one connection to the master.
        :param port: where the master listens for workers.
        :param certificate: that the port has, in PEM, if it speaks TLS.
        """
        config = self._pool.config
        # The label as it is now: a spare may be older.
        label = config.labels.get(vm.place.label, vm.label)
        address = await vm.host.master_address(
            vm.machine.plan.network, config.master.address, of_label=label.address
        )
        return Identity(
            name=worker,
            password=password,
            master=MasterAddress(address, port, certificate),
            user=vm.label.user,
        )

    async def release(self, lease: Lease, *, graceful: bool, failed: bool = False) -> None:
        """Take the VM of *lease* back, then tell those that wait for room.

        :param failed: whether its build failed, for which its label may want to hold it.
        """
        if failed:
            self._hold_failed(lease)
        report = await self._pool.leases.release(lease, graceful=graceful)
        self._pool.room_changed()
        self._pool.lease_has_ended(report)

    def _hold_failed(self, lease: Lease) -> None:
        label = self._pool.config.labels.get(lease.label_name, lease.label)
        room = self._pool.holds.count(lease.label_name) < label.max_held
        if lease.hold_for is None and room:
            lease.hold_for = label.hold_on_failure

    def _label(self, name: str) -> LabelConfig:
        label = self._pool.config.labels.get(name)
        if label is None:
            raise no_such_label(name, self._pool.config)
        return label

    def _why_no_room(self) -> str:
        pool = self._pool
        count = f"{len(pool.ledger.taken)} of max_vms {pool.config.master.max_vms} VMs are there."
        set_aside = [f"Host {host} is {why}" for host, why in pool.set_aside.hosts().items()]
        unfit = [
            f"Label {label} gets no VM on host {host}: {why}"
            for label, hosts in pool.unfit().items()
            for host, why in hosts.items()
        ]
        return "\n".join([count, *pool.hosts.troubles(), *set_aside, *unfit])


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
