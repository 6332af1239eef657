# SPDX-License-Identifier: GPL-2.0-only
"""What a dead master has left behind, on a host that it shared with another one."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from buildmaster import BuildMaster, wait_for
from commands import status, told
from lab import Lab
from pools import MakeMaster, PoolSettings

SLEEPING = """
factory = util.BuildFactory([steps.ShellCommand(name="sleep", command=["sleep", "600"])])
"""

TRIVIAL = """
factory = util.BuildFactory([steps.ShellCommand(name="true", command=["true"])])
"""


def of_several(database: Path) -> str:
    """Return the configuration of one of several masters that share *database*."""
    return f"""
BuildmasterConfig["multiMaster"] = True
BuildmasterConfig["db"] = dict(db_url="sqlite:///{database}")
"""


def say_stopped(database: Path, master: BuildMaster, *, ago: float) -> None:
    """Let the database say of a master that it has stopped, and was there *ago* seconds before."""
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        changed = connection.execute(
            "UPDATE masters SET active = 0, last_active = ? WHERE name LIKE ?",
            (int(time.time() - ago), f"%:{master.directory}"),
        )
        assert changed.rowcount == 1


def test_another_master_frees_what_a_dead_one_has_left_and_not_before_it_is_dead(
    lab: Lab, make_master: MakeMaster
) -> None:
    settings = PoolSettings(max_vms=1, slots=1)
    dying = make_master(SLEEPING, settings=settings)
    database = dying.directory / "state.sqlite"
    dying.force()
    wait_for("it to build", lambda: [v for v in status(dying)["leases"] if v["phase"] == "build"])
    left = lab.leftovers()
    assert len(left) == 2

    with lab.watching() as seen:
        other = make_master(TRIVIAL, settings=settings, more=of_several(database))
        dying.kill()
        job = other.force()

        told(other, "sweep")
        assert lab.leftovers() == left, "it has just been killed, and may come back"
        say_stopped(database, dying, ago=60)
        told(other, "sweep")
        assert lab.leftovers() == left, "it has stopped, and may come back"
        assert other.results(job) == []

        say_stopped(database, dying, ago=3600)
        told(other, "sweep")
        assert not set(lab.overlays()) & set(left)
        assert other.wait_for_result(job) == "SUCCESS"

    assert max(len(sample.domains) for sample in seen) == 1
