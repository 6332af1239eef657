# SPDX-License-Identifier: GPL-2.0-only
"""Profiles: those that are shipped are good, and mistakes are reported with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.config import InvalidConfiguration
from latent_libvirt.stress.profile import PROFILES, load

GOOD = """\
deployment:
  interface_masters: 2
  hosts: 10
  slots: 20
jobs:
  count: 1000
  arrivals: {kind: poisson, during: 5m}
  shapes:
    trivial: {weight: 3}
    failing: {exit_status: 1}
readers: {users: 10, every: 2.0}
within: 10m
"""


def problem_with(tmp_path: Path, old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    file = tmp_path / "profile.yaml"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(InvalidConfiguration) as caught:
        load(file)
    return str(caught.value).removeprefix(f"{file}:")


@pytest.mark.parametrize("file", sorted(PROFILES.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_shipped_profile_is_good_and_ends_within_ten_minutes(file: Path) -> None:
    assert load(file).within <= 600


def test_a_good_profile_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text(GOOD)

    profile = load(tmp_path / "profile.yaml")

    assert profile.deployment.all_slots == 400
    assert profile.jobs.arrivals.during == 300.0
    assert profile.jobs.shapes["failing"].shape.exit_status == 1


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("count: 1000", "cuont: 1000", "6:3: jobs.cuont: unknown key; did you mean 'count'?"),
        ("count: 1000", "count: 1000000", "6:10: jobs.count: 1000000 is too large; write at most"),
        ("kind: poisson", "kind: posson", "7:20: jobs.arrivals.kind: 'posson' is not among"),
        ("during: 5m", "during: 300", "7:37: jobs.arrivals.during: the duration 300 has no unit"),
        (", during: 5m", "", "7:3: jobs.arrivals.during: poisson takes time; write during: 5m"),
        ("during: 5m", "during: 20m", "12:9: within: jobs arrive after the end; write at least"),
        ("within: 10m", "within: 10h", "12:9: within: the time is out of reach; write at most 4h"),
        ("within: 10m", "within: ", "12:8: within: nothing is not a duration"),
        ("slots: 20", "slots: 2000", "deployment: 40000 slots in all are too many; keep masters"),
        ("weight: 3", "weight: -3", "9:23: jobs.shapes.trivial.weight: -3 is too small"),
        ("exit_status: 1", "children: 99", "jobs.shapes.failing.children: 99 is too large"),
        ("users: 10", "users: 10000", "readers.users: 10000 is too large; write at most 500"),
    ],
)
def test_a_mistake_is_reported_with_what_would_be_right(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert problem in problem_with(tmp_path, old, new)


def test_shapes_that_never_come_are_refused(tmp_path: Path) -> None:
    shapes = "    trivial: {weight: 3}\n    failing: {exit_status: 1}\n"

    assert "all shapes have the weight 0" in problem_with(
        tmp_path, shapes, "    never: {weight: 0}\n"
    )


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        load(tmp_path / "none.yaml")
