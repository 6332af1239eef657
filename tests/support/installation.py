# SPDX-License-Identifier: GPL-2.0-only
"""Several masters on one PostgreSQL and one router, for tests to start, hurt and ask.

Their workers run in the masters' own processes, and builds are plain commands: what is tested is
what becomes of jobs, not where they run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import buildmaster
from buildmaster import BUILDBOT, RESULTS, BuildMaster, wait_for
from latent_libvirt.jobs import tokens
from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL
from latent_libvirt.sandbox.router import PrivateRouter

TEMPLATE = "template"
"""A database with Buildbot's tables, and a master's directory, that others are copies of."""

SCHEDULER = """
import os
from buildbot.plugins import schedulers, steps, util
from latent_libvirt.multimaster import Common, interface_master, scheduler_master
from latent_libvirt.multimaster.failure_detector import FailureTimeouts

common = Common(
    {db_url!r}, {router_url!r}, {buildbot_url!r}, router_secret={router_secret!r}, {settings}
)
c = BuildmasterConfig = {{"buildbotNetUsageData": None, "protocols": {{}}, "title": {name!r}}}
scheduler_master(
    c, common, www={{"port": f"tcp:{{WEB_PORT}}:interface=127.0.0.1", "plugins": {{}}}}
)
c["schedulers"] = [
    schedulers.ForceScheduler(
        name="force",
        builderNames=["check"],
        properties=[util.StringParameter(name="seconds", default="0")],
    )
]
"""

INTERFACE = """
import os
from buildbot.plugins import steps, util, worker
from latent_libvirt.multimaster import Common, interface_master
from latent_libvirt.multimaster.failure_detector import FailureTimeouts

