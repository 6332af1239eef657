# SPDX-License-Identifier: GPL-2.0-only
"""Forecast of a run of the stress harness, whose parts share the processors of one machine.

Offered builds are all done as long as neither the slots, nor a master, nor the processors are full.
Else as many are done as the one that is full first allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from latent_libvirt.stress.sizing.resources import Cores, Resource, first_full
from latent_libvirt.stress.sizing.work import PARTS

if TYPE_CHECKING:
    from latent_libvirt.stress.sizing.costs import Costs
    from latent_libvirt.stress.sizing.work import Traffic

NOTHING = "nothing"


@dataclass(frozen=True)
class Site:
    """What a run has.

    :param machine: cores that are there for it.
    """

    interface_masters: int
    slots: int
    machine: float


@dataclass(frozen=True)
class Forecast:
    """What a run will come to.

    :param full: what limits it, or ``nothing``.
    :param traffic: that there will be; its VMs are the slots that are taken.
    :param cores: that each part uses; of interface masters, each.
    """

    full: str
    traffic: Traffic
    cores: Mapping[str, float]
    all_cores: float


def forecast(offered: Traffic, costs: Costs, site: Site, *, backlog: bool = False) -> Forecast:
    """Return what a run will come to.

    :param offered: traffic if all builds are done as they arrive.
    :param backlog: whether more arrive than that, at all times.
    """
    first = first_full(_resources(offered, costs, site))
    limited = backlog or first.carries < 1
    factor = first.carries if limited else 1.0
    done = replace(offered.times(factor), reads=offered.reads)
    masters = site.interface_masters
    cores = {part: costs.cores(part, done, masters) for part in PARTS}
    name = first.name if limited else NOTHING
    return Forecast(name, done, cores, costs.all_cores(done, masters, harness=True))


def _resources(offered: Traffic, costs: Costs, site: Site) -> list[Resource]:
    cores, masters = Cores(costs, offered), site.interface_masters
    return [
        Resource("slots", 0.0, offered.vms, site.slots),
        cores.of_all(masters, limit=site.machine, harness=True),
        *(
            cores.as_resource(part, masters, limit=1.0)
            for part in ("scheduler", "interface", "router")
        ),
    ]
