# SPDX-License-Identifier: GPL-2.0-only
"""Calls that go side by side: both at once, both ended, and what becomes of their errors."""

from __future__ import annotations

import threading

import pytest

from latent_libvirt.host.libvirtd.call_threads import side_by_side

DEADLINE = 60.0


def test_two_calls_are_under_way_at_the_same_time() -> None:
    both_are_there = threading.Barrier(2)

    side_by_side(lambda: both_are_there.wait(DEADLINE), lambda: both_are_there.wait(DEADLINE))

    assert not both_are_there.broken


@pytest.mark.parametrize("first", [True, False])
def test_an_error_of_either_is_raised_when_both_have_ended(*, first: bool) -> None:
    failed, ended = threading.Event(), threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError("no")

    def end() -> None:
        assert failed.wait(DEADLINE)
        ended.set()

    with pytest.raises(OSError, match="no"):
        side_by_side(*((fail, end) if first else (end, fail)))

    assert ended.is_set()


def test_of_two_errors_the_first_ones_is_raised() -> None:
    def fail() -> None:
        raise OSError("first")

    def fail_too() -> None:
        raise ValueError("second")

    with pytest.raises(OSError, match="first"):
        side_by_side(fail, fail_too)
