# SPDX-License-Identifier: GPL-2.0-only
"""A deployment: a single master, or a scheduler master and several interface masters."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latent_libvirt.jobs import tokens
from latent_libvirt.stress.deployment.guests import await_guests, start_guests
from latent_libvirt.stress.deployment.hypervisors import PrivateHosts
from latent_libvirt.stress.deployment.masters import Master, make_template
from latent_libvirt.stress.deployment.ports import free_ports
from latent_libvirt.stress.deployment.servers import serving
from latent_libvirt.stress.in_master.pool import (
    label_of,
    operators_pool,
    pool_yaml,
    private_pool,
)
from latent_libvirt.stress.in_master.settings import MasterSettings

if TYPE_CHECKING:
    from latent_libvirt.sandbox import PrivateLibvirtd
    from latent_libvirt.stress.deployment.process import Process
    from latent_libvirt.stress.deployment.servers import Servers
    from latent_libvirt.stress.profile.models import DeploymentProfile
    from latent_libvirt.stress.workspace import Workspace


@dataclass
class Deployment:
    """What runs.

    :param masters: all of them, the one with the web UI first.
    :param guests: processes with simulated guests.
    :param libvirtds: those that were started for private hosts.
    :param token: of the job API; it may start any job.
    """

    servers: Servers
    masters: list[Master] = field(default_factory=list)
    guests: list[Process] = field(default_factory=list)
    libvirtds: list[PrivateLibvirtd] = field(default_factory=list)
    token: str = field(default="", repr=False)

    @property
    def db_url(self) -> str:
        """Where the database of the masters is."""
        return self.servers.db_url

    @property
    def web_url(self) -> str:
        """Where the web UI is, with a slash at the end."""
        return self.masters[0].settings.web_url

    @property
    def processes(self) -> list[Process]:
        """The processes of masters and guests that were started."""
        started = [master.process for master in self.masters if master.process is not None]
        return [*started, *self.guests]

    def pids(self) -> dict[str, int]:
        """Return the first process of each part, by its name."""
        return {process.name: process.pid for process in self.processes} | self.servers.pids

    def see_that_all_run(self) -> None:
        """Raise if something has ended.

        :raises HostError: it has.
        """
        for process in self.processes:
            process.see_that_it_runs()

    def end(self) -> None:
        """End masters and guests; return when they are gone."""
        for process in self.processes:
            process.stop()
        for process in self.processes:
            process.end()


@contextmanager
def deployed(
    work: Workspace, profile: DeploymentProfile, *, cache: Path, seed: int = 0
) -> Iterator[Deployment]:
    """Run a deployment for the length of a ``with`` block.

    :param work: for all its files.
    :param cache: keeps what takes long to install.
    :raises HostError: something does not start.
    """
    several = profile.interface_masters > 0
    with (
        serving(work, cache=cache, with_router=several) as servers,
        ExitStack() as stack,
    ):
        deployment = Deployment(servers)
        template = make_template(work.directory / "template", servers.db_url)
        web, *ports = free_ports(1 + max(1, profile.interface_masters))
        common = _common(servers, profile, web_port=web, seed=seed)
        # Masters end before the hypervisors of their VMs.
        hosts = PrivateHosts(work.directory, profile, cache, stack.enter_context(ExitStack()))
        stack.callback(deployment.end)
        _Site(work.directory, work.sockets, profile, template, common, ports, hosts).prepare(
            deployment
        )
        start(deployment)
        yield deployment


def start(deployment: Deployment) -> None:
    """Start all masters side by side; return when all run."""
    for master in deployment.masters:
        master.start()
    for master in deployment.masters:
        master.await_start()


def _common(
    servers: Servers, profile: DeploymentProfile, *, web_port: int, seed: int
) -> MasterSettings:
    """Return the settings that all masters share."""
    return MasterSettings(
        name="",
        db_url=servers.db_url,
        web_url=f"http://127.0.0.1:{web_port}/",
        web_port=web_port,
        router_url=servers.router_url,
        router_secret=servers.router_secret,
        start=profile.start,
        seed=seed,
    )


@dataclass(frozen=True)
class _Site:
    """What masters are made of.

    :param sockets: the directory of the guests' sockets.
    :param common: the settings that all masters share.
    :param ports: for the workers of each master that has any.
    :param hosts: start private hosts.
    """

    work: Path
    sockets: Path
    profile: DeploymentProfile
    template: Path
    common: MasterSettings
    ports: list[int]
    hosts: PrivateHosts

    def prepare(self, deployment: Deployment) -> None:
        """Make the masters, and start their guests."""
        if not self.profile.interface_masters:
            self._with_pool(deployment, "single", self.ports[0])
        else:
            deployment.masters.append(self._master(replace(self.common, name="scheduler")))
            for number, port in enumerate(self.ports, 1):
                self._with_pool(deployment, f"interface-{number}", port)
        path = deployment.masters[0].directory / "tokens.json"
        deployment.token = tokens.create(
            path, name="stress", builders=["*"], now=time.time(), expires=None
        )

    def _with_pool(self, deployment: Deployment, name: str, port: int) -> None:
        """Make a master with a pool, and start what its VMs need."""
        settings = replace(self.common, name=name, workers_port=port, label=label_of(self.profile))
        if self.profile.hypervisor == "simulated":
            settings = replace(settings, guests=str(self._start_guests(deployment, name)))
        master = self._master(settings)
        deployment.masters.append(master)
        master.write_pool(self._pool(deployment, master))

    def _start_guests(self, deployment: Deployment, name: str) -> Path:
        """Start the process with a master's guests; return its socket."""
        socket = self.sockets / name
        guests = start_guests(f"guests of {name}", self.work / f"guests-{name}", socket)
        deployment.guests.append(guests)
        await_guests(guests, socket)
        return socket

    def _pool(self, deployment: Deployment, master: Master) -> dict[str, Any]:
        match self.profile.hypervisor:
            case "private":
                started = self.hosts.start(master.name)
                deployment.libvirtds += started
                uris = [libvirtd.uri for libvirtd in started]
                return private_pool(uris, self.profile, name=master.name)
            case "pool":
                return operators_pool(self.profile, name=master.name)
        return pool_yaml(master.directory, self.profile, name=master.name)

    def _master(self, settings: MasterSettings) -> Master:
        kind = settings.name.partition("-")[0]
        return Master(self.work / settings.name, settings, template=self.template, kind=kind)
