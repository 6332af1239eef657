# SPDX-License-Identifier: GPL-2.0-only
"""Check of the model: what it predicts for a run of the stress harness, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress.sizing.forecast import Site, forecast
from latent_libvirt.stress.sizing.mix import offered

if TYPE_CHECKING:
    from latent_libvirt.stress.sizing.costs import Costs
    from latent_libvirt.stress.sizing.forecast import Forecast
    from latent_libvirt.stress.sizing.observed import Observed

WITHIN: Final = 0.2
"""Share of the seen value by which a prediction may differ."""

SLIGHT: Final = 0.02
"""Cores by which it may always differ: less is of no weight."""

CORES: Final = {
    "scheduler master": "scheduler",
    "each interface master": "interface",
    "database": "database",
    "router": "router",
}
"""Parts whose cores are compared."""


@dataclass(frozen=True)
class Compared:
    """One figure, predicted and seen.

    :param slight: a difference that is always good enough.
    """

    name: str
    unit: str
    predicted: float
    seen: float
    slight: float = 0.0

    @property
    def off(self) -> float:
        """By which share of what was seen the prediction differs; 0 if neither is anything."""
        return (self.predicted - self.seen) / self.seen if self.seen else float(self.predicted > 0)

    @property
    def good(self) -> bool:
        """Whether that is little enough."""
        return abs(self.off) <= WITHIN or abs(self.predicted - self.seen) <= self.slight


def predicted(seen: Observed, costs: Costs) -> Forecast:
    """Return the forecast for a run.

    It follows from the run's profile, its masters and slots, and the machine's processors.
    """
    traffic, backlog = offered(seen.profile)
    site = Site(seen.interface_masters, seen.slots, seen.machine)
    return forecast(traffic, costs, site, backlog=backlog)


def compared(seen: Observed, foretold: Forecast) -> list[Compared]:
    """Return the figures of a run."""
    return [
        Compared("builds", "/min", 60 * foretold.traffic.builds, 60 * seen.traffic.builds),
        Compared("slots taken", "slots", foretold.traffic.vms, seen.traffic.vms),
        *(
            Compared(name, "cores", foretold.cores[part], seen.cores[part], SLIGHT)
            for name, part in CORES.items()
        ),
        Compared("all, and the harness", "cores", foretold.all_cores, seen.all_cores, SLIGHT),
    ]
