# SPDX-License-Identifier: GPL-2.0-only
"""Costs: the seconds of a core that each part takes for one of each thing.

:data:`SHIPPED` was measured by runs of the stress harness that differ in one thing. The page about
benchmarks has those runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress.sizing.work import DEPLOYED, PARTS, Work, work_of

if TYPE_CHECKING:
    from latent_libvirt.stress.sizing.work import Traffic

SOURCE: Final = (
    "the stress harness on a cloud VM with 2 cores: Debian 12, Python 3.11, Buildbot 4.3, "
    "PostgreSQL 15"
)


@dataclass(frozen=True)
class PartCosts(Work):
    """Costs of a part: a member is the seconds of a core for one of that member of ``Work``."""

    def of(self, work: Work) -> float:
        """Return the cores that such work takes."""
        pairs = zip(astuple(self), astuple(work), strict=True)
        cores: float = sum(cost * amount for cost, amount in pairs)
        return cores


@dataclass(frozen=True)
class Costs:
    """Costs of all parts, by their names.

    :param source: where they were measured, in words.
    """

    parts: Mapping[str, PartCosts]
    source: str

    def cores(self, part: str, traffic: Traffic, interface_masters: int) -> float:
        """Return the cores that a part takes; of interface masters, each."""
        return self.parts[part].of(work_of(part, traffic, interface_masters))

    def all_cores(
        self, traffic: Traffic, interface_masters: int, *, harness: bool = False
    ) -> float:
        """Return the cores that all parts take.

        :param harness: whether that of the stress harness is one of them.
        """
        parts = PARTS if harness else DEPLOYED
        each = {part: self.cores(part, traffic, interface_masters) for part in parts}
        return sum(each.values()) + (interface_masters - 1) * each["interface"]

    def scaled(self, factors: Mapping[str, float], source: str) -> Costs:
        """Return the costs of a machine on which parts take as many times as much."""
        parts = {part: costs.times(factors.get(part, 1.0)) for part, costs in self.parts.items()}
        return replace(self, parts=parts, source=source)


SHIPPED: Final = Costs(
    {
        "scheduler": PartCosts(masters=0.0049, builds=0.017, reads=0.0089),
        "interface": PartCosts(
            masters=0.0087, builds=0.137, news=0.0090, lines=6.2e-6, messages=0.0045
        ),
        "database": PartCosts(
            masters=0.0038, builds=0.051, news=7.2e-4, lines=6.9e-7, messages=0.0027, reads=0.0042
        ),
        "router": PartCosts(masters=2.9e-4, builds=0.011, lines=6.0e-7, reads=1.5e-4),
        "harness": PartCosts(
            masters=0.0020, builds=0.0070, news=7.8e-5, lines=1.9e-6, vms=1.7e-4, reads=7.8e-4
        ),
    },
    SOURCE,
)
"""What one of each thing costs each part; see ``bench/plan_costs.py``."""
