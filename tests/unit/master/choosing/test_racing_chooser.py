# SPDX-License-Identifier: GPL-2.0-only
"""Two masters that choose from the same requests; Buildbot's own choosers do it, too."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

import pytest
from buildbot.process.buildrequestdistributor import BasicBuildChooser
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.master.choosing import racing_chooser
from latent_libvirt.master.choosing.racing_chooser import (
    FIRST,
    RacingChooser,
    mix,
)
from waiting_requests import Builder, Chooser, result

MANY = 400


def claims(master: Builder, kind: Chooser, claimed: list[int]) -> Iterator[bool]:
    """Choose and claim requests as the distributor does; yield whether each claim succeeded."""
    chooser = master.chooser(kind)
    while True:
        master.waiting = [r for r in master.waiting if r["buildrequestid"] not in claimed]
        _worker, chosen = result(chooser.chooseNextBuild())
        if chosen is None:
            return
        yield False  # so that the other one chooses, too, before this one claims
        if has_won := chosen[0].id not in claimed:
            claimed.append(chosen[0].id)
        else:
            chooser = master.chooser(kind)
        yield has_won


def lost(kind: Chooser) -> int:
    """Return how many claims are lost until two masters have claimed all requests."""
    claimed: list[int] = []
    masters = [claims(Builder(waiting=MANY, room=MANY), kind, claimed) for _ in range(2)]
    count = 0
    while len(claimed) < MANY:
        for master in masters:
            next(master, None)
        count += [next(master, None) for master in masters].count(False)
    return count


def test_masters_that_choose_at_the_same_moment_lose_few_claims() -> None:
    assert lost(RacingChooser) < MANY // 4


def test_buildbots_own_lose_every_other_claim() -> None:
    """The day this fails, ours are not needed any more."""
    assert lost(BasicBuildChooser) > MANY // 3


def test_a_master_alone_takes_the_oldest_first() -> None:
    master, claimed = Builder(waiting=MANY, room=MANY), list[int]()
    for _ in claims(master, RacingChooser, claimed):
        pass
    assert claimed == list(range(MANY))


def test_some_time_after_a_lost_claim_the_oldest_is_first_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master, claimed = Builder(waiting=MANY, room=MANY), list[int]()
    its_claims = claims(master, RacingChooser, claimed)
    next(its_claims)
    claimed.append(0)  # by another master
    assert not next(its_claims)

    monkeypatch.setattr(racing_chooser, "HEAT", 0.0)

    next(its_claims)
    assert next(its_claims)
    assert claimed == [0, 1]


@given(st.lists(st.integers(-3, 3), max_size=2 * FIRST))
def test_a_higher_priority_stays_first_and_later_requests_stay_in_order(
    priorities: list[int],
) -> None:
    requests = [{"buildrequestid": n, "priority": p} for n, p in enumerate(priorities)]
    mixed = list(requests)

    mix(mixed, itemgetter("priority"))

    assert [r["priority"] for r in mixed] == sorted(priorities, reverse=True)
    by_priority = sorted(requests, key=lambda r: -r["priority"])
    assert mixed[FIRST:] == by_priority[FIRST:]
    assert sorted(r["buildrequestid"] for r in mixed) == list(range(len(priorities)))
