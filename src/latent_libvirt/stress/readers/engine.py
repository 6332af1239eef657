# SPDX-License-Identifier: GPL-2.0-only
"""The engine of the readers: locust as a process that reads until it is stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import HostError
from latent_libvirt.sandbox.environment import bring
from latent_libvirt.stress.deployment.process import Process, plain_environment

if TYPE_CHECKING:
    from latent_libvirt.stress.profile.models import ReadersProfile

REQUIREMENTS: Final = Path(__file__).with_name("locust-requirements.txt")
FILE: Final = Path(__file__).with_name("locustfile.py")
NAME: Final = "readers"
VARIABLE: Final = "LATENT_LIBVIRT_STRESS_READERS"

START_DEADLINE: Final = 60.0
"""Seconds until the first request has its answer."""

_POLL: Final = 0.1


def install(cache: Path) -> Path:
    """Return locust's program, which is installed the first time.

    :raises HostError: that failed.
    """
    return bring((cache / "locust-venv").resolve(), REQUIREMENTS, "locust")


@contextmanager
def reading(
    profile: ReadersProfile, url: str, *, program: Path, work: Path, output: Path
) -> Iterator[Process]:
    """Let readers read for the length of a ``with`` block.

    :param url: of the web UI.
    :param work: a directory for its log.
    :param output: receives a line of JSON for each request.
    """
    settings = {"url": url.rstrip("/"), "every": profile.every, "output": str(output)}
    users = str(profile.users)
    process = Process(
        NAME,
        [
            *(str(program), "--headless", "--locustfile", str(FILE), "--users", users),
            *("--spawn-rate", users, "--loglevel", "WARNING", "--exit-code-on-error", "0"),
            *("--stop-timeout", "0", "--only-summary"),
        ],
        log=work / "readers.log",
        environment=plain_environment(**{VARIABLE: json.dumps(settings)}),
    )
    try:
        yield process
    finally:
        process.stop()
        process.end()


def await_first(process: Process, output: Path) -> None:
    """Return when the readers have read something.

    :raises HostError: they have ended, or take too long.
    """
    deadline = time.monotonic() + START_DEADLINE
    while not (output.exists() and output.stat().st_size):
        process.see_that_it_runs()
        if time.monotonic() > deadline:
            raise HostError(f"locust has read nothing in {START_DEADLINE:g} s")
        time.sleep(_POLL)
