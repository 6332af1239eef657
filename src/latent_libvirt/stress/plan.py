# SPDX-License-Identifier: GPL-2.0-only
"""The plan of a run: each job of a profile with its time, its shape and its UUID.

The same profile with the same seed gives the same plan, except for UUIDs. A target keeps the jobs
of earlier runs, and takes no UUID twice.
"""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import TYPE_CHECKING
from uuid import uuid4

from latent_libvirt.stress.arrivals import arrivals
from latent_libvirt.stress.driver import PlannedJob
from latent_libvirt.stress.shapes import drawn

if TYPE_CHECKING:
    from latent_libvirt.stress.profile.models import Profile


def planned_jobs(profile: Profile) -> list[PlannedJob]:
    """Return the jobs of a run, in the order of their times."""
    random = Random(profile.seed)  # noqa: S311 - no secret
    jobs, when = profile.jobs, profile.jobs.arrivals
    times = arrivals(when.kind, jobs.count, during=when.during, random=random, bursts=when.bursts)
    weights = {name: shape.weight for name, shape in jobs.shapes.items()}
    names = islice(drawn(weights, random), jobs.count)
    return [
        PlannedJob(at, uuid4(), name, jobs.shapes[name].shape)
        for at, name in zip(times, names, strict=True)
    ]
