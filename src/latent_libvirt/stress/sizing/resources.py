# SPDX-License-Identifier: GPL-2.0-only
"""Resources that a load uses up, and how many times the load they carry.

The use of a resource grows in a straight line with the number of builds. What does not grow is its
base: readers, and what masters do without builds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.stress.sizing.costs import Costs
    from latent_libvirt.stress.sizing.work import Traffic


@dataclass(frozen=True)
class Resource:
    """Something that a load uses up.

    :param base: what is used without builds.
    :param used: what is used in all.
    :param limit: what there is.
    """

    name: str
    base: float
    used: float
    limit: float

    @property
    def carries(self) -> float:
        """How many times the builds it carries; 0 if the base alone is too much."""
        grows, room = self.used - self.base, self.limit - self.base
        if room <= 0:
            return 0.0
        return room / grows if grows > 0 else math.inf


def first_full(resources: Sequence[Resource]) -> Resource:
    """Return the one that is full before all others."""
    return min(resources, key=lambda resource: resource.carries)


@dataclass(frozen=True)
class Cores:
    """The cores that a load takes.

    :param traffic: of the load.
    """

    costs: Costs
    traffic: Traffic

    def of(self, part: str, interface_masters: int) -> float:
        """Return what a part takes; of interface masters, each."""
        return self.costs.cores(part, self.traffic, interface_masters)

    def as_resource(self, part: str, interface_masters: int, *, limit: float) -> Resource:
        """Return the cores of a part as a resource.

        :param limit: cores that there are.
        """
        used = self.of(part, interface_masters)
        return Resource(part, self.idle.of(part, interface_masters), used, limit)

    def of_all(self, interface_masters: int, *, limit: float, harness: bool = False) -> Resource:
        """Return the cores of all parts together as a resource.

        :param limit: cores of the machine that they share.
        """
        base, used = (
            self.costs.all_cores(traffic, interface_masters, harness=harness)
            for traffic in (self.idle.traffic, self.traffic)
        )
        return Resource("processors", base, used, limit)

    @property
    def idle(self) -> Cores:
        """Those of readers alone."""
        nothing = replace(self.traffic.times(0.0), reads=self.traffic.reads)
        return Cores(self.costs, nothing)
