# SPDX-License-Identifier: GPL-2.0-only
"""Plans of jobs: reproducible, and of the shapes that the profile has."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.jobs.request import JobRequest
from latent_libvirt.stress.plan import planned_jobs
from latent_libvirt.stress.profile.models import Profile
from latent_libvirt.stress.shapes import Shape, drawn


def profile(count: int = 50, seed: int = 0) -> Profile:
    return Profile.model_validate(
        {
            "deployment": {"hosts": 1, "slots": 1},
            "jobs": {
                "count": count,
                "arrivals": {"kind": "poisson", "during": "20s"},
                "shapes": {"long": {"seconds": 2, "weight": 3}, "parent": {"children": 2}},
            },
            "within": "1m",
            "seed": seed,
        }
    )


def test_the_same_profile_gives_the_same_plan() -> None:
    assert plan(profile()) == plan(profile())


def test_another_seed_gives_another_plan() -> None:
    assert plan(profile(seed=1)) != plan(profile(seed=2))


def test_no_uuid_comes_twice_in_two_runs_of_a_profile() -> None:
    first, second = ({job.uuid for job in planned_jobs(profile())} for _ in range(2))

    assert first.isdisjoint(second)


def plan(profile: Profile) -> list[tuple[float, str]]:
    """Return the jobs of a run without their UUIDs."""
    return [(job.at, job.name) for job in planned_jobs(profile)]


@given(st.integers(1, 300))
def test_each_job_has_its_own_uuid(count: int) -> None:
    jobs = planned_jobs(profile(count))

    assert len({job.uuid for job in jobs}) == count


def test_shapes_come_as_often_as_their_weights_say() -> None:
    names = Counter(islice(drawn({"a": 3, "b": 1, "c": 0}, Random(1)), 4000))

    assert names["a"] == pytest.approx(3000, rel=0.1)
    assert "c" not in names


@pytest.mark.parametrize(
    "shape",
    [Shape(), Shape(lines=500), Shape(seconds=2.5), Shape(exit_status=1), Shape(children=3)],
)
def test_a_shape_is_a_request_that_the_job_api_accepts(shape: Shape) -> None:
    request = JobRequest.model_validate(shape.request())

    assert request.builder == ("stress-parent" if shape.children else "stress-work")
    assert request.properties["lines"] == shape.lines
