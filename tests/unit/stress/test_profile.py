# SPDX-License-Identifier: GPL-2.0-only
"""Profiles: those that are shipped are good, and mistakes are reported with their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.config import InvalidConfiguration
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.profile import PROFILES, aimed_at, load

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

    assert profile.deployment is not None
    assert profile.deployment.all_slots == 400
    assert profile.jobs.arrivals.during == 300.0
    assert profile.jobs.shapes["failing"].shape.exit_status == 1


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("within: 10m", "within: 0s", "within: a run takes time; write within: 5m"),
        ("{weight: 3}", "{properties: {owner: me}}", "'owner' belongs to Buildbot; choose"),
        ("{weight: 3}", "{properties: {job_url: me}}", "'job_url' belongs to latent_libvirt"),
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


TARGET = """\
target:
  url: http://127.0.0.1:8010/jobs
  addresses: [192.0.2.10, 2001:db8::1]
  masters: {interface-1: /srv/buildbot/interface-1}
  processes: {postgresql: 812}
jobs:
  count: 10
  shapes: {check: {builder: check-debian-12, properties: {package: hello}}}
within: 10m
"""


def test_a_target_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text(TARGET)

    target = load(tmp_path / "profile.yaml").target

    assert target is not None
    assert (target.url, target.jobs_url) == ("http://127.0.0.1:8010/", "http://127.0.0.1:8010/jobs")
    assert target.addresses == ("192.0.2.10", "2001:db8::1")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("http://127.0.0.1:8010/jobs", "ftp://x", "target.url: it must begin with http:// or"),
        ("http://127.0.0.1:8010/jobs", "http://me:secret@x/", "without a user"),
        ("192.0.2.10,", "ci.example.org,", "'ci.example.org' is not an IP address; write one"),
        ("[192.0.2.10, 2001:db8::1]", "192.0.2.10", "'192.0.2.10' is not a list"),
        ("812", "-1", "target.processes.postgresql: -1 is too small"),
        ("target:", "deployment: {hosts: 1, slots: 1}\ntarget:", "a load is put on one system"),
        ("  url: http://127.0.0.1:8010/jobs\n", "", "target.url: missing"),
    ],
)
def test_a_mistake_in_a_target_is_reported(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert TARGET.count(old) == 1
    (tmp_path / "profile.yaml").write_text(TARGET.replace(old, new))

    with pytest.raises(InvalidConfiguration) as caught:
        load(tmp_path / "profile.yaml")

    assert problem in str(caught.value)


def test_a_started_deployment_has_only_its_own_builders(tmp_path: Path) -> None:
    assert "has none but its own builders" in problem_with(
        tmp_path, "trivial: {weight: 3}", "trivial: {builder: check}"
    )


def test_a_shipped_profile_can_be_aimed_at_a_target() -> None:
    profile = aimed_at(load(PROFILES / "small.yaml"), "http://127.0.0.1:8010", Path("token"))

    assert profile.deployment is None
    assert profile.target is not None
    assert (profile.target.url, profile.target.token_file) == ("http://127.0.0.1:8010/", "token")


@pytest.mark.parametrize("url", ["", "8010", "http://", "http://[", "http://a b/", "file:///etc"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="--url"):
        aimed_at(load(PROFILES / "small.yaml"), url, None)


def test_a_token_without_a_target_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the profile has no target"):
        aimed_at(load(PROFILES / "small.yaml"), None, Path("token"))
