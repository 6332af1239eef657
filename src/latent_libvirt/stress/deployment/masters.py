# SPDX-License-Identifier: GPL-2.0-only
"""Masters of a deployment, each with its directory, its configuration and its process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from latent_libvirt.errors import HostError
from latent_libvirt.stress.deployment.process import WITH_US, Process, plain_environment

if TYPE_CHECKING:
    from latent_libvirt.stress.in_master.settings import MasterSettings

CONFIGURATIONS: Final = Path(__file__).parents[1] / "in_master"
BUILDBOT: Final = str(Path(sys.executable).with_name("buildbot"))

START_DEADLINE: Final = 300.0
"""Seconds for a master to run. Eleven that start side by side on two cores take a minute."""

_RUNNING: Final = "BuildMaster is running"
_POLL: Final = 0.1


class Master:
    """One master.

    :param template: a directory that ``buildbot create-master`` has made.
    :param kind: the name of its configuration: ``single``, ``scheduler`` or ``interface``.
    """

    def __init__(
        self, directory: Path, settings: MasterSettings, *, template: Path, kind: str
    ) -> None:
        self.directory = directory
        self.settings = settings
        shutil.copytree(template, directory)
        shutil.copy(CONFIGURATIONS / f"{kind}.cfg", directory / "master.cfg")
        self.process: Process | None = None

    @property
    def name(self) -> str:
        """What it is called in the report."""
        return self.settings.name

    def write_pool(self, pool: dict[str, Any]) -> None:
        """Write its ``pool.yaml``."""
        (self.directory / "pool.yaml").write_text(yaml.safe_dump(pool))

    def start(self) -> Process:
        """Start it, and return at once."""
        self.process = Process(
            self.name,
            [BUILDBOT, "start", "--nodaemon", str(self.directory)],
            log=self.directory / "output",
            environment=plain_environment(**self.settings.variables, PYTHONWARNINGS="ignore"),
        )
        return self.process

    def await_start(self) -> None:
        """Return once it runs.

        :raises HostError: it does not, in time.
        """
        deadline = time.monotonic() + START_DEADLINE
        log = self.directory / "twistd.log"
        while not (log.exists() and _RUNNING in log.read_text(errors="replace")):
            assert self.process is not None
            self.process.see_that_it_runs()
            if time.monotonic() > deadline:
                raise HostError(f"the master {self.name} does not run; {log} may say why")
            time.sleep(_POLL)


def make_template(directory: Path, db_url: str) -> Path:
    """Make Buildbot's tables, and a directory that those of masters are copies of.

    :raises HostError: Buildbot refuses.
    """
    arguments = ["create-master", "--quiet", "--relocatable", f"--db={db_url}", str(directory)]
    environment = plain_environment(PYTHONWARNINGS="ignore")
    done = subprocess.run(
        [*WITH_US, BUILDBOT, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode != 0:
        raise HostError("buildbot create-master failed", details=f"{done.stdout}{done.stderr}")
    (directory / "buildbot.tac").chmod(0o600)
    return directory
