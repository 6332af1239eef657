# SPDX-License-Identifier: GPL-2.0-only
"""The owners on a host: which masters have something there, and what.

For operators who have to free what a master left that will not be back. A master that runs looks
for its own things in ``sweep.py``. All functions block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.host import sweep
from latent_libvirt.host.states import state_io

if TYPE_CHECKING:
    from latent_libvirt.host.sweep import Leftovers


@dataclass(frozen=True)
class Owned:
    """What one owner has on a host.

    :param master: its name in Buildbot's database; empty if nothing there says it.
    :param pool: the name of its pool in that master; likewise.
    :param jobs: how many of its domains run a build, or are just being saved.
    """

    owner_id: str
    master: str
    pool: str
    things: Leftovers
    jobs: int

    def __str__(self) -> str:
        who = (
            f"{self.master}, pool {self.pool}" if self.master else "of a master whose name is lost"
        )
        count = self.things.counts()
        return (
            f"{self.owner_id} ({who}): {count['domain']} domains, {count['overlay']} overlays, "
            f"{count['saved']} saved states, {count['frozen']} frozen VMs"
        )


def owners(connection: libvirt.virConnect, storage_pool: str) -> list[Owned]:
    """Return who has domains on the host, or overlays and saved states in that storage pool.

    :raises ConfigurationError: if the host has no such storage pool.
    """
    seen = sweep.survey(connection, storage_pool)
    states = state_io.read_all(connection, storage_pool, seen.saved)
    records = [domain.record for domain in seen.domains if domain.record is not None]
    names = {r.owner_id: (r.master, r.pool) for r in (*(s.record for s in states), *records)}
    ids = {*names, *(volume.owner_id for volume in seen.volumes)}
    return [_owned(seen, owner, *names.get(owner, ("", ""))) for owner in sorted(ids)]


def _owned(seen: sweep.Survey, owner_id: str, master: str, pool: str) -> Owned:
    jobs = seen.jobs_of({owner_id}).domains
    things = seen.left_behind({owner_id}, live=())
    return Owned(owner_id, master, pool, things, jobs=len(jobs))
