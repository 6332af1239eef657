# SPDX-License-Identifier: GPL-2.0-only
"""How long a job takes from its request to its first step's output, with VMs that cost nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from buildmaster import wait_for
from commands import status
from simulated_master import SimulatedMaster

_NOTED = """
import time
from buildbot.process.remotecommand import RemoteCommand

def _noted(original):
    def add(self, *more):
        with open("first-output", "a") as file:
            file.write(f"{time.monotonic()}\\n")
        return original(self, *more)
    return add

RemoteCommand.add_stdout_lines = _noted(RemoteCommand.add_stdout_lines)
command = ["simulate", '{"seconds": 0}']
c["builders"][0] = util.BuilderConfig(
    "check",
    workernames=pool.worker_names("small"),
    factory=util.BuildFactory([steps.ShellCommand(name="true", command=command)]),
    collapseRequests=False,
)
"""

WITHOUT: Final = """
from latent_libvirt.master.choosing import prompt_tries

prompt_tries.PromptTries.hear = lambda *_: None
"""
"""Leaves it to Buildbot when a builder is tried for which a request comes."""


class _AtOnce(SimulatedMaster):
    phase = 0.0

    def pool(self) -> dict[str, Any]:
        """Return its ``pool.yaml``: nothing but the job runs."""
        found = super().pool()
        return found | {"labels": dict.fromkeys(found["labels"], found["labels"]["small"])}

    def seconds(self) -> float:
        """Run a job to the end of its VM; return when it had its first output."""
        noted = self.directory / "first-output"
        noted.unlink(missing_ok=True)
        began = time.monotonic()
        self.force()
        wait_for("the first output", noted.exists)
        wait_for("the VM to end", lambda: not status(self)["leases"])
        wait_for("the build to end", lambda: not self.get("builds?complete=false"))
        return float(noted.read_text().splitlines()[0]) - began


def measure(directory: Path, masters: Mapping[str, str], rounds: int) -> dict[str, list[float]]:
    """Run jobs on several masters in turn; return the seconds of each.

    :param masters: by name, what each configuration has at its end.
    """
    with ExitStack() as stack:
        found = {
            name: _AtOnce(directory / name, more=_NOTED + more) for name, more in masters.items()
        }
        for master in found.values():
            stack.enter_context(master)
            master.seconds()  # it also finds out what stays the same
        took: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(rounds):
            for name, master in found.items():
                took[name].append(master.seconds())
        return took
