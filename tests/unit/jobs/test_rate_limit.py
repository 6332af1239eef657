# SPDX-License-Identifier: GPL-2.0-only
"""How often a token gets through."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from latent_libvirt.jobs.rate_limit import MOST_CLIENTS, ClientLimit, RateLimit, client_of


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


def test_a_client_cannot_use_up_what_others_need() -> None:
    limit = ClientLimit(2, 100, Clock().seconds)
    assert [limit.lets_through("noisy") for _ in range(1_000)].count(True) == 2
    assert limit.lets_through("other")


def test_all_clients_together_are_limited_and_what_is_kept_of_them_is_bounded() -> None:
    clock = Clock()
    limit = ClientLimit(2, 3 * MOST_CLIENTS, clock.seconds)
    through = [limit.lets_through(str(n)) for n in range(3 * MOST_CLIENTS)].count(True)
    assert through == MOST_CLIENTS + 2
    assert len(limit._known) == MOST_CLIENTS

    clock.advance(61)
    assert limit.lets_through("late")
    assert len(limit._known) == len(limit._clients._full_at) == 1

    few = ClientLimit(60, 10, clock.seconds)
    assert [few.lets_through(str(n)) for n in range(100)].count(True) == 10


def test_a_place_is_free_again_when_the_first_client_has_been_idle_for_a_minute() -> None:
    clock = Clock()
    limit = ClientLimit(2, 9 * MOST_CLIENTS, clock.seconds)
    for number in range(MOST_CLIENTS):
        limit.lets_through(str(number))
        if number == 0:
            clock.advance(30)
    assert limit.lets_through("late")  # as all others that have no place
    clock.advance(29)
    assert limit.lets_through("1")

    limit.lets_through("later")
    assert len(limit._known) == MOST_CLIENTS
    assert {"0", "late", "later"} & limit._known.keys() == {"0"}

    clock.advance(1)
    assert limit.lets_through("new")
    assert "new" in limit._known
    assert "0" not in limit._known


def test_a_network_of_ipv6_is_one_client() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:1") != client_of("2001:db8:1::1")
    assert client_of("192.0.2.1") != client_of("192.0.2.2")
    assert client_of("::ffff:192.0.2.1") != client_of("::ffff:192.0.2.2")
    assert client_of("local") == "local"