common = Common(
    {db_url!r}, {router_url!r}, {buildbot_url!r}, router_secret={router_secret!r}, {settings}
)
c = BuildmasterConfig = {{"buildbotNetUsageData": None}}
c["workers"] = [worker.LocalWorker(f"{name}-{{number}}") for number in range({workers})]
c["builders"] = [
    util.BuilderConfig(
        name="check",
        workernames=[w.name for w in c["workers"]],
        factory=util.BuildFactory({steps}),
        collapseRequests=False,
    )
]
interface_master(c, common, workers=f"tcp:{{WORKER_PORT}}:interface=127.0.0.1")
"""

SLEEP = """[steps.ShellCommand(name="sleep", command=["sleep", util.Property("seconds")])]"""

_LOOP = "while [ ! -e '{file}' ] && kill -0 $PPID; do sleep 0.1; done"

JOB_API = """
c["services"].append(util.JobApi(tokens="tokens.json", posts_per_minute=None))
c["www"]["plugins"]["jobs"] = {}
"""
"""What a scheduler master needs so that it serves jobs."""

LINES = 40
COUNT = f"""[steps.ShellCommand(
    name="count",
    command=["sh", "-c", "for i in $(seq {LINES}); do echo line $i; sleep 0.25; done"],
)]"""
"""Steps that say so many lines, four a second."""


class Master(BuildMaster):
    """One of several masters, in a process of its own."""

    def __init__(self, directory: Path, master_cfg: str, *, template: Path) -> None:
        shutil.copytree(template, directory)
        self.name = directory.name
        self._starts = 0
        super().__init__(directory, master_cfg)

    def _create(self) -> None:
        """Make no new directory: the template is one."""

    def start(self) -> None:
        """Start it and return when it runs."""
        self.launch()
        wait_for(f"{self.name} to run", self.serves)

    def launch(self) -> None:
        """Start it and return at once."""
        (self.directory / "twistd.pid").unlink(missing_ok=True)
        self._starts = self.log.count("BuildMaster is running")
        super().launch()

    def serves(self) -> bool:
        """Whether it runs by now."""
        assert self._process is not None
        assert self._process.poll() is None, self.log[-5000:]
        return self.log.count("BuildMaster is running") > self._starts

    def add(self, configuration: str) -> None:
        """Add to its configuration, for the next start."""
        with (self.directory / "master.cfg").open("a") as master_cfg:
            master_cfg.write(configuration)

    def freeze(self) -> None:
        """Let it do nothing more, while its connections stay."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def signal(self, which: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, which)

    @property
    def jobs_url(self) -> str:
        """Where jobs are started and seen, if it serves them (:data:`JOB_API`)."""
        return f"http://127.0.0.1:{self.web_port}/jobs"

    def make_token(self) -> str:
        """Make a token that may start any job; return the secret."""
        path = self.directory / "tokens.json"
        return tokens.create(path, name="tests", builders=["*"], now=time.time(), expires=None)

    def status(self) -> int | None:
        """Return its exit status, ``None`` while it runs."""
        assert self._process is not None
        return self._process.poll()

    def wait(self, deadline: float = buildmaster.DEADLINE) -> int:
        """Return its exit status once it has ended."""
        assert self._process is not None
        return self._process.wait(deadline)

    def end(self) -> None:
        """Kill it unless it has ended."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


@dataclass
class Installation:
    """A database and a router, and the masters that use them.

    :param settings: more of ``Common``.
    """

    directory: Path
    postgresql: PrivatePostgreSQL
    router: PrivateRouter
    template: Path
    settings: str = ""
    database: str = ""
    masters: list[Master] = field(default_factory=list)

    @property
    def db_url(self) -> str:
        """Where the database of these masters is."""
        return database_url(self.postgresql, self.database)

    def scheduler(self, name: str = "scheduler", **settings: str) -> Master:
        """Make a scheduler master; it is not started."""
        return self._master(name, SCHEDULER, **settings)

    def interface(
        self, name: str, *, workers: int = 2, steps: str = SLEEP, **settings: str
    ) -> Master:
        """Make an interface master; it is not started."""
        return self._master(name, INTERFACE, workers=workers, steps=steps, **settings)

    @property
    def until_told(self) -> str:
        """Steps that end when the test says so, by :meth:`go_on`, however slow the machine is.

        They are a process, which goes on while its master is frozen, and ends when that is gone.
        """
        command = ["sh", "-c", _LOOP.format(file=self._go_on)]
        return f'[steps.ShellCommand(name="until told", command={command!r})]'

    def go_on(self) -> None:
        """Let the builds of :attr:`until_told` end, and those that come later."""
        self._go_on.touch()

    @property
    def _go_on(self) -> Path:
        return self.directory / "go-on"

    def _master(self, name: str, master_cfg: str, **more: Any) -> Master:
        values = {
            "name": name,
            "db_url": self.db_url,
            "router_url": self.router.url,
            "router_secret": self.router.secret,
            "buildbot_url": "http://127.0.0.1:1/",
            "settings": self.settings,
        }
        text = master_cfg.format(**(values | more))
        master = Master(self.directory / name, text, template=self.template)
        self.masters.append(master)
        return master

    def start(self, *masters: Master) -> None:
        """Start masters side by side, and return when all run."""
        for master in masters:
            master.launch()
        for master in masters:
            wait_for(f"{master.name} to run", master.serves)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        engine = sa.create_engine(self.db_url, poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]

    def history(self, request: int) -> list[tuple[str, str | None]]:
        """Return where the builds of a request ran, and what they came to, oldest first."""
        rows = self.query(
            "SELECT masters.name, results FROM builds JOIN masters ON masters.id = masterid "
            f"WHERE buildrequestid = {request} ORDER BY builds.id"
        )
        return [
            (Path(name).name, None if results is None else RESULTS[results])
            for name, results in rows
        ]

    def connected_workers(self) -> list[str]:
        """Return the workers that the web UI shows as connected."""
        rows = self.query(
            "SELECT name FROM connected_workers JOIN workers ON workers.id = workerid ORDER BY name"
        )
        return [name for (name,) in rows]

    def state(self, master: Master) -> str | None:
        """Return what the list of members says of a master."""
        rows = self.query(
            "SELECT state FROM latent_libvirt_masters JOIN masters ON masters.id = masterid "
            f"WHERE name LIKE '%/{master.name}'"
        )
        return rows[0][0] if rows else None

    def end(self) -> None:
        """Kill all masters."""
        for master in self.masters:
            master.end()


def database_url(postgresql: PrivatePostgreSQL, name: str) -> str:
    """Return the URL of another database of that server."""
    return sa.make_url(postgresql.url).set(database=name).render_as_string(hide_password=False)


def make_template(postgresql: PrivatePostgreSQL, directory: Path) -> Path:
    """Make what installations are copies of; return the directory of a master."""
    _run(postgresql, f"CREATE DATABASE {TEMPLATE}")
    master = directory / TEMPLATE
    subprocess.run(
        [
            *(str(BUILDBOT), "create-master", "-r", "--log-count=1"),
            *(f"--db={database_url(postgresql, TEMPLATE)}", str(master)),
        ],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    return master


def make_database(postgresql: PrivatePostgreSQL) -> str:
    """Make another database with Buildbot's tables; return its name."""
    name = f"t{time.time_ns()}"
    _run(postgresql, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return name


@contextmanager
def running(
    directory: Path, postgresql: PrivatePostgreSQL, router: PrivateRouter, template: Path
) -> Iterator[Installation]:
    """Give an installation with a database of its own; its masters are killed at the end."""
    name = make_database(postgresql)
    installation = Installation(directory, postgresql, router, template, database=name)
    with ExitStack() as stack:
        stack.callback(installation.end)
        yield installation


def _run(postgresql: PrivatePostgreSQL, statement: str) -> None:
    engine = sa.create_engine(postgresql.url, poolclass=sa.pool.NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(statement)
