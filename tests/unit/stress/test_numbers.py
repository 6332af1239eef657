# SPDX-License-Identifier: GPL-2.0-only
"""Percentiles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.stress.report.numbers import Spread, mean, percentile

NUMBERS = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


@given(NUMBERS, st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_numbers_that_enough_do_not_exceed(
    numbers: list[float], share: float
) -> None:
    found = percentile(sorted(numbers), share)

    assert found in numbers
    assert sum(number <= found for number in numbers) >= share * len(numbers) - 1e-6


@given(NUMBERS)
def test_percentiles_are_in_order(numbers: list[float]) -> None:
    spread = Spread.of(numbers)

    assert spread.p50 <= spread.p95 <= spread.p99 <= spread.most == max(numbers)


def test_nothing_has_a_spread_of_nothing() -> None:
    assert Spread.of([]) == Spread(0, 0.0, 0.0, 0.0, 0.0)
    assert mean([]) == 0.0
