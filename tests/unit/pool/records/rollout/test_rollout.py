# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of versions of an image, whatever is seen of them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.pool.records.rollout.rollout import Kind, Rollout, Share
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
            st.integers(1, 30),
            st.booleans(),
        ),
    ),
    max_size=30,
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
