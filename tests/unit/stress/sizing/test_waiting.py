# SPDX-License-Identifier: GPL-2.0-only
"""Waits for a slot: Erlang's formula, its known values and its bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.stress.sizing.waiting import has_to_wait, slots_for, wait_of

BUSY = st.floats(0.0, 300.0)


@pytest.mark.parametrize(
    ("busy", "slots", "expected"),
    [(0.5, 1, 0.5), (1.0, 2, 1 / 3), (2.0, 3, 4 / 9), (8.0, 10, 0.4092)],
)
def test_the_probability_of_a_wait_is_erlangs(busy: float, slots: int, expected: float) -> None:
    assert has_to_wait(busy, slots) == pytest.approx(expected, rel=1e-3)


def test_with_too_few_slots_all_jobs_wait_without_end() -> None:
    assert has_to_wait(3.0, 3) == 1.0
    assert wait_of(0.95, 3.0, 3, 60.0) == math.inf


@given(BUSY, st.integers(1, 400))
def test_a_probability_is_one(busy: float, slots: int) -> None:
    assert 0.0 <= has_to_wait(busy, slots) <= 1.0


@given(BUSY, BUSY, st.floats(0.1, 1e5), st.floats(0.0, 1e3))
def test_more_work_never_needs_fewer_slots(
    one: float, other: float, seconds: float, wait: float
) -> None:
    less, more = sorted((one, other))

    assert slots_for(less, seconds, wait=wait, share=0.95) <= slots_for(
        more, seconds, wait=wait, share=0.95
    )


@given(BUSY, st.floats(0.1, 1e5), st.floats(0.0, 1e3))
def test_slots_are_the_fewest_that_keep_the_bound(busy: float, seconds: float, wait: float) -> None:
    slots = slots_for(busy, seconds, wait=wait, share=0.95)

    assert slots > busy
    assert wait_of(0.95, busy, slots, seconds) <= wait
    if slots > 1:
        assert wait_of(0.95, busy, slots - 1, seconds) > wait or slots - 1 <= busy
