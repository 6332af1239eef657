# SPDX-License-Identifier: GPL-2.0-only
"""Pauses between tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.backoff import Backoff

BACKOFF = Backoff(first=0.5, longest=10.0)


def test_each_pause_is_twice_as_long_up_to_the_longest() -> None:
    assert [BACKOFF.after(failures) for failures in range(1, 8)] == [0.5, 1, 2, 4, 8, 10, 10]


@given(st.integers())
def test_there_is_a_pause_whatever_is_counted(failures: int) -> None:
    assert BACKOFF.first <= BACKOFF.after(failures) <= BACKOFF.longest
