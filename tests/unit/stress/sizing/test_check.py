# SPDX-License-Identifier: GPL-2.0-only
"""Forecasts of runs, what is seen in runs, and the comparison of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.profile.models import Profile
from latent_libvirt.stress.sizing.check import compared, predicted
from latent_libvirt.stress.sizing.costs import SHIPPED
from latent_libvirt.stress.sizing.forecast import NOTHING, Site, forecast
from latent_libvirt.stress.sizing.mix import mix_of, offered
from latent_libvirt.stress.sizing.observed import costs_of
from latent_libvirt.stress.sizing.reports import observed_in
from latent_libvirt.stress.sizing.work import DEPLOYED, Traffic
from steady_run import PROFILE, write

ROOMY = Site(interface_masters=2, slots=10_000, machine=64)


def profile(**keys: Any) -> Profile:
    return Profile.model_validate(PROFILE | keys)


def test_offered_builds_are_all_done_if_nothing_is_full() -> None:
    found = forecast(Traffic(builds=1.0, vms=10.0), SHIPPED, ROOMY)

    assert found.full == NOTHING
    assert found.traffic == Traffic(builds=1.0, vms=10.0)


@pytest.mark.parametrize(
    ("site", "full"),
    [
        (Site(2, 5, 64), "slots"),
        (Site(2, 10_000, 0.2), "processors"),
        (Site(1, 10_000, 64), "interface"),
    ],
)
def test_what_is_full_limits_the_builds(site: Site, full: str) -> None:
    traffic = Traffic(builds=20.0, vms=10.0)

    found = forecast(traffic, SHIPPED, site)

    assert found.full == full
    assert found.traffic.builds < 20.0
    assert found.traffic.vms == pytest.approx(found.traffic.builds / 2)


@given(st.floats(0.1, 50), st.integers(1, 10), st.integers(1, 100), st.floats(0.2, 16))
def test_a_forecast_keeps_all_bounds(builds: float, masters: int, slots: int, cores: float) -> None:
    found = forecast(Traffic(builds=builds, vms=builds), SHIPPED, Site(masters, slots, cores))

    assert found.traffic.builds <= builds
    assert found.traffic.vms <= slots * 1.001
    assert found.traffic.builds == 0 or found.all_cores <= cores * 1.001
    assert found.traffic.builds == 0 or found.cores["interface"] <= 1.001


def test_a_backlog_is_done_as_fast_as_something_is_full() -> None:
    found = forecast(Traffic(builds=1.0, vms=2.0), SHIPPED, Site(2, 4, 64), backlog=True)

    assert found.full == "slots"
    assert found.traffic.builds == pytest.approx(2.0)


def test_children_are_builds_and_their_parents_wait_for_them() -> None:
    shapes = {"parent": {"children": 2, "seconds": 10}}
    mix = mix_of(profile(jobs=PROFILE["jobs"] | {"shapes": shapes}))

    assert mix.builds == 3
    assert mix.traffic(3.0, 0.0).lines == 3
    assert mix.traffic(3.0, 0.0).vms == pytest.approx(10 + 4 * mix.start_time)


@pytest.mark.parametrize("machine", [1, 8])
def test_a_run_that_goes_as_the_model_says_is_seen_as_it_was(tmp_path: Path, machine: int) -> None:
    write(tmp_path, SHIPPED, machine=machine)

    seen = observed_in(tmp_path)

    assert seen.interface_masters == 2
    assert all(each.good for each in compared(seen, predicted(seen, SHIPPED)))
    assert seen.others == pytest.approx(0.0, abs=1e-6)


def test_costs_of_a_slower_machine_are_found_from_its_run(tmp_path: Path) -> None:
    slower = SHIPPED.scaled(dict.fromkeys((*DEPLOYED, "harness"), 3.0), "a slower machine")
    write(tmp_path, slower, machine=16)

    seen = observed_in(tmp_path)
    found = costs_of(seen, SHIPPED, "the run")

    assert found.parts["interface"].builds == pytest.approx(
        3 * SHIPPED.parts["interface"].builds, rel=0.05
    )
    assert not all(each.good for each in compared(seen, predicted(seen, SHIPPED)))
    assert all(each.good for each in compared(seen, predicted(seen, found)))


def test_a_mass_rebuild_is_predicted_from_what_is_full(tmp_path: Path) -> None:
    at_once = PROFILE | {"jobs": PROFILE["jobs"] | {"arrivals": {"kind": "at-once"}}}
    write(tmp_path, SHIPPED, profile=at_once)

    seen = observed_in(tmp_path)

    assert predicted(seen, SHIPPED).full != NOTHING
    assert all(each.good for each in compared(seen, predicted(seen, SHIPPED)))


def test_a_run_without_a_steady_time_is_refused(tmp_path: Path) -> None:
    shapes = {"longer": {"seconds": 90}}
    write(tmp_path, SHIPPED, profile=PROFILE | {"jobs": PROFILE["jobs"] | {"shapes": shapes}})

    with pytest.raises(ConfigurationError, match="no steady time"):
        observed_in(tmp_path)


def test_arrivals_that_are_not_even_have_no_forecast() -> None:
    arrivals = {"kind": "day", "during": "1m"}

    with pytest.raises(ConfigurationError, match="arrived as 'day'"):
        offered(profile(jobs=PROFILE["jobs"] | {"arrivals": arrivals}))
