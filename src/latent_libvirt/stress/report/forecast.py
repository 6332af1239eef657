# SPDX-License-Identifier: GPL-2.0-only
"""Forecasts: at which load a resource will be saturated, if its use grows as the load does.

Each window of a run has a load and what it used of a resource. Their quotient is the cost of a
build, and the spread of the forecast is that of the cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress.measure.processes import MACHINE
from latent_libvirt.stress.report import limits
from latent_libvirt.stress.report.numbers import Middle
from latent_libvirt.stress.report.windows import Windows, builds_per_minute, busy

if TYPE_CHECKING:
    from latent_libvirt.stress.report.data import Data

FEWEST: Final = 3
"""Windows with a load that a forecast needs."""

LEAST_SHARE: Final = 0.2
"""Share of the median load that a window must have: beginning and end of a run have another mix."""

LEAST_USE: Final = 0.05
"""Share of the limit that must be used: of less, nothing follows."""


@dataclass(frozen=True)
class Forecast:
    """A forecast for one resource.

    :param resource: what the verdict calls it.
    :param at: builds a minute at which it is saturated.
    """

    resource: str
    at: Middle


def forecasts(data: Data) -> tuple[Forecast, ...]:
    """Return what can be said of each resource, the one first that is saturated first."""
    windows = Windows.of(data)
    rates = builds_per_minute(data, windows)
    found = [
        Forecast(resource, at)
        for resource, used, limit in _resources(data, windows)
        if (at := reached_at(rates, used, limit)) is not None
    ]
    return tuple(sorted(found, key=lambda forecast: forecast.at.median))


def reached_at(
    rates: Mapping[int, float], used: Mapping[int, float], limit: float
) -> Middle | None:
    """Return the rate at which a limit is reached; nothing if too little is known.

    :param rates: of each window.
    :param used: of the resource, in each window.
    """
    middle = Middle.of(rates.values())
    counted = [n for n, rate in rates.items() if n in used and rate > LEAST_SHARE * middle.median]
    if len(counted) < FEWEST or sum(used[n] for n in counted) < LEAST_USE * limit * len(counted):
        return None
    return Middle.of(limit * rates[n] / max(used[n], 1e-6) for n in counted)


def _resources(data: Data, windows: Windows) -> Iterator[tuple[str, dict[int, float], float]]:
    """Yield the resources with what each window used of them, and their limits."""
    for name in data.run.masters:
        yield name, busy(data, windows, name), limits.MOST_CORES
    if not data.run.target:
        yield limits.PROCESSORS, _of_all_parts(data, windows), limits.MOST_MACHINE * data.run.cores
    if data.run.slots:
        taken = windows.means(data.queue, lambda row: float(row["unfinished"] - row["waiting"]))
        yield limits.SLOTS, taken, limits.MOST_SLOTS * data.run.slots


def _of_all_parts(data: Data, windows: Windows) -> dict[int, float]:
    """Return the cores that all parts of the run have used, without those of other programs."""
    names = {row["process"] for row in data.processes} - {MACHINE}
    found: dict[int, float] = defaultdict(float)
    for name in names:
        for number, cores in busy(data, windows, name).items():
            found[number] += cores
    return dict(found)
