# SPDX-License-Identifier: GPL-2.0-only
"""The pool: a Buildbot service that owns the hosts and decides who gets a VM.

Joins the configuration, the caps, the hosts and the leases. What Buildbot asks of a worker is
answered in ``worker.py``; what a ``master.cfg`` says is in ``master_cfg.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from buildbot.util.service import BuildbotService
from buildbot.util.state import StateMixin
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.attempts import Attempts
from latent_libvirt.capacity import Caps, Ledger, Place, Target
from latent_libvirt.config import InvalidConfiguration, LabelConfig, PoolConfig
from latent_libvirt.config.difference import differences
from latent_libvirt.control import commands, status
from latent_libvirt.control.address import socket_path
from latent_libvirt.control.console import Vm, vm_of
from latent_libvirt.control.messages import HostSweep
from latent_libvirt.control.server import ControlServer
from latent_libvirt.control.status import PoolStatus
from latent_libvirt.errors import CapacityError, ConfigurationError
from latent_libvirt.fleet import Fleet
from latent_libvirt.host.accelerator import ProbeResult
from latent_libvirt.host.host import Surroundings
from latent_libvirt.host.machine import Machine
from latent_libvirt.host.names import Owner
from latent_libvirt.identity import Identity, MasterAddress
from latent_libvirt.lease import Lease, LeaseReport
from latent_libvirt.live_file import LiveFile
from latent_libvirt.plan import machine_plan
from latent_libvirt.reservations import Reservations

log = Logger()

DEFAULT_NAME = "latent_libvirt"

running: dict[str, PoolService] = {}
"""The pools of this process that are running, by name: a reconfig must know what they are doing."""


class PoolService(StateMixin, BuildbotService):
    """The VMs of one master.

    Give it to ``c["services"]`` with a :class:`~latent_libvirt.config.PoolConfig`; a reconfig that
    brings another one is applied without touching a running VM.
    """

    name: str = DEFAULT_NAME

    def checkConfig(self, config: PoolConfig, path: str | None = None) -> None:  # noqa: ARG002
        """Take the configuration that the service was constructed with; do nothing yet.

        :param path: the file that it is from. While the service runs, what is saved there is
            applied at once.
        """
        self.config = config
        self.refusal: InvalidConfiguration | None = None
        self.attempts = Attempts()
        self._ledger = Ledger(Caps.of(config))
        self._reservations = Reservations(self._ledger)
        self._hosts = Fleet()
        self._machines: dict[str, Machine] = {}
        self._leases: dict[str, Lease] = {}
        self._observers: list[Callable[[LeaseReport], None]] = []
        self._wake_up: Any = None
        self._live_file: LiveFile | None = None
        self._control: ControlServer | None = None

    def reconfigService(self, config: PoolConfig, path: str | None = None) -> None:
        """Apply *config*: new leases follow it, running ones keep what they have."""
        self._apply(config)
        self._watch(path)

    def reconfigServiceWithSibling(self, sibling: PoolService) -> Deferred[None]:
        """Take over what a reconfig has made, of which only the arguments are compared."""
        self._observers = sibling._observers
        return super().reconfigServiceWithSibling(sibling)

    def _watch(self, path: str | None) -> None:
        if self._live_file is not None:
            self._live_file.stop()
        self._live_file = None
        if path is not None:
            self._live_file = LiveFile(
                path, applied=self._saved, refused=self._refuse, reactor=self.master.reactor
            )
            self._live_file.start()

    def _saved(self, config: PoolConfig) -> None:
        """Apply what has been saved; a reconfig compares with that from now on."""
        self.refusal = None
        if config != self.config:
            self._config_args = (config,)
            self._apply(config)
            self.workers_wanted()

    def _refuse(self, error: InvalidConfiguration) -> None:
        self.refusal = error
        log.error(
            "pool {pool}: what was saved is refused, the old configuration stays:\n{error}",
            pool=self.name,
            error=str(error),
        )

    def workers_wanted(self) -> None:
        """Do what it takes for new room to be used; for who knows what a worker is to override."""

    def _apply(self, config: PoolConfig) -> None:
        for line in differences(self.config, config):
            log.info("pool {pool}: {line}", pool=self.name, line=line)
        self.config = config
        self._ledger.caps = Caps.of(config)
        self._hosts.configure(config.hosts, self._surroundings())
        self.room_changed()

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            owner=self._owner,
            machines=self._machines,
            memory=self,
            changed=self.room_changed,
            reactor=self.master.reactor,
        )

    @property
    def _owner(self) -> Owner:
        return Owner(self.master.name, self.name)

    def startService(self) -> Deferred[None]:
        """Begin to connect to the hosts; VMs start as soon as one of them is swept."""
        running[self.name] = self
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await super().startService()
        self._control = ControlServer(
            socket_path(Path(self.master.basedir), self.name),
            partial(commands.answer, self),
            reactor=self.master.reactor,
        )
        await self._control.start_or_log()

    def stopService(self) -> Deferred[None]:
        """Wait until the workers have released their VMs, then close the connections."""
        return Deferred.fromCoroutine(self._stop())

    # What workers ask.

    def may_have_room(self, label: str) -> bool:
        """Whether it is worth asking for room for a VM of *label*.

        A label that is not configured has room: its builds must fail and say so, not wait for ever.
        """
        return label not in self.config.labels or self._reservations.may_have_room(label)

    def reserve(self, worker: str, label: str) -> bool:
        """Keep room for a VM of *label* for *worker*; return whether there was any."""
        return label not in self.config.labels or self._reservations.reserve(worker, label)

    def confirm_reservation(self, worker: str) -> None:
        """Keep the room that was reserved: the build has started."""
        self._reservations.confirm(worker)

    def cancel_reservation(self, worker: str) -> None:
        """Give back room that was reserved, if there is any: the build needs none any more."""
        if self._reservations.cancel(worker):
            self.room_changed()

    def launch_attempts(self, label: str) -> int:
        """How many VMs of *label* a job may lose before it is given up.

        :raises ConfigurationError: if there is no such label.
        """
        return self._label(label).launch_attempts

    def lease(self, worker: str, label: str) -> Lease:
        """Give *worker* the VM of *label* that room was reserved for, or another.

        :raises ConfigurationError: if there is no such label.
        :raises CapacityError: if there is no room now.
        """
        self._label(label)
        place = self._reserved(worker, label) or self._ledger.take(label)
        if place is None:
            raise CapacityError(f"no room for a VM of label {label!r}", details=self._why_no_room())
        lease = self._leases[worker] = self._new_lease(worker, place)
        return lease

    def _reserved(self, worker: str, label: str) -> Place | None:
        """Return the place that was reserved, unless its host has left the configuration."""
        place = self._reservations.use(worker, label)
        if place is None or place.host in self._hosts:
            return place
        self._ledger.give_back(place)
        return None

    async def identity(self, lease: Lease, *, password: str, port: int) -> Identity:
        """Return who the VM of *lease* is to be.

        :param password: for its one connection to the master.
        :param port: where the master listens for workers.
        """
        address = await lease.master_address(self.config.master.address)
        return Identity(
            name=lease.worker,
            password=password,
            master=MasterAddress(address, port),
            user=lease.label.user,
        )

    async def release(self, lease: Lease, *, graceful: bool) -> None:
        """Let nothing remain of the VM of *lease*, then tell those that wait for room."""
        try:
            report = await lease.release(graceful=graceful)
        finally:
            del self._leases[lease.worker]
            self._ledger.give_back(lease.place)
            self.room_changed()
        log.info("{lease} for {worker}: {timeline}", **_log_fields(lease))
        self._tell_observers(report)

    def _tell_observers(self, report: LeaseReport) -> None:
        for observer in self._observers:
            try:
                observer(report)
            except Exception:  # noqa: BLE001 - a mistake in a master.cfg ends neither VM nor worker
                log.failure("pool {pool}: an observer failed", pool=self.name)

    # What a master.cfg asks.

    def add_observer(self, observer: Callable[[LeaseReport], None]) -> None:
        """Call *observer* with a report at the end of each lease, on the reactor's thread."""
        self._observers.append(observer)

    def workers_with_leases(self, label: str) -> list[str]:
        """Return the names of workers that have a VM of *label* at this moment."""
        return [worker for worker, lease in self._leases.items() if lease.place.label == label]

    # What an operator asks, over the control socket.

    def status(self) -> PoolStatus:
        """Return what there is at this moment."""
        return PoolStatus(
            master=str(self.master.name),
            name=self.name,
            max_vms=self.config.master.max_vms,
            used=len(self._ledger.taken),
            refused="" if self.refusal is None else str(self.refusal),
            hosts=status.hosts(self.config, self._ledger, self._hosts),
            labels=status.labels(self.config, self._ledger),
            leases=status.leases(self._leases.values()),
        )

    def drain(self, target: Target) -> None:
        """Start nothing new there, until :meth:`undrain` or the end of this process."""
        log.info("pool {pool}: {target} is drained", pool=self.name, target=str(target))
        self._ledger.drained |= {target}

    def undrain(self, target: Target) -> None:
        """Start VMs there again."""
        log.info(
            "pool {pool}: {target} is not drained any more", pool=self.name, target=str(target)
        )
        self._ledger.drained -= {target}
        self.room_changed()

    def vms(self) -> tuple[Vm, ...]:
        """Return all VMs on record, with the names that an operator may use."""
        leases = {lease.report().lease: lease for lease in self._leases.values()}
        return tuple(vm_of(machine, leases.get(id_)) for id_, machine in self._machines.items())

    async def sweep(self, *, dry_run: bool) -> tuple[HostSweep, ...]:
        """Sweep all hosts now; return what of each was freed.

        :param dry_run: free nothing; return what would be.
        """
        return await self._hosts.sweep(dry_run=dry_run)

    # Where probes of KVM are remembered (host.accelerator.ProbeMemory): Buildbot's own database.

    async def load(self, host_uuid: str) -> ProbeResult | None:
        """Return the last result of a KVM probe on that host."""
        state = await self.getState(f"kvm/{host_uuid}", None)
        return None if state is None else ProbeResult(**state)

    async def save(self, host_uuid: str, result: ProbeResult) -> None:
        """Remember the result of a KVM probe."""
        await self.setState(f"kvm/{host_uuid}", vars(result))

    def room_changed(self) -> None:
        """Work out which slots can be used, and soon let workers look for builds again."""
        self._ledger.set_unusable(self._hosts.unusable())
        if self._wake_up is None and self.running:
            self._wake_up = self.master.reactor.callLater(0, self._wake_workers)

    def _wake_workers(self) -> None:
        """Let Buildbot try all idle workers: by itself it tries only the one whose VM has gone."""
        self._wake_up = None
        botmaster = self.master.botmaster
        builders = {
            builder.name
            for name, worker in self.master.workers.workers.items()
            if getattr(worker, "pool_name", None) == self.name and name not in self._leases
            for builder in botmaster.getBuildersForWorker(name)
        }
        for name in sorted(builders):
            botmaster.maybeStartBuildsForBuilder(name)

    # Leases.

    def _new_lease(self, worker: str, place: Place) -> Lease:
        plan = machine_plan(self.config, place, worker=worker, owner=self._owner)
        host = self._hosts[place.host]
        return Lease(
            label=self.config.labels[place.label],
            place=place,
            host=host,
            machine=host.new_machine(plan),
            is_up=self._vm_is_up,
        )

    def _vm_is_up(self, place: Place) -> None:
        self._ledger.note_started(place)
        self.room_changed()

    def _label(self, name: str) -> LabelConfig:
        label = self.config.labels.get(name)
        if label is None:
            raise no_such_label(name, self.config)
        return label

    def _why_no_room(self) -> str:
        max_vms = self.config.master.max_vms
        count = f"{len(self._leases)} of max_vms {max_vms} VMs are running."
        return "\n".join([count, *self._hosts.troubles()])

    async def _stop(self) -> None:
        running.pop(self.name, None)
        self._watch(None)
        await super().stopService()
        if self._wake_up is not None:
            self._wake_up.cancel()
        await self._hosts.stop()
        if self._control is not None:
            await self._control.stop()


def no_such_label(label: str, config: PoolConfig) -> ConfigurationError:
    """Return the error that says that *label* is not among those of *config*."""
    return ConfigurationError(
        f"label {label!r} is not configured",
        details=f"The pool's labels: {', '.join(config.labels)}.",
        resolution="Add it to the pool's YAML file, or correct the label where it is asked for: in "
        "master.cfg, or in the build property that it comes from.",
    )


def _log_fields(lease: Lease) -> dict[str, str]:
    return {"lease": str(lease), "worker": lease.worker, "timeline": str(lease.timeline)}
