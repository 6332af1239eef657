# SPDX-License-Identifier: GPL-2.0-only
"""The pool: a Buildbot service that owns the hosts and the VMs of one master.

Its start, live configuration and stop are here. The VMs, and all that decides about them, are in
``pool/vm_pool.py``. What a ``master.cfg`` says is in ``master/master_cfg.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildbot.config.errors import ConfigErrors
from buildbot.util.service import BuildbotService
from buildbot.util.state import StateMixin
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt import timers
from latent_libvirt.config.models import PoolConfig
from latent_libvirt.config.watch import LiveFile
from latent_libvirt.control import commands
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.control.server import ControlServer
from latent_libvirt.control.socket_path import socket_path
from latent_libvirt.deferreds import in_background
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import Owner
from latent_libvirt.master import graceful_stop
from latent_libvirt.master.choosing.fair_order import FairOrder
from latent_libvirt.master.maintenance import Maintenance
from latent_libvirt.master.page.audit import PageAudit
from latent_libvirt.master.page.pool_page import PoolPage
from latent_libvirt.master.peers import dead_owners, failed_over_owners
from latent_libvirt.master.queue import queue_report
from latent_libvirt.master.queue.waiting import WaitingRequests
from latent_libvirt.master.queue.why_waiting import Explainer
from latent_libvirt.master.records import terminal
from latent_libvirt.master.running import running
from latent_libvirt.master.service import mending
from latent_libvirt.master.service.loaded_config import LoadedConfig
from latent_libvirt.master.service.memory import PoolMemory
from latent_libvirt.master.usage import abandoned, sums
from latent_libvirt.master.workers.port.descriptors import raise_descriptor_limit
from latent_libvirt.master.workers.port.dispatcher import guard_open_ports
from latent_libvirt.metrics.instruments import Instruments
from latent_libvirt.metrics.server import MetricsServer
from latent_libvirt.pool.vm_pool import Environment, VmPool

if TYPE_CHECKING:
    from latent_libvirt.host.context import ChangeDomain
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.meters.usage import Reading
    from latent_libvirt.pool.lease import LeaseReport
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.status.names import BuildRef, Target

log = Logger()

DEFAULT_NAME = "latent_libvirt"


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
        mending.install_early()
        self.loaded = LoadedConfig(self.name, config)
        self._observers: list[Callable[[LeaseReport], None]] = []
        self._change_domain: ChangeDomain | None = None
        self._live_file: LiveFile | None = None
        self._control: ControlServer | None = None
        self.metrics = Instruments(self.name)
        self._metrics_server: MetricsServer | None = None
        self._started_at = 0.0

    @property
    def config(self) -> PoolConfig:
        """What it follows."""
        return self.loaded.current

    def check_chosen_size(self, label: str, properties: Mapping[str, object]) -> None:
        """Refuse a job whose properties choose a size that *label* does not allow.

        :raises ConfigurationError: and why.
        """
        self.vm_pool.chosen_size(label, properties)

    # The parts. They need the master, which a service does not have when it is constructed.

    @cached_property
    def vm_pool(self) -> VmPool:
        """The VMs, and all that decides about them."""
        memory = PoolMemory(self)
        environment = Environment(
            reactor=self.master.reactor,
            is_running=lambda: bool(self.running),
            room_changed=self._room_changed,
            lease_ended=self.lease_has_ended,
            memory=memory,
            dead_owners=self._dead_owners,
            failed_over_owners=self._failed_over_owners,
            events=self.metrics,
            make_host=Host,
            rollouts=memory,
            frozen=memory,
            change_domain=lambda: self._change_domain,
            abandoned=self._abandoned,
            hold_lost=self._hold_lost,
            waiting=lambda: self.waiting.labels_of_next,
            cache=Path(self.master.basedir) / f"{self.name.replace('/', '-')}.fetched",
        )
        return VmPool(self.config, Owner(self.master.name, self.name), environment)

    @cached_property
    def order(self) -> FairOrder:
        """Which builder comes next."""
        return FairOrder(self.master, self.vm_pool.admission.fair_share)

    @cached_property
    def operations(self) -> Operations:
        """What an operator asks, over the control socket."""
        return Operations(
            self.vm_pool,
            facts=self._facts,
            undrained=self._undrained,
            usage=lambda request: sums.summed(self.master, self._sizes(), request),
            recorded=self._recorded,
            audit=self._note,
        )

    @cached_property
    def _audit(self) -> PageAudit:
        return PageAudit(Path(self.master.basedir), self.master.reactor)

    def _note(self, facts: dict[str, Any], outcome: str) -> None:
        """Note what was asked over the control socket, with the members of the page's actions."""
        here = {"from": "local", "pool": f"{self.master.masterid}/{self.name}"}
        self._audit.note({**facts, **here}, outcome)

    def _hold_lost(self, vm_id: str, user: str, why: str) -> None:
        """Note that a VM is not held although *user* has asked for that."""
        pool = f"{self.master.masterid}/{self.name}"
        facts = {"user": user, "from": "pool", "pool": pool, "command": "hold", "name": vm_id}
        self._audit.note(facts, "lost", why)

    @cached_property
    def waiting(self) -> WaitingRequests:
        """The build requests that wait."""
        return WaitingRequests(self.master, self.name, Explainer(self.master, self.vm_pool))

    @cached_property
    def page(self) -> PoolPage:
        """What it has to do with the page "VMs" of each master's web UI."""
        return PoolPage(self.master, self.name, self.operations)

    @cached_property
    def _maintenance(self) -> Maintenance:
        return Maintenance(
            self.vm_pool, botmaster=self.master.botmaster, reactor=self.master.reactor
        )

    # Its configuration.

    def reconfigService(self, config: PoolConfig, path: str | None = None) -> None:
        """Apply *config*: new leases follow it, running ones keep what they have."""
        self._apply(config)
        self._watch(path)

    def reconfigServiceWithSibling(self, sibling: PoolService) -> Deferred[None]:
        """Take over what a reconfig has made, of which only the arguments are compared."""
        self._observers = sibling._observers
        self._change_domain = sibling._change_domain
        return super().reconfigServiceWithSibling(sibling)

    def _watch(self, path: str | None) -> None:
        if self._live_file is not None:
            self._live_file.stop()
        self._live_file = None
        if path is not None:
            self._live_file = LiveFile(
                path, applied=self._saved, refused=self.loaded.refuse, reactor=self.master.reactor
            )
            self._live_file.start()

    def _saved(self, config: PoolConfig) -> None:
        """Apply what has been saved; a reconfig compares with that from now on."""
        if self.loaded.accept(config):
            self._config_args = (config,)
            self._apply(config)
            self.workers_wanted()

    def workers_wanted(self) -> None:
        """Do what it takes for new room to be used; for who knows what a worker is to override."""

    def _apply(self, config: PoolConfig) -> None:
        self.loaded.follow(config)
        self.metrics.configured(config)
        self._serve_metrics()
        self.vm_pool.configure(config)

    def _serve_metrics(self) -> None:
        if self._metrics_server is None:
            self._metrics_server = MetricsServer(
                self.metrics.registry, self.operations.status, reactor=self.master.reactor
            )
        self._metrics_server.serve(self.config.master.metrics)

    # Start and stop.

    def startService(self) -> Deferred[None]:
        """Begin to connect to the hosts; VMs start as soon as one of them is swept."""
        running[self.name] = self
        timers.install(self.master.reactor)
        self._started_at = self.master.reactor.seconds()
        raise_descriptor_limit()
        guard_open_ports(self.master.pbmanager)
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        # Buildbot says so only when all services have started; by then another master may have
        # taken this one for dead, and freed the spares that it has just adopted.
        master = self.master
        await master.data.updates.masterActive(name=master.name, masterid=master.masterid)
        await self.vm_pool.canaries.load()
        await self.vm_pool.frozen_notes.load()
        await super().startService()
        self._maintenance.start()
        mending.install(master, self.vm_pool.admission, self.order)
        graceful_stop.stop_in_order(master, lambda: self.config.master.stop_within)
        self._control = ControlServer(
            socket_path(Path(self.master.basedir), self.name),
            partial(commands.answer, self.operations),
            reactor=self.master.reactor,
        )
        await self._control.start_or_log()
        self.waiting.start()
        self.page.start()

    def stopService(self) -> Deferred[None]:
        """Wait until the workers have released their VMs, then close the connections.

        Spares and held VMs run on if the master only stops: it adopts them when it is back.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        running.pop(self.name, None)
        self._watch(None)
        await self.page.stop()
        self._maintenance.stop()
        await super().stopService()
        await self.vm_pool.stop(keep=self.name in self.master.config.services)
        await self.waiting.stop()
        for server in (self._metrics_server, self._control):
            if server is not None:
                await server.stop()

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

    def change_domains(self, change: Any) -> None:
        """Call *change* with the name of a label and the domain of a VM of it, to change that.

        It is called in any thread, and several times for a VM. Each time it has to do the same. The
        domain is an element of lxml's.

        :raises ConfigErrors: if it cannot be called.
        """
        if not callable(change):
            what = "takes a function of a label's name and a domain, an element of lxml's"
            raise ConfigErrors([f"pool.change_domains() {what}, not {change!r:.60}"])
        self._change_domain = change

    def workers_with_leases(self, label: str) -> list[str]:
        """Return the names of workers that have a VM of *label* at this moment."""
        leases = self.vm_pool.leases
        return [worker for worker, lease in leases.items() if lease.label_name == label]

    # What other services of this master ask.

    def sweep_soon(self) -> None:
        """Look for what is left on hosts: somebody may have died."""
        for host in self.vm_pool.hosts.values():
            host.sweep_soon()

    # What its VMs ask.

    async def _dead_owners(self, pools: Collection[str]) -> frozenset[str]:
        return await dead_owners(self.master, {self.name, *pools}, since=self._started_at)

    async def _failed_over_owners(self, pools: Collection[str]) -> frozenset[str]:
        return await failed_over_owners(self.master, {self.name, *pools})

    def _abandoned(self, host: str, record: VmRecord, size: Size, reading: Reading) -> None:
        """Charge the build of a VM whose master was killed."""
        now = float(self.master.reactor.seconds())
        charged = abandoned.charge(self.master, record, reading, host=host, size=size, now=now)
        in_background(charged, f"usage of {record.worker}")

    # What operators ask.

    def _sizes(self) -> sums.Sizes:
        return {name: (of.vcpus, of.memory) for name, of in self.config.labels.items()}

    def _facts(self) -> Facts:
        loaded = self.loaded
        return Facts(
            master=str(self.master.name),
            refused="" if loaded.refusal is None else str(loaded.refusal),
            generation=loaded.generation,
            loaded_at=loaded.loaded_at,
            waiting=queue_report.waiting(self.config, self.waiting.current),
            explained=queue_report.explained(self.waiting.explanations),
            changed=loaded.changed,
            changed_at=loaded.changed_at,
        )

    def _recorded(self, build: BuildRef, recording: bytes) -> None:
        in_background(terminal.keep(self.master, build, recording), "terminal's recording")

    def _undrained(self, target: Target) -> None:
        """End the rest of the pool's workers whose VMs may be on that host, or of that label."""
        for worker in self.master.workers.workers.values():
            if getattr(worker, "pool_name", None) == self.name and (
                target.kind == "host" or worker.fixed_label in ("", target.name)
            ):
                worker.resetQuarantine()
                worker.stopQuarantineTimer()

    # What its VMs need of Buildbot.

    def _room_changed(self) -> None:
        if self.running:
            self._maintenance.wake_soon()


def _no_configuration(given: object) -> str:
    """Return what to say of a pool that was made of something else than a configuration."""
    example = repr(os.fspath(given)) if isinstance(given, str | os.PathLike) else "'pool.yaml'"
    return f"a pool is made by Pool.from_yaml({example}), not by calling Pool itself"
