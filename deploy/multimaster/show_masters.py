# SPDX-License-Identifier: GPL-2.0-only
"""The masters of the show as child processes, and what starts them again when they end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

import yaml

from demo_end import WITH_US
from demo_master import DemoError
from latent_libvirt.jobs import tokens

HERE: Final = Path(__file__).resolve().parent
BUILDBOT: Final = str(Path(sys.executable).with_name("buildbot"))
START_DEADLINE: Final = 120.0  # seconds
STOP_DEADLINE: Final = 120.0  # seconds; the pool takes its VMs down in that time
RESTART_AFTER: Final = 1.0  # seconds; as in systemd/buildbot-master@.service
POLL_INTERVAL: Final = 0.5  # seconds
RUNNING: Final = "BuildMaster is running"

_STARTER: Final = ThreadPoolExecutor(1, "starter of masters")
"""The thread that starts masters. They end with it, and it ends with this process."""


class Master:
    """One master in a directory of its own.

    :param template: a directory that ``buildbot create-master`` has made.
    :param configuration: one of the files beside this one.
    :param environment: what that file reads.
    """

    def __init__(
        self, directory: Path, *, template: Path, configuration: str, environment: Mapping[str, str]
    ) -> None:
        self.directory = directory
        self.name = directory.name
        self._environment = os.environ | dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0
        shutil.copytree(template, directory)
        shutil.copy(HERE / configuration, directory / "master.cfg")
        shutil.copy(HERE / "ci.py", directory)

    def write_pool(self, *, uri: str, slots: int, max_vms: int) -> None:
        """Write pool.yaml with what only the show knows."""
        pool = yaml.safe_load((HERE / "pool.yaml").read_text())
        pool["master"] |= {"name": self.name, "max_vms": max_vms}
        pool["hosts"]["here"] |= {"uri": uri, "slots": slots}
        (self.directory / "pool.yaml").write_text(yaml.safe_dump(pool))

    def make_token(self) -> str:
        """Make a token that may start any job; return the secret."""
        path = self.directory / "tokens.json"
        return tokens.create(path, name="show", builders=["*"], now=time.time(), expires=None)

    def start(self) -> None:
        """Start it, and return at once."""
        (self.directory / "twistd.pid").unlink(missing_ok=True)
        self._starts = self._log().count(RUNNING)
        _STARTER.submit(self._start).result()

    def _start(self) -> None:
        # It must not outlive this process, whatever ends it, and must not see the user's Ctrl-C.
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*WITH_US, BUILDBOT, "start", "--nodaemon", str(self.directory)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def await_start(self) -> None:
        """Return once it runs.

        :raises DemoError: it does not, in time.
        """
        deadline = time.monotonic() + START_DEADLINE
        while self._log().count(RUNNING) == self._starts:
            if time.monotonic() > deadline or self.has_ended:
                end = "\n".join(self._log().splitlines()[-25:])
                raise DemoError(f"the master {self.name} does not run\n{end}")
            time.sleep(POLL_INTERVAL)

    @property
    def has_ended(self) -> bool:
        """Whether it has been started, and has ended."""
        return self._process is not None and self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def tell_to_stop(self) -> None:
        """Let it stop in good order."""
        if self._process is not None and not self.has_ended:
            self._process.send_signal(signal.SIGTERM)

    def await_end(self, *, within: float = STOP_DEADLINE) -> int | None:
        """Return its exit status once it has ended; kill it if it does not.

        :param within: seconds.
        """
        if self._process is None:
            return None
        try:
            return self._process.wait(max(within, 0.0))
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def _log(self) -> str:
        log = self.directory / "twistd.log"
        return log.read_text(errors="replace") if log.exists() else ""


class Supervisor:
    """Starts masters again when they end, as systemd does; for a ``with`` block."""

    def __init__(self, masters: list[Master]) -> None:
        self._masters = masters
        self._left_down: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def leave_down(self, master: Master) -> None:
        """Do not start this one again, until :meth:`bring_up`."""
        self._left_down.add(master.name)

    def bring_up(self, master: Master) -> None:
        """Start this one again."""
        self._left_down.discard(master.name)

    def __enter__(self) -> Self:
        for master in self._masters:
            master.start()
        for master in self._masters:
            master.await_start()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for master in self._masters:
            master.tell_to_stop()
        deadline = time.monotonic() + STOP_DEADLINE  # for all of them
        for master in self._masters:
            master.await_end(within=deadline - time.monotonic())

    def _watch(self) -> None:
        while not self._stop.wait(RESTART_AFTER):
            for master in self._masters:
                if master.has_ended and master.name not in self._left_down:
                    master.start()


def make_template(directory: Path, *, db_url: str) -> Path:
    """Make Buildbot's tables, and a directory that masters' are copies of.

    :raises DemoError: Buildbot refuses.
    """
    done = subprocess.run(
        [BUILDBOT, "create-master", "--quiet", "--relocatable", f"--db={db_url}", str(directory)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise DemoError(f"buildbot create-master failed\n{done.stdout}{done.stderr}")
    return directory
