# SPDX-License-Identifier: GPL-2.0-only
"""A hypervisor where the VMs of a test's master are resumed at once, from states of another test.

A boot takes most of a test's time, for a host of tests emulates its guests. Saved states belong to
a master's name, which is made of its directory: so the first master of each test has the same one.
What a test proves of a boot is not to be proven here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import buildmaster
from buildmaster import BuildMaster, wait_for
from commands import status
from lab import Lab
from pools import WORKERS_OF_THE_POOL, MakeMaster, PoolSettings, master_cfg, write_pool

SLOTS = 2
RESUMED = PoolSettings(slots=SLOTS, start="resume")
"""What a test's settings begin with. Another memory, network or number of slots would make the
states useless: then they go, and are made again for the next test."""

LIKE_RESUMED = "image: image, memory: 512MiB, network: user, connection: tcp"
"""What another label has in common with that of ``RESUMED``, so that its VMs are resumed from the
same states: all that makes their domains. Separate states would be two boots more."""

_NOTHING = "factory = util.BuildFactory()"


@dataclass(frozen=True)
class ReadyLab:
    """A lab and the directory that its masters have, one after the other."""

    lab: Lab
    home: Path

    def save(self) -> None:
        """See that there is a state of each slot."""
        if self.home.exists() or len(self.lab.saved()) == 2 * SLOTS:
            return  # a master that lives there sees to it itself
        self.lab.delete_saved()
        self.home.mkdir()
        write_pool(self.home, self.lab.uri, replace(RESUMED, max_vms=SLOTS))
        with buildmaster.running(self.home, master_cfg(_NOTHING)) as master:
            wait_for("all slots to be saved", lambda: _saved(master) == set(range(1, SLOTS + 1)))
        shutil.rmtree(self.home)

    @contextmanager
    def masters(self, directory: Path) -> Iterator[MakeMaster]:
        """Give a way to start masters, the first of which resumes its VMs.

        :param directory: what is left of them in the end.
        """

        def make(
            factory: str,
            *,
            workers: str = WORKERS_OF_THE_POOL,
            settings: PoolSettings = RESUMED,
            more: str = "",
        ) -> BuildMaster:
            place = directory / "another-master" if self.home.exists() else self.home
            place.mkdir()
            write_pool(place, self.lab.uri, settings)
            configuration = master_cfg(factory, workers=workers) + more
            return stack.enter_context(buildmaster.running(place, configuration))

        with ExitStack() as stack:
            stack.callback(self._move_to, directory / "master")
            yield make

    def _move_to(self, directory: Path) -> None:
        if self.home.exists():
            shutil.move(self.home, directory)


def _saved(master: BuildMaster) -> set[int]:
    (host,) = status(master)["hosts"]
    return {state["slot"] for state in host["saved"]}
