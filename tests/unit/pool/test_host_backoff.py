# SPDX-License-Identifier: GPL-2.0-only
"""Hosts where VMs do not start get nothing for a while."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from latent_libvirt.errors import CapacityError, ConfigurationError, GuestError, HostError
from latent_libvirt.pool.host_backoff import (
    BACKOFF,
    IN_A_ROW,
    HostBackoff,
)

REFUSED = HostError("host alpha could not start domain latent-libvirt-1")
SILENT = GuestError("VM latent-libvirt-1 did not say 'waiting' within 180 s")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host_backoff(clock: Clock) -> HostBackoff:
    return HostBackoff(clock.seconds, changed=lambda: None)


def fail(host_backoff: HostBackoff, times: int, error: HostError | GuestError = REFUSED) -> None:
    for _ in range(times):
        host_backoff.note_failure("alpha", "debian-12", error)


@pytest.mark.parametrize("error", [REFUSED, SILENT])
def test_a_host_is_set_aside_after_some_failures_in_a_row(
    host_backoff: HostBackoff, error: HostError | GuestError
) -> None:
    fail(host_backoff, IN_A_ROW - 1, error)
    assert not host_backoff.hosts()

    host_backoff.note_failure("alpha", "debian-12", error)
    assert error.brief in host_backoff.hosts()["alpha"]


def test_a_success_in_between_clears_it(host_backoff: HostBackoff) -> None:
    fail(host_backoff, IN_A_ROW - 1)
    host_backoff.note_success("alpha", "debian-12")
    fail(host_backoff, IN_A_ROW - 1)

    assert not host_backoff.hosts()


def test_it_is_tried_again_and_set_aside_for_longer_at_each_further_failure(
    host_backoff: HostBackoff, clock: Clock
) -> None:
    fail(host_backoff, IN_A_ROW)
    clock.advance(BACKOFF.first)
    assert not host_backoff.hosts()

    fail(host_backoff, 1)
    clock.advance(BACKOFF.first)
    assert host_backoff.hosts()
    clock.advance(BACKOFF.first)
    assert not host_backoff.hosts()


def test_no_host_is_set_aside_for_ever(host_backoff: HostBackoff, clock: Clock) -> None:
    fail(host_backoff, 2000)
    assert host_backoff.hosts()

    clock.advance(BACKOFF.longest)

    assert not host_backoff.hosts()


def test_a_label_that_fails_everywhere_is_held_against_no_host(host_backoff: HostBackoff) -> None:
    for _ in range(IN_A_ROW):
        host_backoff.note_failure("alpha", "broken", SILENT)
        host_backoff.note_failure("beta", "broken", SILENT)

    assert not host_backoff.hosts()


def test_a_slot_that_another_master_was_quicker_to_take_is_no_failure(
    host_backoff: HostBackoff,
) -> None:
    for _ in range(IN_A_ROW):
        host_backoff.note_failure("alpha", "debian-12", CapacityError("slot 1 is taken"))

    assert not host_backoff.hosts()


def test_an_operator_who_has_mended_a_host_need_not_wait(host_backoff: HostBackoff) -> None:
    fail(host_backoff, IN_A_ROW)

    host_backoff.forgive("alpha")

    assert not host_backoff.hosts()


def test_a_label_that_fails_alone_leaves_the_host_to_the_others(host_backoff: HostBackoff) -> None:
    host_backoff.note_success("alpha", "small")
    fail(host_backoff, IN_A_ROW)

    assert not host_backoff.hosts()
    assert REFUSED.brief in host_backoff.labels()["debian-12"]["alpha"]
    host_backoff.note_success("alpha", "debian-12")
    assert not host_backoff.labels()


def test_a_host_where_nothing_comes_up_any_more_is_set_aside_for_all(
    host_backoff: HostBackoff,
) -> None:
    host_backoff.note_success("alpha", "small")
    for _ in range(IN_A_ROW):
        host_backoff.note_failure("alpha", "small", REFUSED)
        fail(host_backoff, 1)

    assert host_backoff.hosts()


def test_a_host_whose_label_is_set_aside_is_forgiven_with_it(host_backoff: HostBackoff) -> None:
    host_backoff.note_success("alpha", "small")
    fail(host_backoff, IN_A_ROW)
    host_backoff.forgive("alpha")

    assert not host_backoff.labels()


def test_what_is_wrong_with_an_image_or_a_label_counts_against_nobody(
    host_backoff: HostBackoff,
) -> None:
    for _ in range(3 * IN_A_ROW):
        host_backoff.note_failure("alpha", "debian-12", ConfigurationError("a volume is no qcow2"))

    assert not host_backoff.hosts()
    assert not host_backoff.labels()


def test_a_label_that_came_up_again_somewhere_counts_against_hosts_again(
    host_backoff: HostBackoff,
) -> None:
    host_backoff.note_failure("beta", "debian-12", SILENT)
    host_backoff.note_success("beta", "debian-12")

    fail(host_backoff, IN_A_ROW, SILENT)

    assert host_backoff.hosts()


def test_a_host_that_refuses_is_no_fault_of_a_label_whose_guests_fail_elsewhere(
    host_backoff: HostBackoff,
) -> None:
    host_backoff.note_failure("beta", "debian-12", SILENT)
    host_backoff.note_failure("gamma", "debian-12", SILENT)

    fail(host_backoff, IN_A_ROW, REFUSED)

    assert list(host_backoff.hosts()) == ["alpha"]


def test_a_refusal_of_one_host_is_no_failure_of_its_guests(host_backoff: HostBackoff) -> None:
    host_backoff.note_failure("beta", "debian-12", REFUSED)

    fail(host_backoff, IN_A_ROW, SILENT)

    assert list(host_backoff.hosts()) == ["alpha"]


def test_only_the_host_that_was_mended_is_forgiven(host_backoff: HostBackoff) -> None:
    for host in ("alpha", "beta"):
        host_backoff.note_success(host, "small")
        for _ in range(IN_A_ROW):
            host_backoff.note_failure(host, "debian-12", REFUSED)

    host_backoff.forgive("alpha")

    assert list(host_backoff.labels()["debian-12"]) == ["beta"]


def test_the_back_off_of_a_label_says_how_long_it_lasts_and_ends(
    host_backoff: HostBackoff, clock: Clock
) -> None:
    host_backoff.note_success("alpha", "small")
    fail(host_backoff, IN_A_ROW)
    clock.advance(BACKOFF.first - 1)

    (why,) = host_backoff.labels()["debian-12"].values()
    assert why == f"in back-off for 1 s more, since 3 starts in a row failed: {REFUSED.brief}"
    clock.advance(1)

    assert not host_backoff.labels()
