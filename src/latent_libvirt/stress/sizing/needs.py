# SPDX-License-Identifier: GPL-2.0-only
"""Needs of a load: masters, cores of the database, slots and hosts in the busiest hour."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress.sizing import masters
from latent_libvirt.stress.sizing.demand import slot_time, traffic
from latent_libvirt.stress.sizing.resources import Cores, Resource, first_full
from latent_libvirt.stress.sizing.waiting import slots_for, wait_of
from latent_libvirt.stress.sizing.work import DEPLOYED

if TYPE_CHECKING:
    from latent_libvirt.stress.sizing.costs import Costs
    from latent_libvirt.stress.sizing.models import Load

SHARE: Final = 0.95
"""Share of jobs whose wait is bounded."""

MASTER: Final = 1.0
"""Cores that a master or a router can use: each is one thread."""

MORE: Final = 3
"""How many further interface masters are looked at."""


@dataclass(frozen=True)
class Slots:
    """Slots and hosts.

    :param busy: slots that are taken on average.
    :param wait: seconds that 95 of 100 jobs wait for one at most; ``None`` without any bound.
    :param of_a_host: VMs that fit on one.
    """

    count: int
    busy: float
    wait: float | None
    of_a_host: int
    hosts: int


@dataclass(frozen=True)
class Needs:
    """What a load needs.

    :param interface_masters: ``None`` if no number of them carries it; what follows is then about
        as many as are of use.
    :param single_master: cores of one master that does all, with what it may use as their limit.
    :param database_cores: that the database needs.
    :param cores: that each part uses, by its name; of interface masters, each.
    :param carried: jobs an hour that a number of interface masters carries.
    :param resources: that the load uses up.
    :param rebuild: seconds until the last job of a mass rebuild ends; ``None`` without one, or if
        it never does.
    """

    interface_masters: int | None
    single_master: Resource
    database_cores: int
    slots: Slots
    cores: dict[str, float]
    carried: dict[int, float]
    resources: tuple[Resource, ...]
    rebuild: float | None


def needs(load: Load, costs: Costs) -> Needs:
    """Return what a load needs."""
    cores = Cores(costs, traffic(load))
    fewest = masters.fewest(cores, load.busy)
    number = fewest or masters.most_useful(cores, load.busy)
    used = {part: cores.of(part, number) for part in DEPLOYED}
    database = max(1, math.ceil(used["database"] / load.database_busy))
    slots = _slots(load, cores.traffic.builds)
    shared = [cores.of_all(number, limit=load.cores)] if load.cores else []
    resources = (_slots_taken(slots), *_cores(cores, number, database), *shared)
    return Needs(
        interface_masters=fewest,
        single_master=_single(cores, load.busy),
        database_cores=database,
        slots=slots,
        cores=used,
        carried=_carried(load, cores, number),
        resources=resources,
        rebuild=_rebuild(load, cores.traffic.builds, first_full(resources)),
    )


def _single(cores: Cores, busy: float) -> Resource:
    """Return the core of a master that does all."""
    base, used = (each.of("scheduler", 1) + each.of("interface", 1) for each in (cores.idle, cores))
    return Resource("single", base, used, busy)


def _carried(load: Load, cores: Cores, number: int) -> dict[int, float]:
    """Return the jobs an hour that about so many interface masters carry."""
    numbers = range(max(1, number - 1), number + MORE + 1)
    return {n: load.jobs_per_hour * masters.carried(cores, n, load.busy) for n in numbers}


def _slots_taken(slots: Slots) -> Resource:
    return Resource("slots", 0.0, slots.busy, slots.count)


def _cores(cores: Cores, number: int, database: int) -> Iterator[Resource]:
    """Yield the cores of each part as a resource."""
    for part in DEPLOYED:
        limit = database if part == "database" else MASTER
        yield cores.as_resource(part, number, limit=limit)


def _rebuild(load: Load, builds: float, first: Resource) -> float | None:
    """Return the seconds that a mass rebuild takes beside the load.

    :param builds: of the load, in a second.
    :param first: the resource that limits it.
    """
    if load.rebuild is None or first.carries <= 1:
        return None
    return load.rebuild / (builds * (first.carries - 1)) + slot_time(load.job_time, load.start)


def _slots(load: Load, builds: float) -> Slots:
    seconds = slot_time(load.job_time, load.start)
    busy = builds * seconds  # Little's law
    count = load.slots or slots_for(busy, seconds, wait=load.wait, share=SHARE)
    wait = wait_of(SHARE, busy, count, seconds) if count > busy else None
    hosts = math.ceil(count / load.slots_of_a_host)
    return Slots(count, busy, wait, load.slots_of_a_host, hosts)
