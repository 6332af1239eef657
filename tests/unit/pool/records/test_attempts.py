# SPDX-License-Identifier: GPL-2.0-only
"""How many VMs a job may lose."""

from __future__ import annotations

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.pool.records import attempts
from latent_libvirt.pool.records.attempts import Attempts


def test_a_job_may_lose_vms_until_the_allowed_number_is_reached() -> None:
    counted = Attempts()
    counted.note_failure([7], "the guest powered itself off")
    counted.check([7], allowed=2)

    counted.note_failure([7], "it said nothing")

    with pytest.raises(ConfigurationError) as caught:
        counted.check([7], allowed=2)
    assert "1. the guest powered itself off\n2. it said nothing" in str(caught.value)


def test_a_reason_that_turns_out_better_is_put_in_place_of_the_first() -> None:
    counted = Attempts()
    counted.note_failure([7], "it lost its connection")
    counted.amend([7, 8], "the guest powered itself off")

    with pytest.raises(ConfigurationError) as caught:
        counted.check([7], allowed=1)
    assert caught.value.details == "1. the guest powered itself off"
    counted.check([8], allowed=1)


@pytest.mark.parametrize(("count", "lost"), [(1, "1 VM"), (2, "2 VMs")])
def test_it_is_said_how_many_vms_were_lost(count: int, lost: str) -> None:
    counted = Attempts()
    for _ in range(count):
        counted.note_failure([7], "it said nothing")

    with pytest.raises(ConfigurationError) as caught:
        counted.check([7], allowed=1)

    assert caught.value.brief == f"giving up: this job has lost {lost}"


def test_jobs_are_counted_apart() -> None:
    counted = Attempts()
    counted.note_failure([7], "it said nothing")

    counted.check([8], allowed=1)


def test_a_build_of_several_requests_counts_for_the_one_that_lost_most() -> None:
    counted = Attempts()
    counted.note_failure([7], "z")
    for reason in ("a", "b"):
        counted.note_failure([8], reason)

    counted.check([7], allowed=2)
    for requests in ([7, 8], [8, 7]):
        with pytest.raises(ConfigurationError) as caught:
            counted.check(requests, allowed=2)
        assert caught.value.details == "1. a\n2. b"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_REMEMBERED", 10)
    counted = Attempts()
    for request in range(11):
        counted.note_failure([request], "it said nothing")

    counted.check([0], allowed=1)
    with pytest.raises(ConfigurationError):
        counted.check([1], allowed=1)
    counted.note_failure([1], "it said nothing")
    counted.note_failure([11], "it said nothing")

    counted.check([2], allowed=1)
    with pytest.raises(ConfigurationError):
        counted.check([1], allowed=2)
