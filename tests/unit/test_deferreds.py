# SPDX-License-Identifier: GPL-2.0-only
"""Waiting for something that others wait for too."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from latent_libvirt.deferreds import Outcome, in_background, repeat
from latent_libvirt.errors import HostError


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
    impatient, tested = outcome.wait(), result_of(outcome.wait())

    impatient.cancel()
    (failure,) = result_of(impatient)

    assert isinstance(failure, Failure)
    assert failure.type is CancelledError
    assert not work.called
    work.callback(None)
    assert tested == [None]


async def _fails() -> None:
    raise ZeroDivisionError


def test_an_error_in_the_background_is_logged_and_ends_there() -> None:
    with capturedLogs() as logged:
        done = in_background(_fails(), "{braces} of a name")

    assert done.called
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]
    assert formatEvent(logged[0]) == "{braces} of a name"


def test_what_is_repeated_goes_on_after_an_error() -> None:
    clock, times = Clock(), []

    def work() -> None:
        times.append(clock.seconds())
        raise ZeroDivisionError

    with capturedLogs() as logged:
        loop = repeat(work, every=5.0, what="it failed", reactor=clock)
        clock.pump([5.0] * 3)

    assert times == [5.0, 10.0, 15.0]
    assert len(logged) == 3
    loop.stop()
