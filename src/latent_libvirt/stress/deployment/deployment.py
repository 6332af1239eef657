# SPDX-License-Identifier: GPL-2.0-only
"""A deployment: a single master, or a scheduler master and several interface masters."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from latent_libvirt.jobs import tokens
from latent_libvirt.stress.deployment.guests import await_guests, start_guests
from latent_libvirt.stress.deployment.masters import Master, make_template
from latent_libvirt.stress.deployment.ports import free_ports
from latent_libvirt.stress.deployment.servers import serving
from latent_libvirt.stress.in_master.pool import pool_yaml
from latent_libvirt.stress.in_master.settings import MasterSettings

if TYPE_CHECKING:
    from latent_libvirt.stress.deployment.process import Process
    from latent_libvirt.stress.deployment.servers import Servers
    from latent_libvirt.stress.profile.models import DeploymentProfile


@dataclass
class Deployment:
    """What runs.

    :param masters: all of them, the one with the web UI first.
    :param guests: processes with simulated guests.
    :param token: of the job API; it may start any job.
    """

    servers: Servers
    masters: list[Master] = field(default_factory=list)
    guests: list[Process] = field(default_factory=list)
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
    work: Path, profile: DeploymentProfile, *, cache: Path, seed: int = 0
) -> Iterator[Deployment]:
    """Run a deployment for the length of a ``with`` block.

    :param work: an empty directory for all its files.
    :param cache: keeps what takes long to install.
    :raises HostError: something does not start.
    """
    several = profile.interface_masters > 0
    with (
        # A Unix socket's path has 107 bytes, and the directory may be far down.
        tempfile.TemporaryDirectory(prefix="llv-") as sockets,
        serving(work, cache=cache, with_router=several) as servers,
        ExitStack() as stack,
    ):
        deployment = Deployment(servers)
        stack.callback(deployment.end)
        template = make_template(work / "template", servers.db_url)
        web, *ports = free_ports(1 + max(1, profile.interface_masters))
        common = _common(servers, profile, web_port=web, seed=seed)
        site = _Site(work, Path(sockets), profile, template, common, ports)
        site.prepare(deployment)
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
    """

    work: Path
    sockets: Path
    profile: DeploymentProfile
    template: Path
    common: MasterSettings
    ports: list[int]

    def prepare(self, deployment: Deployment) -> None:
        """Make the masters, and start their guests."""
        if not self.profile.interface_masters:
            self._with_guests(deployment, "single", self.ports[0])
        else:
            deployment.masters.append(self._master(replace(self.common, name="scheduler")))
            for number, port in enumerate(self.ports, 1):
                self._with_guests(deployment, f"interface-{number}", port)
        path = deployment.masters[0].directory / "tokens.json"
        deployment.token = tokens.create(
            path, name="stress", builders=["*"], now=time.time(), expires=None
        )

    def _with_guests(self, deployment: Deployment, name: str, port: int) -> None:
        """Make a master with a pool, and start its guests."""
        socket = self.sockets / name
        guests = start_guests(f"guests of {name}", self.work / f"guests-{name}", socket)
        deployment.guests.append(guests)
        await_guests(guests, socket)
        settings = replace(self.common, name=name, workers_port=port, guests=str(socket))
        master = self._master(settings)
        deployment.masters.append(master)
        master.write_pool(pool_yaml(master.directory, self.profile, name=name))

    def _master(self, settings: MasterSettings) -> Master:
        kind = settings.name.partition("-")[0]
        return Master(self.work / settings.name, settings, template=self.template, kind=kind)
