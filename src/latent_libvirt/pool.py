# SPDX-License-Identifier: GPL-2.0-only
"""The pool: a Buildbot service that owns the hosts and the VMs of one master.

Here its parts are put together and its life is told: start, live configuration, stop. What the
parts do is told where they are: room (``capacity.py``, ``supply.py``, ``reservations.py``), VMs
(``stock.py``, ``leases.py``, ``spares.py``, ``holds.py``), what they are resumed from
(``sealer.py``), hosts (``fleet.py``). Workers ask at the pool's desk (``desk.py``), operators for
its operations (``operations.py``); what a ``master.cfg`` says is in ``master_cfg.py``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from functools import cached_property, partial
from pathlib import Path

from buildbot.config.errors import ConfigErrors
from buildbot.util.service import BuildbotService
from buildbot.util.state import StateMixin
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt import (
    build_chooser,
    failed_starts,
    last_word,
    log_bound,
    orderly_stop,
    patience,
    preparation,
    promised_locks,
    steady_timers,
    uploads,
    worker_names,
    worker_port,
)
from latent_libvirt.attempts import Attempts
from latent_libvirt.capacity import Caps, Ledger
from latent_libvirt.config import InvalidConfiguration, PoolConfig
from latent_libvirt.config.difference import differences
from latent_libvirt.control import commands
from latent_libvirt.control.address import socket_path
from latent_libvirt.control.server import ControlServer
from latent_libvirt.dead_masters import buried_owners, dead_owners
from latent_libvirt.desk import Desk
from latent_libvirt.fair_order import FairOrder
from latent_libvirt.fleet import Fleet
from latent_libvirt.holds import Holds
from latent_libvirt.host.accelerator import ProbeResult
from latent_libvirt.host.domains import SlotDomain
from latent_libvirt.host.host import Host, Surroundings
from latent_libvirt.host.machine import Machine
from latent_libvirt.host.names import Owner
from latent_libvirt.housekeeping import Housekeeping
from latent_libvirt.lease import LeaseReport
from latent_libvirt.leases import Leases
from latent_libvirt.live_file import LiveFile
from latent_libvirt.metrics.instruments import Instruments
from latent_libvirt.metrics.server import MetricsServer
from latent_libvirt.operations import Operations
from latent_libvirt.sealer import Sealer
from latent_libvirt.set_aside import SetAside
from latent_libvirt.spares import Spares
from latent_libvirt.steady_timers import passed
from latent_libvirt.stock import Stock
from latent_libvirt.supply import Evictable, Room, Supply
from latent_libvirt.vm import VM
from latent_libvirt.waiting import WaitingRequests
from latent_libvirt.why_waiting import Explainer

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

    def checkConfig(
        self,
        config: PoolConfig | None = None,
        path: str | None = None,  # noqa: ARG002
    ) -> None:
        """Take the configuration that the service was constructed with; do nothing yet.

        :param path: the file that it is from. While the service runs, what is saved there is
            applied at once.
        """
        if not isinstance(config, PoolConfig):
            raise ConfigErrors([_no_configuration(config)])
        # Before there is a port for workers: it is to be guarded from its first connection on.
        worker_port.install()
        log_bound.install()
        patience.install()
        uploads.install()
        worker_names.install()
        self.config: PoolConfig = config
        self.refusal: InvalidConfiguration | None = None
        self.attempts = Attempts()
        self.ledger = Ledger(Caps.of(config))
        self.hosts = Fleet()
        self._machines: dict[str, Machine] = {}
        self._observers: list[Callable[[LeaseReport], None]] = []
        self._live_file: LiveFile | None = None
        self._control: ControlServer | None = None
        self.metrics = Instruments(self.name)
        self._metrics_server: MetricsServer | None = None
        self.generation = 0
        self.loaded_at = 0.0
        self._started_at = 0.0

    # The parts. They need the master, which a service does not have when it is constructed.

    @cached_property
    def set_aside(self) -> SetAside:
        """Which hosts get nothing for a while."""
        return SetAside(lambda: passed(self.master.reactor), changed=self.hosts_changed)

    @cached_property
    def stock(self) -> Stock:
        """All VMs."""
        return Stock(
            self.ledger,
            self.hosts,
            set_aside=self.set_aside,
            changed=self.room_changed,
            events=self.metrics,
        )

    @cached_property
    def spares(self) -> Spares:
        """The VMs that wait for a job."""
        return Spares(self.stock, self.ledger, owner=self._owner, reactor=self.master.reactor)

    @cached_property
    def sealer(self) -> Sealer:
        """What VMs are resumed from."""
        return Sealer(
            self.stock,
            self.ledger,
            self.hosts,
            owner=self._owner,
            reactor=self.master.reactor,
        )

    @cached_property
    def holds(self) -> Holds:
        """The VMs that are held after their job."""
        return Holds(self.stock, self.ledger, reactor=self.master.reactor)

    @cached_property
    def leases(self) -> Leases:
        """The VMs that workers have."""
        return Leases(
            self.stock, self.supply, self.holds, attempts=self.attempts, make_vm=self._vm_in
        )

    @cached_property
    def order(self) -> FairOrder:
        """Which builder comes next."""
        return FairOrder(self.master)

    @cached_property
    def operations(self) -> Operations:
        """What an operator asks, over the control socket."""
        return Operations(self)

    @cached_property
    def waiting(self) -> WaitingRequests:
        """The build requests that wait."""
        return WaitingRequests(self.master, self.name, Explainer(self.master, self))

    @cached_property
    def supply(self) -> Supply:
        """What a job can have."""
        return Supply(self.ledger, self.spares, self.evictable)

    @cached_property
    def desk(self) -> Desk:
        """Where workers ask."""
        return Desk(self)

    @cached_property
    def _housekeeping(self) -> Housekeeping:
        return Housekeeping(self)

    @property
    def _owner(self) -> Owner:
        return Owner(self.master.name, self.name)

    # Its configuration.

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
        self.loaded_at = time.time()
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
        self.generation += 1
        self.loaded_at = time.time()
        self.ledger.caps = Caps.of(config)
        self.metrics.configured(config)
        self._serve_metrics()
        self.hosts.configure(config.hosts, self._surroundings())
        self.hosts_changed()

    def _serve_metrics(self) -> None:
        if self._metrics_server is None:
            self._metrics_server = MetricsServer(
                self.metrics.registry, self.operations.status, reactor=self.master.reactor
            )
        self._metrics_server.serve(self.config.master.metrics)

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            owner=self._owner,
            machines=self._machines,
            memory=self,
            changed=self.hosts_changed,
            reactor=self.master.reactor,
            adopt=self._adopt,
            dead_owners=self._dead_owners,
            buried_owners=self._buried_owners,
            twin=self.hosts.twin_of,
            events=self.metrics,
        )

    # Start and stop.

    def startService(self) -> Deferred[None]:
        """Begin to connect to the hosts; VMs start as soon as one of them is swept."""
        running[self.name] = self
        steady_timers.install(self.master.reactor)
        self._started_at = self.master.reactor.seconds()
        worker_port.raise_descriptor_limit()
        worker_port.guard_open_ports(self.master.pbmanager)
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        # Buildbot says so only when all services have started; by then another master may have
        # taken this one for dead, and freed the spares that it has just adopted.
        master = self.master
        await master.data.updates.masterActive(name=master.name, masterid=master.masterid)
        await super().startService()
        self._housekeeping.start()
        promised_locks.install()
        last_word.install(self.master.botmaster.brd, self.desk)
        build_chooser.install(self.master.botmaster.brd, self.order)
        failed_starts.install()
        preparation.install()
        orderly_stop.stop_in_order(master, lambda: self.config.master.stop_within)
        self._control = ControlServer(
            socket_path(Path(self.master.basedir), self.name),
            partial(commands.answer, self.operations),
            reactor=self.master.reactor,
        )
        await self._control.start_or_log()
        self.waiting.start()

    def stopService(self) -> Deferred[None]:
        """Wait until the workers have released their VMs, then close the connections.

        Spares and held VMs run on if the master only stops: it adopts them when it is back.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        running.pop(self.name, None)
        self._watch(None)
        self._housekeeping.stop()
        await super().stopService()
        await self._part_with_vms()
        await self.hosts.stop()
        await self.waiting.stop()
        for server in (self._metrics_server, self._control):
            if server is not None:
                await server.stop()

    async def _part_with_vms(self) -> None:
        is_configured = self.name in self.master.config.services
        await (self.sealer.stop() if is_configured else self.sealer.end())
        if is_configured:
            await self.spares.let_go()
            await self.holds.let_go()
        else:
            await self.spares.end()
            await self.holds.end()

    def lease_has_ended(self, report: LeaseReport) -> None:
        """Tell all who want to know."""
        for observer in (self.metrics.lease_ended, *self._observers):
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
        return [worker for worker, lease in self.leases.items() if lease.label_name == label]

    # What other services of this master ask.

    def sweep_soon(self) -> None:
        """Look for what is left on hosts: somebody may have died."""
        for host in self.hosts.values():
            host.sweep_soon()

    # What the hosts ask.

    def _adopt(self, host: Host, domain: SlotDomain) -> bool:
        record = domain.record
        if record is None or not self.running:
            return False
        keeper = self.holds if record.state == "held" else self.spares
        return keeper.adopt(self.config, host.name, domain.slot, record)

    async def _dead_owners(self, pools: Collection[str]) -> frozenset[str]:
        return await dead_owners(self.master, {self.name, *pools}, since=self._started_at)

    async def _buried_owners(self, pools: Collection[str]) -> frozenset[str]:
        return await buried_owners(self.master, {self.name, *pools})

    # Where probes of KVM are remembered (host.accelerator.ProbeMemory): Buildbot's own database.

    async def load(self, host_uuid: str) -> ProbeResult | None:
        """Return the last result of a KVM probe on that host."""
        state = await self.getState(f"kvm/{host_uuid}", None)
        return None if state is None else ProbeResult(**state)

    async def save(self, host_uuid: str, result: ProbeResult) -> None:
        """Remember the result of a KVM probe."""
        await self.setState(f"kvm/{host_uuid}", vars(result))

    # Room.

    def room_changed(self) -> None:
        """Soon let workers look for builds again; what it costs does not depend on the hosts."""
        self.supply.changed()
        if self.running:
            self._housekeeping.wake_soon()

    def hosts_changed(self) -> None:
        """Work out which slots of which hosts can be used; that may make room."""
        self.ledger.set_unusable(self._unusable())
        self.ledger.set_unfit(self.unfit())
        self.ledger.set_sealed(self.sealer.sealed_slots(self.config))
        self.room_changed()

    def _unusable(self) -> dict[str, frozenset[int] | None]:
        return self.hosts.unusable() | dict.fromkeys(self.set_aside.hosts())

    def unfit(self) -> dict[str, dict[str, str]]:
        """Return, by label and host, why the label gets no VM there although others may."""
        unfit = self.hosts.too_small(self.config)
        for label, hosts in self.set_aside.labels().items():
            unfit[label] = hosts | unfit.get(label, {})
        return unfit

    def evictable(self) -> Iterator[Evictable]:
        """Return the VMs that may go if a job needs their room, those missed least first."""
        yield from self.sealer.evictable()
        yield from self.leases.evictable(passed(self.master.reactor))
        yield from self.spares.evictable()

    def _vm_in(self, room: Room, worker: str) -> VM:
        if room.spare is not None:
            return room.spare
        return self.stock.add(self.config, room.place, owner=self._owner, worker=worker)


def _no_configuration(given: object) -> str:
    """Return what to say of a pool that was made of something else than a configuration."""
    example = repr(os.fspath(given)) if isinstance(given, str | os.PathLike) else "'pool.yaml'"
    return f"a pool is made by Pool.from_yaml({example}), not by calling Pool itself"
