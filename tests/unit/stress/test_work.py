# SPDX-License-Identifier: GPL-2.0-only
"""Simulated work: all lines are said, in the time that it takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.stress.simulation.times import MEDIANS
from latent_libvirt.stress.simulation.work import Work


@given(st.integers(0, 2000), st.floats(0, 60), st.floats(0.1, 5))
def test_all_lines_are_said_in_order_and_in_time(lines: int, seconds: float, each: float) -> None:
    pieces = list(Work(lines, seconds).pieces(each))

    said = "".join(piece.text for piece in pieces).splitlines()
    assert said == [f"line {number} of a simulated build" for number in range(lines)]
    assert sum(piece.seconds for piece in pieces) == pytest.approx(seconds)
    assert all(piece.seconds <= each + 1e-9 for piece in pieces)


def test_a_booted_start_takes_as_long_as_it_was_measured() -> None:
    assert sum(MEDIANS["booted"].phases) == pytest.approx(10.1, abs=0.1)


def test_a_resumed_start_takes_as_long_as_it_was_measured() -> None:
    # The master's own work during the attach, some 0.1 s, is real.
    assert sum(MEDIANS["resumed"].phases) == pytest.approx(0.81 - 0.1, abs=0.05)
