# SPDX-License-Identifier: GPL-2.0-only
"""The engine of the readers: locust as a process that reads until it is stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Reading:
    """What readers do.

    :param url: of the web UI.
    :param token: that they send to the job API; empty for none.
    :param output: receives a line of JSON for each request.
    :param addresses: that the URL's host may have; any if there is none.
    """

    profile: ReadersProfile
    url: str
    token: str = field(repr=False)
    output: Path
    addresses: tuple[str, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """What locust's file finds in its environment."""
        settings = {"url": self.url.rstrip("/"), "every": self.profile.every, "token": self.token}
        more = {"output": str(self.output), "addresses": self.addresses}
        return {VARIABLE: json.dumps(settings | more)}


@contextmanager
def reading(plan: Reading, *, program: Path, work: Path) -> Iterator[Process]:
    """Let readers read for the length of a ``with`` block.

    :param work: a directory for the log.
    """
    users = str(plan.profile.users)
    process = Process(
        NAME,
        [
            *(str(program), "--headless", "--locustfile", str(FILE), "--users", users),
            *("--spawn-rate", users, "--loglevel", "WARNING", "--exit-code-on-error", "0"),
            *("--stop-timeout", "0", "--only-summary"),
        ],
        log=work / "readers.log",
        environment=plain_environment(**plan.variables),
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
