# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of versions of an image, whatever is seen of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.pool.records.rollout.rollout import MOST_WITHDRAWN, Kind, Rollout, Share
from latent_libvirt.pool.records.rollout.rule import ENOUGH


def on_trial() -> Rollout:
    return Rollout().saw("one", since=1.0).saw("two", since=2.0)


def noted(rollout: Rollout, kind: Kind, version: str, *, times: int, good: bool) -> Rollout:
    for _ in range(times):
        rollout = rollout.noted(kind, version, good=good)
    return rollout


def withdrawn() -> Rollout:
    return noted(on_trial(), "starts", "two", times=3, good=False)


def test_the_first_version_is_in_use_and_a_newer_one_is_on_trial() -> None:
    assert Rollout().saw("one", since=1.0).candidate == ""
    assert (on_trial().stable, on_trial().candidate) == ("one", "two")


def test_a_host_with_an_older_version_starts_no_trial() -> None:
    assert on_trial().saw("zero", since=0.5) == on_trial()
    assert Rollout().saw("one", since=1.0).saw("zero", since=0.5).candidate == ""


def test_a_still_newer_version_takes_the_place_of_the_one_on_trial() -> None:
    tried = noted(on_trial(), "starts", "two", times=2, good=False)

    newer = tried.saw("three", since=3.0)

    assert newer.candidate == "three"
    assert newer.counts.new_starts.all == 0
    assert newer.saw("two", since=2.0) == newer


def test_a_trial_goes_on_when_its_version_is_seen_again_or_another_of_the_same_time() -> None:
    tried = noted(on_trial(), "starts", "two", times=2, good=False)

    assert tried.saw("two", since=2.0) == tried
    assert tried.saw("three", since=2.0) == tried


def test_a_choice_that_is_in_use_ends_no_trial_when_it_is_seen_again() -> None:
    tried = Rollout().saw("one", since=3.0, is_chosen=True).saw("two", since=4.0)

    assert tried.candidate == "two"
    assert tried.saw("one", since=3.0, is_chosen=True) == tried


def test_the_first_version_may_be_of_any_time() -> None:
    assert Rollout().saw("one", since=0.0).stable == "one"


def test_a_choice_keeps_the_other_versions_withdrawn() -> None:
    gone = noted(withdrawn().saw("three", since=3.0), "starts", "three", times=3, good=False)
    chosen = gone.saw("two", since=9.0, is_chosen=True)

    assert (chosen.stable, chosen.withdrawn) == ("two", ("three",))


def test_only_the_last_versions_are_remembered_as_withdrawn() -> None:
    rollout = on_trial()
    for number in range(MOST_WITHDRAWN + 2):
        rollout = rollout.saw(str(number), since=3.0 + number)
        rollout = noted(rollout, "starts", str(number), times=3, good=False)

    assert rollout.withdrawn == tuple(map(str, range(2, MOST_WITHDRAWN + 2)))


def test_an_operator_reads_of_the_last_trial_only_that_its_version_was_withdrawn() -> None:
    tried = withdrawn().saw("three", since=3.0)
    accepted = noted(tried, "builds", "three", times=ENOUGH, good=True)

    assert tried.said == ""
    assert tried.status == "version three is on trial: 0 of 0 starts and 0 of 0 builds failed"
    assert (accepted.stable, accepted.withdrawn, accepted.status) == ("three", ("two",), "")


def test_a_version_that_does_not_start_is_withdrawn_and_comes_back_only_by_choice() -> None:
    gone = withdrawn()

    assert (gone.stable, gone.candidate, gone.withdrawn) == ("one", "", ("two",))
    assert gone.status == (
        "version two is withdrawn, and VMs take one: 3 of 3 starts failed, with the former version "
        "0 of 0"
    )
    assert gone.saw("two", since=2.0) == gone
    chosen = gone.saw("two", since=9.0, is_chosen=True)
    assert (chosen.stable, chosen.withdrawn) == ("two", ())


def test_a_rollback_by_an_operator_ends_the_trial() -> None:
    chosen = on_trial().saw("one", since=3.0, is_chosen=True)

    assert (chosen.stable, chosen.candidate) == ("one", "")
    assert chosen.saw("two", since=2.0) == chosen


def test_a_version_whose_builds_do_as_well_is_accepted() -> None:
    tried = noted(on_trial(), "builds", "one", times=100, good=True)
    tried = noted(tried, "builds", "two", times=ENOUGH, good=True)

    assert (tried.stable, tried.candidate, tried.status) == ("two", "", "")
    assert tried.said.startswith("version two is accepted in place of one")
    assert tried.saw("one", since=1.0) == tried


@pytest.mark.parametrize("version", ["", "zero"])
def test_vms_of_other_versions_count_for_nothing(version: str) -> None:
    assert noted(on_trial(), "builds", version, times=50, good=False) == on_trial()


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("saw"), st.sampled_from("abcd"), st.integers(1, 9), st.booleans()),
        st.tuples(
            st.sampled_from(["starts", "builds"]),
            st.sampled_from("abcd"),
            st.sampled_from([1, 3, ENOUGH]),
            st.booleans(),
        ),
    ),
    max_size=20,
)


@given(events=EVENTS)
def test_whatever_happens_vms_have_a_version_and_none_that_was_withdrawn(
    events: list[tuple[str, str, int, bool]],
) -> None:
    rollout = Rollout()
    for what, version, number, is_so in events:
        before = rollout
        if what == "saw":
            rollout = rollout.saw(version, since=float(number), is_chosen=is_so)
        else:
            kind: Kind = "starts" if what == "starts" else "builds"
            rollout = noted(rollout, kind, version, times=number, good=is_so)
        assert rollout.stable or not before.stable
        assert rollout.stable not in rollout.withdrawn
        assert rollout.candidate not in {rollout.stable, *rollout.withdrawn} or not rollout.stable
        assert Rollout.from_plain(json.loads(json.dumps(rollout.to_plain()))) == rollout


@pytest.mark.parametrize("values", [None, {}, {"stable": 1}, {"counts": "x"}, {"more": 1}])
def test_what_makes_no_sense_in_the_database_is_a_new_roll_out(values: object) -> None:
    assert Rollout.from_plain(values) == Rollout()  # type: ignore[arg-type]


@given(percent=st.integers(1, 99), count=st.integers(1, 1000))
def test_a_share_is_kept_to_within_half_a_vm(percent: int, count: int) -> None:
    share = Share()
    taken = sum(share.takes_next(percent / 100) for _ in range(count))

    assert abs(taken - count * percent / 100) <= 0.5 + 1e-6


@pytest.mark.parametrize(("share", "first"), [(0.5, 1), (0.1, 5), (1.0, 1)])
def test_a_share_is_due_as_soon_as_its_half_is(share: float, first: int) -> None:
    taken = Share()

    due = [taken.takes_next(share) for _ in range(first)]

    assert due == [*[False] * (first - 1), True]
