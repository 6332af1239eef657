# SPDX-License-Identifier: GPL-2.0-only
"""The conversation with a guest, in whatever order its messages, its end and our questions come.

The streams are left out: they are tried with real guests in tests/integration.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from latent_libvirt.errors import GuestError
from latent_libvirt.host.guests.guest import Guest


class _Reactor(Clock):
    """A clock that runs what comes from threads at once."""

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        function(*args)


@pytest.fixture
def reactor() -> _Reactor:
    return _Reactor()


@pytest.fixture
def guest(reactor: _Reactor) -> Guest:
    return Guest("latent-libvirt-1", reactor=reactor)


def asked(guest: Guest, type_: str, timeout: float = 10) -> Deferred[None]:
    question = guest.until_it_says(type_, timeout=timeout, resolution="Look at it.")
    return Deferred.fromCoroutine(question)


def failure(deferred: Deferred[None]) -> GuestError:
    """Return the error that the Deferred has ended with."""
    errors: list[GuestError] = []

    def note(failure: Failure) -> None:
        assert isinstance(failure.value, GuestError)
        errors.append(failure.value)

    deferred.addErrback(note)
    assert len(errors) == 1
    return errors[0]


@pytest_twisted.ensureDeferred
async def test_a_message_that_comes_after_the_question_answers_it(guest: Guest) -> None:
    answer = asked(guest, "waiting")
    assert not answer.called

    guest._received({"type": "waiting"})

    await answer


@pytest_twisted.ensureDeferred
async def test_a_message_that_came_before_the_question_answers_it_too(guest: Guest) -> None:
    guest._received({"type": "starting"})

    await asked(guest, "starting")


def test_messages_of_other_types_are_no_answer(guest: Guest) -> None:
    answer = asked(guest, "waiting")

    for message in ({"type": "starting"}, {"type": "hello"}, {"type": ["waiting"]}, {}):
        guest._received(message)

    assert not answer.called


def test_silence_is_an_error_that_says_what_to_do(guest: Guest, reactor: _Reactor) -> None:
    answer = asked(guest, "waiting", timeout=10)

    reactor.advance(10)

    error = failure(answer)
    assert "did not say 'waiting' within 10 s" in error.brief
    assert error.resolution == "Look at it."
    assert "Its serial console said nothing." in str(error)


@pytest.mark.parametrize("first", [True, False])
def test_a_failure_that_the_launcher_reports_is_the_answer(guest: Guest, *, first: bool) -> None:
    if first:
        guest._received({"type": "failed", "reason": "no such user"})
    answer = asked(guest, "starting")
    if not first:
        guest._received({"type": "failed", "reason": "no such user"})

    assert "failed: no such user" in failure(answer).brief


def test_a_reported_reason_is_cut(guest: Guest) -> None:
    guest._received({"type": "failed", "reason": "x" * 100_000})

    assert len(failure(asked(guest, "starting")).brief) < 2000


@pytest.mark.parametrize("first", [True, False])
def test_the_end_of_the_vm_ends_every_expectation(
    guest: Guest, reactor: _Reactor, *, first: bool
) -> None:
    if first:
        guest.ended("it crashed", at_once=True)
        reactor.advance(0)
    expected, answer = guest.expect(), asked(guest, "waiting")
    if not first:
        guest.ended("it crashed", at_once=True)
        reactor.advance(0)

    for deferred in (expected, answer):
        assert failure(deferred).brief == "VM latent-libvirt-1 is gone: it crashed"


def test_the_end_waits_a_moment_for_the_consoles_last_words(
    guest: Guest, reactor: _Reactor
) -> None:
    expected = guest.expect()
    guest.ended("it crashed")
    reactor.advance(0.1)
    guest.console.received(b"Kernel panic\n")
    assert not expected.called

    reactor.advance(1)

    assert "Kernel panic" in str(failure(expected))


@pytest.mark.parametrize(
    ("powered_off", "reason"),
    [(True, "the guest's kernel panicked: no init"), (False, "somebody destroyed its domain")],
)
def test_a_guest_that_ends_after_a_panic_is_said_to_have_panicked(
    guest: Guest, reactor: _Reactor, *, powered_off: bool, reason: str
) -> None:
    expected = guest.expect()
    guest.console.received(b"[1.7] Kernel panic - not syncing: no init\r\n[1.7] Call Trace:\r\n")
    guest.ended("somebody destroyed its domain", powered_off=powered_off)
    reactor.advance(1)

    assert failure(expected).brief == f"VM latent-libvirt-1 is gone: {reason}"


def test_what_is_met_already_does_not_fail_at_the_end(guest: Guest, reactor: _Reactor) -> None:
    expected = guest.expect()
    expected.callback(None)

    guest.ended("it powered itself off", at_once=True)
    reactor.advance(0)
