# SPDX-License-Identifier: GPL-2.0-only
"""Processes with simulated guests, one for each master that has workers."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from latent_libvirt.errors import HostError
from latent_libvirt.stress.deployment.process import Process, plain_environment

START_DEADLINE: Final = 60.0
_POLL: Final = 0.05


def start_guests(name: str, directory: Path, at: Path) -> Process:
    """Start a process with guests that can be reached *at* a Unix socket; return at once."""
    directory.mkdir()
    program = [sys.executable, "-m", "latent_libvirt.stress.simulation.guests"]
    return Process(
        name,
        [*program, str(at), str(directory)],
        log=directory / "output",
        environment=plain_environment(),
    )


def await_guests(process: Process, at: Path) -> None:
    """Return when the guests can be reached.

    :raises HostError: they cannot, in time.
    """
    deadline = time.monotonic() + START_DEADLINE
    while not _answers(at):
        process.see_that_it_runs()
        if time.monotonic() > deadline:
            raise HostError(f"{process.name} did not start within {START_DEADLINE:g} s")
        time.sleep(_POLL)


def _answers(at: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        client.connect(str(at))
        return True
    return False
