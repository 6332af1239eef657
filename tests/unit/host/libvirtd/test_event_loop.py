# SPDX-License-Identifier: GPL-2.0-only
"""libvirt's event loop goes on after an error, which libvirt cannot be made to report."""

from __future__ import annotations

from collections.abc import Iterable

import libvirt
import pytest
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.host.libvirtd import event_loop


class _EndedError(Exception):
    """The test is over."""


class Time:
    """The module ``time``, where a pause is over at once.

    :ivar now: what its monotonic clock shows.
    :ivar pauses: those that were made, in seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(event_loop, "time", time)
    return time


def run(monkeypatch: pytest.MonkeyPatch, time: Time, turns: Iterable[str | float]) -> list[str]:
    """Run the loop for *turns*: an error that one ends with, or its seconds; return the log."""
    outcomes = iter(turns)

    def turn() -> None:
        outcome = next(outcomes, None)
        if outcome is None:
            raise _EndedError
        if isinstance(outcome, str):
            raise libvirt.libvirtError(outcome)
        time.now += outcome

    monkeypatch.setattr(libvirt, "virEventRunDefaultImpl", turn)
    with capturedLogs() as events, pytest.raises(_EndedError):
        event_loop._run()
    return [str(formatEvent(event)) for event in events]


def test_the_event_loop_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch, time: Time) -> None:
    log = run(monkeypatch, time, ["bad descriptor", 0.0])

    assert log == ["libvirt's event loop: bad descriptor; it goes on"]


def test_an_error_that_stays_is_logged_once_and_tried_less_often(
    monkeypatch: pytest.MonkeyPatch, time: Time
) -> None:
    log = run(monkeypatch, time, ["bad descriptor"] * 9 + ["no memory"])

    assert [line.split(": ")[1] for line in log] == [
        "bad descriptor; it goes on",
        "no memory; it goes on",
    ]
    assert time.pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_an_error_that_comes_and_goes_holds_nothing_up_for_long_and_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, time: Time
) -> None:
    log = run(monkeypatch, time, ["bad descriptor", 1.0] * 9)

    assert len(log) == 1
    assert time.pauses == [1] * 9


def test_an_error_that_comes_again_much_later_is_logged_again(
    monkeypatch: pytest.MonkeyPatch, time: Time
) -> None:
    log = run(monkeypatch, time, ["bad descriptor", 3600.0, "bad descriptor"])

    assert len(log) == 2
