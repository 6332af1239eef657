# SPDX-License-Identifier: GPL-2.0-only
"""Waiting for something that others wait for too."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from latent_libvirt.errors import HostError
from latent_libvirt.outcome import Outcome


def outcome_of(work: Deferred[None]) -> Outcome:
    async def wait() -> None:
        await work

    return Outcome(wait())


def result_of(waiter: Deferred[None]) -> list[object]:
    results: list[object] = []
    waiter.addBoth(results.append)
    return results


def test_all_who_wait_are_told_of_the_end() -> None:
    work: Deferred[None] = Deferred()
    outcome = outcome_of(work)
    waiters = [result_of(outcome.wait()), result_of(outcome.wait())]

    work.callback(None)

    assert [*waiters, result_of(outcome.wait())] == [[None], [None], [None]]


def test_all_who_wait_are_told_of_a_failure() -> None:
    work: Deferred[None] = Deferred()
    outcome = outcome_of(work)
    waiters = [outcome.wait(), outcome.wait()]

    work.errback(HostError("no answer"))

    for waiter in [*waiters, outcome.wait()]:
        (failure,) = result_of(waiter)
        assert "no answer" in str(failure)


def test_who_waits_no_longer_stops_neither_the_work_nor_the_others() -> None:
    work: Deferred[None] = Deferred()
    outcome = outcome_of(work)
    impatient, patient = outcome.wait(), result_of(outcome.wait())

    impatient.cancel()
    (failure,) = result_of(impatient)

    assert isinstance(failure, Failure)
    assert failure.type is CancelledError
    assert not work.called
    work.callback(None)
    assert patient == [None]
