# SPDX-License-Identifier: GPL-2.0-only
"""Hosts where VMs do not start get nothing for a while."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from latent_libvirt.errors import CapacityError, ConfigurationError, GuestError, HostError
from latent_libvirt.set_aside import FIRST_TIME, IN_A_ROW, LONGEST_TIME, SetAside

REFUSED = HostError("host alpha could not start domain latent-libvirt-1")
SILENT = GuestError("VM latent-libvirt-1 did not say 'waiting' within 180 s")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def set_aside(clock: Clock) -> SetAside:
    return SetAside(clock.seconds, changed=lambda: None)


def fail(set_aside: SetAside, times: int, error: HostError | GuestError = REFUSED) -> None:
    for _ in range(times):
        set_aside.note_failure("alpha", "debian-12", error)


@pytest.mark.parametrize("error", [REFUSED, SILENT])
def test_a_host_is_set_aside_after_some_failures_in_a_row(
    set_aside: SetAside, error: HostError | GuestError
) -> None:
    fail(set_aside, IN_A_ROW - 1, error)
    assert not set_aside.hosts()

    set_aside.note_failure("alpha", "debian-12", error)
    assert error.brief in set_aside.hosts()["alpha"]


def test_a_success_in_between_clears_it(set_aside: SetAside) -> None:
    fail(set_aside, IN_A_ROW - 1)
    set_aside.note_success("alpha", "debian-12")
    fail(set_aside, IN_A_ROW - 1)

    assert not set_aside.hosts()


def test_it_is_tried_again_and_set_aside_for_longer_at_each_further_failure(
    set_aside: SetAside, clock: Clock
) -> None:
    fail(set_aside, IN_A_ROW)
    clock.advance(FIRST_TIME)
    assert not set_aside.hosts()

    fail(set_aside, 1)
    clock.advance(FIRST_TIME)
    assert set_aside.hosts()
    clock.advance(FIRST_TIME)
    assert not set_aside.hosts()


def test_no_host_is_set_aside_for_ever(set_aside: SetAside, clock: Clock) -> None:
    fail(set_aside, 2000)
    assert set_aside.hosts()

    clock.advance(LONGEST_TIME)

    assert not set_aside.hosts()


def test_a_label_that_fails_everywhere_is_held_against_no_host(set_aside: SetAside) -> None:
    for _ in range(IN_A_ROW):
        set_aside.note_failure("alpha", "broken", SILENT)
        set_aside.note_failure("beta", "broken", SILENT)

    assert not set_aside.hosts()


def test_a_slot_that_another_master_was_quicker_to_take_is_no_failure(
    set_aside: SetAside,
) -> None:
    for _ in range(IN_A_ROW):
        set_aside.note_failure("alpha", "debian-12", CapacityError("slot 1 is taken"))

    assert not set_aside.hosts()


def test_an_operator_who_has_mended_a_host_need_not_wait(set_aside: SetAside) -> None:
    fail(set_aside, IN_A_ROW)

    set_aside.forgive("alpha")

    assert not set_aside.hosts()


def test_a_label_that_fails_alone_leaves_the_host_to_the_others(set_aside: SetAside) -> None:
    set_aside.note_success("alpha", "small")
    fail(set_aside, IN_A_ROW)

    assert not set_aside.hosts()
    assert REFUSED.brief in set_aside.labels()["debian-12"]["alpha"]
    set_aside.note_success("alpha", "debian-12")
    assert not set_aside.labels()


def test_a_host_where_nothing_comes_up_any_more_is_set_aside_for_all(set_aside: SetAside) -> None:
    set_aside.note_success("alpha", "small")
    for _ in range(IN_A_ROW):
        set_aside.note_failure("alpha", "small", REFUSED)
        fail(set_aside, 1)

    assert set_aside.hosts()


def test_a_host_whose_label_is_set_aside_is_forgiven_with_it(set_aside: SetAside) -> None:
    set_aside.note_success("alpha", "small")
    fail(set_aside, IN_A_ROW)
    set_aside.forgive("alpha")

    assert not set_aside.labels()


def test_what_is_wrong_with_an_image_or_a_label_counts_against_nobody(set_aside: SetAside) -> None:
    for _ in range(3 * IN_A_ROW):
        set_aside.note_failure("alpha", "debian-12", ConfigurationError("a volume is no qcow2"))

    assert not set_aside.hosts()
    assert not set_aside.labels()
