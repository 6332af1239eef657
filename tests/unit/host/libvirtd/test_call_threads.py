# SPDX-License-Identifier: GPL-2.0-only
"""Calls in threads: in order, or side by side, and what becomes of their errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest
import pytest_twisted
from twisted.internet import defer, reactor
from twisted.logger import globalLogPublisher

from latent_libvirt.host.libvirtd.call_threads import Calls, side_by_side

if TYPE_CHECKING:
    from twisted.logger import ILogObserver

DEADLINE = 60.0


@pytest.fixture
def one_at_a_time() -> Iterator[Calls]:
    calls = Calls("some", reactor=reactor, threads=1)
    calls.start()
    yield calls
    calls.give_up()


@pytest_twisted.ensureDeferred
async def test_one_thread_makes_calls_in_their_order(one_at_a_time: Calls) -> None:
    seen: list[int] = []
    for number in range(100):
        one_at_a_time.run_unheard(seen.append, number)

    assert await one_at_a_time.run(lambda: list(seen)) == list(range(100))


@pytest_twisted.ensureDeferred
async def test_one_thread_goes_on_after_a_call_that_failed(one_at_a_time: Calls) -> None:
    def fail() -> None:
        raise OSError("no")

    events: list[Any] = []
    observer = cast("ILogObserver", events.append)
    globalLogPublisher.addObserver(observer)
    try:
        one_at_a_time.run_unheard(fail)
        with pytest.raises(OSError, match="no"):
            await one_at_a_time.run(fail)
        assert await one_at_a_time.run(threading.get_ident) != threading.get_ident()
    finally:
        globalLogPublisher.removeObserver(observer)
    assert [str(it["log_failure"].value) for it in events if "log_failure" in it] == ["no"]


@pytest_twisted.ensureDeferred
async def test_a_thread_that_could_not_be_started_is_started_by_the_next_call(
    one_at_a_time: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without_threads:
        without_threads.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            one_at_a_time.run_unheard(pytest.fail, "there is no thread")

    assert await one_at_a_time.run(lambda: "called") == "called"


def _no_thread(_thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest_twisted.ensureDeferred
async def test_calls_that_wait_for_the_one_thread_are_given_up(one_at_a_time: Calls) -> None:
    is_in_it, may_end = threading.Event(), threading.Event()
    one_at_a_time.run_unheard(is_in_it.set)
    one_at_a_time.run_unheard(may_end.wait, DEADLINE)
    waits = one_at_a_time.run(pytest.fail, "it was given up")
    assert is_in_it.wait(DEADLINE)
    ended = threading.Event()
    one_at_a_time.give_up(ended.set)
    with pytest.raises(defer.CancelledError):
        await waits

    may_end.set()
    assert ended.wait(DEADLINE)


def test_two_calls_are_under_way_at_the_same_time() -> None:
    both_are_there = threading.Barrier(2)

    side_by_side(lambda: both_are_there.wait(DEADLINE), lambda: both_are_there.wait(DEADLINE))

    assert not both_are_there.broken


@pytest.mark.parametrize("first", [True, False])
def test_an_error_of_either_is_raised_when_both_have_ended(*, first: bool) -> None:
    failed, ended = threading.Event(), threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError("no")

    def end() -> None:
        assert failed.wait(DEADLINE)
        ended.set()

    with pytest.raises(OSError, match="no"):
        side_by_side(*((fail, end) if first else (end, fail)))

    assert ended.is_set()


def test_of_two_errors_the_first_ones_is_raised() -> None:
    def fail() -> None:
        raise OSError("first")

    def fail_too() -> None:
        raise ValueError("second")

    with pytest.raises(OSError, match="first"):
        side_by_side(fail, fail_too)
