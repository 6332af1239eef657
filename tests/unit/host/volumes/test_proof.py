# SPDX-License-Identifier: GPL-2.0-only
"""Proofs of images that are under way when their master stops hold nothing up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from latent_libvirt.errors import HostError
from latent_libvirt.host.volumes import proof
from latent_libvirt.host.volumes.proof import Proofs

STAMPS = (("image", "1", "2"),)


class Reactor(Clock):
    """A clock that is called from threads."""

    def callFromThread(
        self, function: Callable[..., object], *arguments: Any, **named: Any
    ) -> None:
        self.callLater(0, function, *arguments, **named)


class Hanging:
    """A comparison that hangs until it is let go on."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self._began = threading.Event()
        self._thread: threading.Thread | None = None

    def __call__(self, *_arguments: object) -> None:
        self._thread = threading.current_thread()
        self._began.set()
        self.goes_on.wait(60)

    def thread(self) -> threading.Thread:
        """Wait until it hangs, and return where."""
        assert self._began.wait(60)
        assert self._thread is not None
        return self._thread


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    hanging = Hanging()
    monkeypatch.setattr(proof, "_compare", hanging)
    yield hanging
    hanging.goes_on.set()


def test_a_master_that_stops_waits_for_no_comparison(comparison: Hanging) -> None:
    proofs = Proofs("alpha", "test:///", lambda: "default", reactor=Reactor())
    errors: list[object] = []
    proofs.prove("one", "digest", STAMPS).addErrback(lambda failure: errors.append(failure.value))
    assert comparison.thread().daemon, "the end of the process does not wait for it"

    proofs.stop()
    proofs.prove("one", "digest", STAMPS).addErrback(lambda failure: errors.append(failure.value))

    assert [type(error) for error in errors] == [HostError, HostError]
