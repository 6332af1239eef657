# SPDX-License-Identifier: GPL-2.0-only
"""A process of a deployment: it ends with the harness, whatever ends that."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from latent_libvirt.errors import HostError

STOP_DEADLINE: Final = 20.0
"""Seconds that a process has to end in good order before it is killed."""

WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
"""What a command begins with that ends with this process."""


class Process:
    """A process that runs from here to :meth:`end`.

    :param name: for people, and for the report.
    :param log: receives its standard output and error.
    :param environment: all that it has.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*WITH_US, *command],
                # Its end is that of this process, for those that look.
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=log.parent,
                start_new_session=True,  # Ctrl-C is for the harness to handle
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; ``None`` while it runs."""
        return self._process.poll()

    def see_that_it_runs(self) -> None:
        """Raise if it has ended.

        :raises HostError: it has.
        """
        if self.status is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-15:]
            brief = f"{self.name} has ended with status {self.status}"
            raise HostError(brief, details="\n".join(lines))

    def stop(self) -> None:
        """Let it end in good order; see :meth:`end`."""
        if self.status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)

    def end(self) -> None:
        """Return when it has ended; kill it, and what it has started, if it does not end."""
        try:
            self._process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()


def plain_environment(**more: str) -> dict[str, str]:
    """Return an environment with nothing but what programs need to run, and *more*."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ} | more
