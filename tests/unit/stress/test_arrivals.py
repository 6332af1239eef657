# SPDX-License-Identifier: GPL-2.0-only
"""Arrivals: as many as were asked for, in order, within bounds, and the same for the same seed."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.stress.arrivals import DAY, Kind, arrivals, in_bursts

KINDS = st.sampled_from(get_args(Kind))
COUNTS = st.integers(0, 500)
LENGTHS = st.floats(0.1, 10_000)


@given(KINDS, COUNTS, LENGTHS, st.integers(0, 1000), st.integers(1, 50))
def test_there_are_as_many_as_were_asked_for_in_order_and_in_time(
    kind: Kind, count: int, during: float, seed: int, bursts: int
) -> None:
    found = arrivals(kind, count, during=during, random=Random(seed), bursts=bursts)

    assert len(found) == count
    assert found == sorted(found)
    assert all(0 <= each <= during for each in found)


@given(KINDS, COUNTS, LENGTHS, st.integers(0, 1000))
def test_the_same_seed_gives_the_same(kind: Kind, count: int, during: float, seed: int) -> None:
    first, second = (
        arrivals(kind, count, during=during, random=Random(seed), bursts=3) for _ in range(2)
    )

    assert first == second


@pytest.mark.parametrize("kind", ["poisson", "day"])
def test_another_seed_gives_others(kind: Kind) -> None:
    first, second = (arrivals(kind, 50, during=60.0, random=Random(n)) for n in (1, 2))

    assert first != second


@given(st.integers(1, 500), st.integers(1, 50), LENGTHS)
def test_sizes_of_bursts_differ_by_one_at_most(count: int, bursts: int, during: float) -> None:
    sizes = Counter(in_bursts(count, bursts, during)).values()

    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == min(count, bursts)


def test_all_at_once_is_at_once() -> None:
    assert arrivals("at-once", 3, during=60.0, random=Random(1)) == [0.0, 0.0, 0.0]


def test_a_day_has_its_rush_hours() -> None:
    found = arrivals("day", 20_000, during=24.0, random=Random(1))

    hours = Counter(int(each) for each in found)

    assert sum(DAY) / 20_000 * hours[10] == pytest.approx(DAY[10], rel=0.1)
    assert hours[3] < hours[10] / 10


def test_poisson_arrivals_are_spread_evenly() -> None:
    found = arrivals("poisson", 20_000, during=10.0, random=Random(1))

    assert Counter(int(each) for each in found)[7] == pytest.approx(2000, rel=0.1)
