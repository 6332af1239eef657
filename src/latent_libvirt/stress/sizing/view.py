# SPDX-License-Identifier: GPL-2.0-only
"""View of a plan for people: the answer in words, then tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.table import Table

from latent_libvirt.stress.report.limits import MOST_OTHERS
from latent_libvirt.stress.sizing.words import NAMES, number, sentences

if TYPE_CHECKING:
    from latent_libvirt.stress.sizing.check import Compared
    from latent_libvirt.stress.sizing.costs import Costs
    from latent_libvirt.stress.sizing.forecast import Forecast
    from latent_libvirt.stress.sizing.models import Load
    from latent_libvirt.stress.sizing.needs import Needs
    from latent_libvirt.stress.sizing.observed import Observed


def plan_view(load: Load, found: Needs, costs: Costs) -> Iterator[RenderableType]:
    """Yield what to print of a plan."""
    yield from sentences(load, found)
    yield ""
    yield _uses(load, found)
    yield _masters(found)
    yield f"Costs: {costs.source}."


def check_view(
    seen: Observed, foretold: Forecast, figures: Iterable[Compared]
) -> Iterator[RenderableType]:
    """Yield what to print of a check."""
    yield (
        f"{seen.interface_masters} interface masters, {seen.slots:,} slots and the harness on "
        f"{seen.machine} processors, for {seen.seconds:.0f} s of steady load."
    )
    table = _table("FIGURE", "PREDICTED", "SEEN", "OFF", "")
    for each in figures:
        shown = (f"{value:.3g} {each.unit}" for value in (each.predicted, each.seen))
        table.add_row(each.name, *shown, f"{each.off:+.0%}", "" if each.good else "too far")
    yield table
    yield f"Predicted to be full: {foretold.full}."
    if seen.others > MOST_OTHERS * seen.machine:
        yield (
            f"Other programs used {seen.others:.1f} cores. Run it again when nothing else runs, "
            "unless all figures are good."
        )


def _uses(load: Load, found: Needs) -> Table:
    table = _table("RESOURCE", "USED", "OF", "FULL AT JOBS/HOUR")
    for resource in found.resources:
        jobs = load.jobs_per_hour * resource.carries
        full = number(jobs) if math.isfinite(jobs) else "never"
        name = NAMES[resource.name].removeprefix("the ")
        name = "each interface master" if resource.name == "interface" else name
        table.add_row(name, number(resource.used), number(resource.limit), full)
    return table


def _masters(found: Needs) -> Table:
    table = _table("INTERFACE MASTERS", "CARRY JOBS/HOUR")
    for count, jobs in found.carried.items():
        needed = " (needed)" if count == found.interface_masters else ""
        table.add_row(f"{count}{needed}", number(jobs))
    return table


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
