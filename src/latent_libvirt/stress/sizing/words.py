# SPDX-License-Identifier: GPL-2.0-only
"""Words for the needs of a load: what to set up, what is full first, when a master more pays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress.sizing.resources import first_full

if TYPE_CHECKING:
    from latent_libvirt.stress.sizing.models import Load
    from latent_libvirt.stress.sizing.needs import Needs
    from latent_libvirt.stress.sizing.resources import Resource

NAMES: Final = {
    "slots": "the slots of the hosts",
    "scheduler": "the scheduler master",
    "interface": "the interface masters",
    "database": "the database",
    "router": "the router",
    "processors": "the processors of the one machine",
}
"""Of resources, in a sentence."""

PLURAL: Final = ("slots", "interface", "processors")


def sentences(load: Load, found: Needs) -> list[str]:
    """Return the answer, one thing in each sentence."""
    return [
        *_too_small(found),
        *_masters(load, found),
        *_scheduler(load, found),
        *_full(load, found),
        *_slots(found),
        *_rebuild(load, found),
    ]


def number(value: float) -> str:
    """Return a number with two digits that count, or all of its whole ones."""
    if not math.isfinite(value):
        return "any number of"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004 - two digits


def _too_small(found: Needs) -> Iterator[str]:
    """Yield a sentence if one machine is to do more than it can."""
    for machine in found.resources:
        if machine.name == "processors" and machine.carries < 1:
            yield (
                f"This load is too much for the one machine: it needs {number(machine.used)} "
                f"processors, and there are {number(machine.limit)}. Give it more, or use several "
                "machines."
            )


def _masters(load: Load, found: Needs) -> Iterator[str]:
    count = found.interface_masters
    if count is None:
        yield from _too_much(found)
    elif found.single_master.carries >= 1:
        yield from _one_is_enough(load, found)
    else:
        now, more = found.carried[count], found.carried[count + 1]
        yield (
            f"{count} interface master{'s' * (count > 1)} and a scheduler master are needed. Each "
            f"interface master uses {found.cores['interface']:.2f} of a core in the busiest hour."
        )
        yield (
            f"Another interface master pays above {number(now)} jobs an hour. With it, they carry "
            f"{number(more)}."
        )


def _too_much(found: Needs) -> Iterator[str]:
    most = max(found.carried.values())
    yield (
        "No number of interface masters carries this load, since each learns of all builds. "
        f"{max(found.carried)} of them carry {number(most)} jobs an hour. Divide the load among "
        "separate deployments."
    )


def _one_is_enough(load: Load, found: Needs) -> Iterator[str]:
    single = found.single_master
    yield (
        f"A single master is enough, up to {number(load.jobs_per_hour * single.carries)} jobs an "
        f"hour. It uses {single.used:.2f} of a core in the busiest hour."
    )
    yield (
        "Above that, a scheduler master and an interface master carry "
        f"{number(found.carried[1])}, and two interface masters {number(found.carried[2])}."
    )


def _scheduler(load: Load, found: Needs) -> Iterator[str]:
    if found.cores["scheduler"] > load.busy and found.interface_masters is not None:
        yield (
            f"The scheduler master would use {found.cores['scheduler']:.2f} of a core, which is "
            "more than it may. Let fewer readers ask, or give readers a second scheduler master."
        )


def _full(load: Load, found: Needs) -> Iterator[str]:
    resources = found.resources
    yield f"{_capital(_when(load, first_full(resources)))}."
    processes = [resource for resource in resources if resource.name != "slots"]
    if first_full(resources).name == "slots":
        yield f"With more slots, {_when(load, first_full(processes))}."


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _when(load: Load, resource: Resource) -> str:
    """Return what is full first, and when."""
    if resource.carries == 0:
        return f"{NAMES[resource.name]} {_are(resource)} full already without a job"
    jobs = number(load.jobs_per_hour * resource.carries)
    if resource.carries < 1:
        return f"{NAMES[resource.name]} {_are(resource)} full already at {jobs} jobs an hour"
    return (
        f"as the load grows, {NAMES[resource.name]} saturate{_s(resource)} first, at {jobs} jobs "
        "an hour"
    )


def _are(resource: Resource) -> str:
    return "are" if resource.name in PLURAL else "is"


def _s(resource: Resource) -> str:
    return "" if resource.name in PLURAL else "s"


def _slots(found: Needs) -> Iterator[str]:
    slots = found.slots
    yield (
        f"{number(slots.busy)} slots are taken on average in the busiest hour. There are "
        f"{slots.count:,}, which is {slots.hosts:,} host{'s' * (slots.hosts > 1)} with "
        f"{slots.of_a_host:,} VMs each."
    )
    full = [each for each in found.resources if each.carries < 1 and each.name != "slots"]
    if slots.wait is None:
        yield "These slots are too few, and jobs wait longer and longer."
    elif full:
        yield f"Jobs wait longer and longer, since {_full_names(full)} cannot do the work."
    else:
        yield f"95 of 100 jobs wait for a slot for {number(slots.wait)} s at most."


def _full_names(full: list[Resource]) -> str:
    return " and ".join(NAMES[each.name] for each in full)


def _rebuild(load: Load, found: Needs) -> Iterator[str]:
    if load.rebuild is None:
        return
    if found.rebuild is None:
        yield f"A mass rebuild of {load.rebuild:,} jobs does not end in the busiest hour."
    else:
        yield (
            f"A mass rebuild of {load.rebuild:,} jobs takes {number(found.rebuild / 60)} minutes "
            "in the busiest hour."
        )
