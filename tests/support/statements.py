# SPDX-License-Identifier: GPL-2.0-only
"""Statements that trivial jobs cost their master's database, with VMs that cost nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from buildmaster import wait_for
from commands import status
from simulated_master import SimulatedMaster

COUNTED = """
import sqlalchemy
import sqlalchemy.event

@sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
def _count(_connection, _cursor, text, *_more):
    with open("statements", "a") as file:
        file.write(" ".join(text.split()) + "\\n")

command = ["simulate", '{"seconds": 0}']
c["builders"][0] = util.BuilderConfig(
    "check",
    workernames=pool.worker_names("small"),
    factory=util.BuildFactory([steps.ShellCommand(name="true", command=command)]),
    collapseRequests=False,
)
"""


REPEATED = (
    "SELECT builder_masters.builderid, masters.name ",
    "SELECT buildrequests.id, buildrequests.builderid, builders.name,",
)
"""What a master asks as time goes by, however many jobs there are."""


def of_jobs(directory: Path, count: int) -> Counter[str]:
    """Return the statements of that many jobs, each from its request to the end of its VM."""
    with SimulatedMaster(directory, more=COUNTED) as master:
        _run(master, 1)  # it also finds out what stays the same
        before = len(_statements(master))
        for number in range(count):
            _run(master, number + 2)
        return Counter(_statements(master)[before:])


def _run(master: SimulatedMaster, number: int) -> None:
    """Run a job to the end of its VM. Nothing that waits for it asks the database."""
    master.force()
    wait_for("the job to end", lambda: sum(map(_ends_a_request, _statements(master))) == number)
    wait_for("the VM to end", lambda: not status(master)["leases"])


def _ends_a_request(statement: str) -> bool:
    return statement.startswith("UPDATE buildrequests SET complete=")


def _statements(master: SimulatedMaster) -> list[str]:
    lines = (master.directory / "statements").read_text().splitlines()
    return [line for line in lines if not line.startswith(REPEATED)]
