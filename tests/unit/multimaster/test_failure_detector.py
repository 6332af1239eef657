# SPDX-License-Identifier: GPL-2.0-only
"""Who is taken for dead, by whom, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latent_libvirt.multimaster.failure_detector import (
    FailureDetector,
    FailureTimeouts,
)
from latent_libvirt.multimaster.membership import (
    Entry,
    Look,
    State,
)

TIMEOUTS = FailureTimeouts(silent=10, gone=4, gap=3)
OBSERVER = 1
OTHER = Entry(2, "life", "here", seen=100.0, since=50.0, connected=True)


def look(now: float, *entries: Entry, server_since: float = 0.0) -> Look:
    return Look(now, server_since, entries)


def watched(entry: Entry, *, until: float, since: float = 100.0) -> tuple[Entry, ...]:
    """Return whom an observer suspects who has looked every second from *since* on."""
    suspicion = FailureDetector(TIMEOUTS)
    now = since
    suspects: tuple[Entry, ...] = ()
    while now <= until:
        suspects = suspicion.suspects(look(now, entry), observer=OBSERVER)
        now += 1
    return suspects


@pytest.mark.parametrize(
    ("connected", "silent_for", "suspected"),
    [(True, 10, False), (True, 11, True), (False, 4, False), (False, 5, True)],
)
def test_one_that_is_silent_for_too_long_is_suspected(
    silent_for: float, *, connected: bool, suspected: bool
) -> None:
    other = replace(OTHER, connected=connected)

    assert watched(other, until=100 + silent_for) == ((other,) if suspected else ())


@pytest.mark.parametrize("state", ["away", "dead"])
def test_one_that_has_signed_off_or_is_dead_is_not_suspected(state: State) -> None:
    assert not watched(replace(OTHER, state=state), until=200)


def test_nobody_suspects_itself() -> None:
    assert not watched(replace(OTHER, masterid=OBSERVER), until=200)


def test_an_observer_that_has_just_begun_suspects_nobody() -> None:
    assert not FailureDetector(TIMEOUTS).suspects(look(1_000, OTHER), observer=OBSERVER)
    assert not watched(OTHER, since=1_000, until=1_010)
    assert watched(OTHER, since=1_000, until=1_011)


@pytest.mark.parametrize("later", [110.5, 90.0, 100_000.0])
def test_one_that_has_missed_something_begins_to_count_again(later: float) -> None:
    suspicion = FailureDetector(TIMEOUTS)
    for now in range(100, 107):
        assert not suspicion.suspects(look(now, OTHER), observer=OBSERVER)

    suspects = [
        suspicion.suspects(look(later + second, OTHER), observer=OBSERVER) for second in range(12)
    ]

    assert [bool(found) for found in suspects] == [False] * 11 + [later > 100]


def test_a_database_that_was_restarted_makes_everybody_begin_again() -> None:
    other = replace(OTHER, connected=False)
    suspicion = FailureDetector(TIMEOUTS)
    for now in range(100, 105):
        assert not suspicion.suspects(look(now, other), observer=OBSERVER)

    after = [
        suspicion.suspects(look(now, other, server_since=105), observer=OBSERVER)
        for now in range(105, 110)
    ]

    assert not any(after)


@settings(deadline=None)
@given(
    times=st.lists(st.floats(0.1, 60), min_size=1, max_size=50),
    restarts=st.lists(st.booleans(), min_size=50, max_size=50),
    connected=st.booleans(),
)
def test_one_that_was_heard_of_since_the_last_look_is_never_suspected(
    times: list[float], restarts: list[bool], *, connected: bool
) -> None:
    suspicion = FailureDetector(TIMEOUTS)
    now, started = 1_000.0, 0.0
    for passed, restarted in zip(times, restarts, strict=False):
        now += passed
        started += restarted
        other = replace(OTHER, seen=now - min(passed, 3.9), connected=connected)
        seen = look(now, other, server_since=started)
        assert not suspicion.suspects(seen, observer=OBSERVER)
