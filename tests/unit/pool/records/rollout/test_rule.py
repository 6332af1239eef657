# SPDX-License-Identifier: GPL-2.0-only
"""When a new version of an image is clearly worse than the former one."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.pool.records.rollout.rule import ENOUGH, RARE, Counts, Tally, chance

TALLIES = st.builds(Tally, st.integers(0, 200), st.integers(0, 200))
FEW = st.builds(Tally, st.integers(0, 4), st.integers(0, 4))


@given(new=FEW, old=FEW)
def test_the_chance_is_that_of_drawing_so_many_failures_without_looking(
    new: Tally, old: Tally
) -> None:
    everything = [True] * (new.bad + old.bad) + [False] * (new.good + old.good)
    draws = [sum(drawn) >= new.bad for drawn in combinations(everything, new.all)]

    assert chance(new, old) == pytest.approx(float(Fraction(sum(draws), len(draws))))


@given(new=TALLIES, old=TALLIES)
def test_more_failures_are_never_less_suspect(new: Tally, old: Tally) -> None:
    more = Tally(max(0, new.good - 1), new.bad + (new.good > 0))

    assert 0.0 <= chance(more, old) <= chance(new, old) + 1e-9 <= 1.0 + 2e-9


@given(new=TALLIES, old=TALLIES)
def test_a_version_that_fails_no_more_often_stays(new: Tally, old: Tally) -> None:
    as_often = new.bad * old.all <= old.bad * new.all and new.all > 0 and old.all > 0
    counts = Counts(new_builds=new, old_builds=old)

    if as_often:
        assert counts.defect == ""


@given(old=st.builds(Tally, st.integers(0, 100), st.just(0)))
def test_a_version_that_never_starts_goes_after_three_starts_at_most(old: Tally) -> None:
    assert Counts(new_starts=Tally(0, 3), old_starts=old).defect.startswith("3 of 3 starts failed")


@pytest.mark.parametrize(
    ("new", "old", "worse"),
    [
        (Tally(0, 1), Tally(50, 0), False),  # once is chance
        (Tally(0, 2), Tally(50, 0), True),
        (Tally(6, 4), Tally(90, 2), True),
        (Tally(17, 3), Tally(170, 10), False),
        (Tally(0, 20), Tally(0, 180), False),  # all builds fail, whatever the image is
    ],
)
def test_builds_that_fail_more_often_withdraw_a_version(
    new: Tally, old: Tally, *, worse: bool
) -> None:
    assert bool(Counts(new_builds=new, old_builds=old).defect) == worse
    assert (chance(new, old) < RARE) == worse


def test_enough_builds_are_counted_whatever_their_result() -> None:
    assert not Counts(new_builds=Tally(ENOUGH - 2, 1)).is_enough
    assert Counts(new_builds=Tally(ENOUGH - 1, 1)).is_enough
