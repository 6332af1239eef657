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
        "scheduler": PartCosts(masters=0.012, builds=0.03, reads=0.02),
        "interface": PartCosts(
            masters=0.015, builds=0.10, news=0.005, lines=1e-5, messages=0.004, vms=1e-4
        ),
        "database": PartCosts(
            masters=0.004, builds=0.05, news=0.002, lines=2e-6, messages=0.002, reads=0.01
        ),
        "router": PartCosts(masters=0.001, builds=0.005, news=0.0005, messages=0.0005),
        "harness": PartCosts(masters=0.002, builds=0.01, messages=0.001, vms=1e-4, reads=0.002),
    },
    SOURCE,
)
