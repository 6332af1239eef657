# SPDX-License-Identifier: GPL-2.0-only
"""Demand of a load in its busiest hour: traffic, and the time for which a job takes its slot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress.simulation.times import DESTROY, MEDIANS
from latent_libvirt.stress.sizing.work import Traffic

if TYPE_CHECKING:
    from latent_libvirt.stress.simulation.times import Start
    from latent_libvirt.stress.sizing.models import Load

FLUSH_EVERY: Final = 5.0
"""Seconds for which buildbot-worker keeps lines before it sends them."""

FLUSH_SIZE: Final = 64 * 1024
"""Bytes that it sends at once."""

LINE_SIZE: Final = 80
"""Bytes of a line, on average."""

BUILDBOT: Final = 0.4
"""Seconds that Buildbot takes to begin and to end a build in a VM that is attached."""


def messages(lines: float, seconds: float) -> float:
    """Return how many messages a job's worker sends with lines of its log."""
    pieces = max(1.0, seconds / FLUSH_EVERY, lines * LINE_SIZE / FLUSH_SIZE)
    return min(lines, pieces)


def request_time(job_time: float, start: Start) -> float:
    """Return the seconds from a request's claim to its end."""
    return job_time + math.fsum(MEDIANS[start].phases) + BUILDBOT


def slot_time(job_time: float, start: Start) -> float:
    """Return the seconds for which a job takes its slot, with the tear-down of its VM."""
    return request_time(job_time, start) + DESTROY


def traffic(load: Load) -> Traffic:
    """Return what happens in a second of the busiest hour."""
    builds = load.jobs_per_hour * load.peak / 3600
    return Traffic(
        builds=builds,
        lines=builds * load.lines,
        messages=builds * messages(load.lines, load.job_time),
        vms=builds * slot_time(load.job_time, load.start),
        reads=load.readers / load.read_every,
    )
