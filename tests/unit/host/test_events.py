# SPDX-License-Identifier: GPL-2.0-only
"""How the end of a call is reported."""

from __future__ import annotations

import contextlib

import pytest
from twisted.internet import defer

from latent_libvirt.host.events import NullEvents, Operation, Outcome, reported


class Heard(NullEvents):
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []

    def call_ended(self, host: str, operation: Operation, outcome: Outcome, seconds: float) -> None:
        assert seconds >= 0
        self.calls.append((host, operation, outcome))


RAISED = (ValueError, defer.TimeoutError, defer.CancelledError)


def answer(error: Exception | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, ["ok"]),
        (ValueError(), ["error"]),
        (defer.TimeoutError(), ["timeout"]),
        pytest.param(defer.CancelledError(), [], id="given up by its caller"),
    ],
)
def test_a_call_is_told_once_with_how_it_ended(error: Exception | None, outcome: list[str]) -> None:
    heard = Heard()

    with contextlib.suppress(*RAISED), reported(heard, "alpha", "survey"):
        answer(error)

    assert heard.calls == [("alpha", "survey", how) for how in outcome]
