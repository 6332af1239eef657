# SPDX-License-Identifier: GPL-2.0-only
"""A deployment: a single master, or a scheduler and several interface masters."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latent_libvirt.jobs import tokens
from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL
from latent_libvirt.sandbox.router import PrivateRouter
from latent_libvirt.stress.deployment.guests import await_guests, start_guests
from latent_libvirt.stress.deployment.masters import Master, make_template
from latent_libvirt.stress.deployment.ports import free_ports
from latent_libvirt.stress.in_master.pool import pool_yaml
from latent_libvirt.stress.in_master.settings import MasterSettings

if TYPE_CHECKING:
    from latent_libvirt.stress.deployment.process import Process
    from latent_libvirt.stress.profile.models import DeploymentProfile

STATEMENTS = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "all"}
"""Settings with which PostgreSQL measures statements."""


@dataclass
class Deployment:
    """What runs.

    :param web_url: of the web UI, with a slash at the end.
    :param token: of the job API; it may start any job.
    :param masters: all of them, the one with the web UI first.
    :param guests: processes with simulated guests.
    :param servers: process numbers of database and router, by name.
    """

    web_url: str
    token: str
    db_url: str
    masters: list[Master]
    guests: list[Process] = field(default_factory=list)
    servers: dict[str, int] = field(default_factory=dict)

    def pids(self) -> dict[str, int]:
        """Return the first process of each part, by its name."""
        started = [master.process for master in self.masters if master.process is not None]
        return {p.name: p.pid for p in [*started, *self.guests]} | self.servers

    def see_that_all_run(self) -> None:
        """Raise if something has ended.

        :raises HostError: it has.
        """
        for process in [*(m.process for m in self.masters), *self.guests]:
            if process is not None:
                process.see_that_it_runs()


class _Builder:
    """Starts a deployment part by part; *stack* ends what was started."""

    def __init__(
        self, work: Path, profile: DeploymentProfile, *, cache: Path, seed: int, stack: ExitStack
    ) -> None:
        self._work = work
        self._profile = profile
        self._cache = cache
        self._seed = seed
        self._stack = stack
        # A Unix socket's path has 107 bytes; the directory may be far down.
        self._sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llv-")))
        self._processes: list[Process] = []

    def build(self) -> Deployment:
        """Start all."""
        database = PrivatePostgreSQL(self._work / "postgresql", settings=STATEMENTS)
        self._stack.enter_context(database)
        servers = {"postgresql": database.pid}
        count = self._profile.interface_masters
        web, *workers = free_ports(1 + max(1, count))
        common: dict[str, Any] = {
            "db_url": database.url,
            "web_url": f"http://127.0.0.1:{web}/",
            "start": self._profile.start,
        }
        if count:
            router = PrivateRouter(self._work / "router", environment=self._cache / "crossbar-venv")
            self._stack.enter_context(router)
            servers["router"] = router.pid
            common |= {"router_url": router.url, "router_secret": router.secret}
        self._stack.callback(self._end)  # before database and router end
        template = make_template(self._work / "template", database.url)
        guests: list[Process] = []
        masters = [*self._masters(common, template, web, workers, guests)]
        token = _make_token(masters[0].directory / "tokens.json")
        for master in masters:
            self._processes.append(master.start())
        for master in masters:
            master.await_start()
        return Deployment(common["web_url"], token, database.url, masters, guests, servers)

    def _masters(
        self,
        common: dict[str, Any],
        template: Path,
        web: int,
        workers: list[int],
        guests: list[Process],
    ) -> Iterator[Master]:
        if not self._profile.interface_masters:
            yield self._with_pool(
                "single", common | {"web_port": web}, template, workers[0], guests
            )
            return
        settings = MasterSettings(name="scheduler", web_port=web, **common)
        yield Master(self._work / "scheduler", settings, template=template, kind="scheduler")
        for number, port in enumerate(workers, 1):
            yield self._with_pool(f"interface-{number}", common, template, port, guests)

    def _with_pool(
        self,
        name: str,
        common: dict[str, Any],
        template: Path,
        port: int,
        guests: list[Process],
    ) -> Master:
        socket = self._sockets / name
        process = start_guests(f"guests of {name}", self._work / f"guests-{name}", socket)
        self._processes.append(process)
        await_guests(process, socket)
        guests.append(process)
        settings = MasterSettings(
            name=name, workers_port=port, guests=str(socket), seed=self._seed, **common
        )
        kind = name.partition("-")[0]
        master = Master(self._work / name, settings, template=template, kind=kind)
        profile = self._profile
        pool = pool_yaml(
            master.directory,
            name=name,
            hosts=profile.hosts,
            slots=profile.slots,
            spares=profile.spares,
        )
        master.write_pool(pool)
        return master

    def _end(self) -> None:
        for process in reversed(self._processes):
            process.stop()
        for process in reversed(self._processes):
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
    with ExitStack() as stack:
        yield _Builder(work, profile, cache=cache, seed=seed, stack=stack).build()


def _make_token(path: Path) -> str:
    return tokens.create(path, name="stress", builders=["*"], now=time.time(), expires=None)
