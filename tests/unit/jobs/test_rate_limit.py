# SPDX-License-Identifier: GPL-2.0-only
"""How often a token gets through."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from latent_libvirt.jobs.rate_limit import RateLimit


def test_each_token_has_its_own_allowance() -> None:
    limit = RateLimit(2, Clock().seconds)
    assert [limit.wait("a") for _ in range(3)] == [0, 0, 30]
    assert limit.wait("b") == 0


def test_no_limit_is_none() -> None:
    limit = RateLimit(None, Clock().seconds)
    assert not any(limit.wait("a") for _ in range(10_000))


@given(st.integers(1, 1000))
@settings(deadline=None)
def test_who_waits_as_long_as_told_gets_through(per_minute: int) -> None:
    clock = Clock()
    limit = RateLimit(per_minute, clock.seconds)
    assert not any(limit.wait("a") for _ in range(per_minute))
    wait = limit.wait("a")
    assert wait >= 1
    clock.advance(wait)
    assert limit.wait("a") == 0


@given(st.integers(1, 50), st.lists(st.floats(0, 10), max_size=300))
@settings(deadline=None)
def test_in_a_minute_never_more_than_a_full_bucket_and_what_drips(
    per_minute: int, pauses: list[float]
) -> None:
    clock = Clock()
    limit = RateLimit(per_minute, clock.seconds)
    passed = []
    for pause in pauses:
        clock.advance(pause)
        if limit.wait("a") == 0:
            passed.append(clock.seconds())
    for start in passed:
        assert sum(start <= time < start + 60 for time in passed) <= 2 * per_minute
