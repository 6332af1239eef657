# SPDX-License-Identifier: GPL-2.0-only
"""Masters that Buildbot's own commands start as daemons, none of which outlives the tests.

A daemon leaves the process that has started it. It is killed with its PID namespace, whose first
process ends with the tests, and which leaves no zombies: ``buildbot stop`` would wait for them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildmaster import BUILDBOT, DEADLINE

_NAMESPACES = ("--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
_HOLD = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # which sh does not do
print("ready", flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Daemons:
    """A place for daemons.

    :param enter: what to put before a command so that it runs there.
    """

    enter: tuple[str, ...]

    def begin(self, *command: str | Path) -> subprocess.Popen[str]:
        """Begin to run ``buildbot``, which takes whatever time it needs to start a master."""
        return subprocess.Popen(
            [*self.enter, BUILDBOT, *command],
            env=os.environ | {"START_TIMEOUT": str(DEADLINE), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str | Path) -> tuple[int, str]:
        """Run ``buildbot`` to its end; return its status, and what it has said."""
        with self.begin(*command) as process:
            said, _ = process.communicate(timeout=2 * DEADLINE)
        return process.returncode, said


@contextmanager
def daemons() -> Iterator[Daemons]:
    """Give a place for daemons, which are killed at the end of a ``with`` block."""
    with subprocess.Popen(
        ["unshare", *_NAMESPACES, sys.executable, "-I", "-S", "-c", _HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children")
        first = children.read_text().split()[0]
        into = ("--user", "--pid", "--mount", "--preserve-credentials")
        yield Daemons(("nsenter", f"--target={first}", *into))
