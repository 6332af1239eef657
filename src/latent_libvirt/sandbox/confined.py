# SPDX-License-Identifier: GPL-2.0-only
"""A server and all that it starts, in separate user, PID and IPC namespaces.

It has no privilege on the machine, no matter who started it, and nothing of it outlives the process
that holds it. Its owner knows what the server is, and how it starts and stops (``postgresql.py``,
``router.py``). libvirtd needs more and has ``supervisor.py``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from signal import Signals
from typing import Final

from latent_libvirt.errors import ConfigurationError, HostError

POLL_INTERVAL: Final = 0.05  # seconds between two looks whether a server is up
START_DEADLINE: Final = 120.0  # seconds until a server is up; a loaded machine is slow
STOP_DEADLINE: Final = 30.0  # seconds until it is killed

# User 1 is in passwd(5) of every system (daemon or bin); outside, files stay the caller's.
_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")  # when its holder dies, it dies
_AS_NOBODY: Final = ("--user", "--map-user=1", "--map-group=1")
_NO_MEMORY_LEFT: Final = ("--ipc",)  # System V segments of a server that was killed end with it
_ALONE: Final = ("--pid", "--fork", "--kill-child", "--mount-proc")


_FORKED: Final = ("--fork", "--kill-child")


class Confined:
    """One run of a server.

    :param command: the program and its arguments.
    :param log: receives its standard output and error.
    :param environment: added to this process's.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = Path(command[0]).name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*_WITH_US, unshare(), *_AS_NOBODY, *_NO_MEMORY_LEFT, *_ALONE, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(environment or {}),
                start_new_session=True,  # Ctrl-C is for the caller to handle, not for the server
            )

    @property
    def pid(self) -> int:
        """The process that all of the server's descend from."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until *ready* says so.

        :raises HostError: the server has ended, or took too long.
        """
        deadline = time.monotonic() + START_DEADLINE
        while not ready():
            if self._process.poll() is not None:
                raise HostError(f"{self._name} has ended", details=self.last_lines())
            if time.monotonic() > deadline:
                raise HostError(
                    f"{self._name} is not up after {START_DEADLINE:.0f} s",
                    details=self.last_lines(),
                )
            time.sleep(POLL_INTERVAL)

    def stop(self, how: Signals) -> None:
        """End the server as its documentation says; kill it if it does not end in time."""
        self.signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_DEADLINE)
        self.kill()

    def kill(self) -> None:
        """SIGKILL the server and all that it has started; return when they are gone."""
        server = self._server()
        self._process.kill()  # the kernel kills its child with it, and with that its namespace
        self._process.wait()
        while server is not None and _lives(server):
            time.sleep(POLL_INTERVAL)

    def signal(self, which: Signals) -> None:
        """Send a signal to the server, not to what it has started; none if it has ended."""
        if (server := self._server()) is not None:
            os.kill(server, which)

    def signal_all(self, which: Signals) -> None:
        """Send a signal to the server and all that it has started."""
        for pid in _descendants(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, which)

    def last_lines(self, *, count: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-count:])

    def _server(self) -> int | None:
        """Return the process that the namespaces were made for, as this process sees it."""
        return next(iter(_children(self._process.pid)), None)


def without_privilege(command: Sequence[str]) -> None:
    """Run a program to its end as nobody in particular.

    :raises HostError: it failed.
    """
    done = subprocess.run(
        [*_WITH_US, unshare(), *_AS_NOBODY, *_NO_MEMORY_LEFT, *_FORKED, *command],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise HostError(
            f"{Path(command[0]).name} ended with status {done.returncode}",
            details=f"{done.stdout}{done.stderr}",
        )


def unshare() -> str:
    """Return the program that makes namespaces.

    :raises ConfigurationError: it is not there.
    """
    found = shutil.which("unshare")
    if found is None:
        raise ConfigurationError(
            "the program unshare is not installed", resolution="install the package util-linux"
        )
    return found


def _lives(pid: int) -> bool:
    """Return whether a process still does anything; its new parent may leave it a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def _descendants(pid: int) -> list[int]:
    found = []
    for child in _children(pid):
        found += [child, *_descendants(child)]
    return found
