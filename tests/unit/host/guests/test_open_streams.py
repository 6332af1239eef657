# SPDX-License-Identifier: GPL-2.0-only
"""Streams of one guest: opened side by side, with a greeting behind them.

The domain is a fake. It sees whether two calls are under way at once, which a real one does not
show. Real streams are in tests/integration.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from latent_libvirt.guest.protocol import HELLO
from latent_libvirt.host.guests import streams
from latent_libvirt.host.guests.guest import Guest
from synchronous import Reactor

DEADLINE = 60.0


class Stream:
    """A stream that takes all that is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)


class Domain:
    """A domain that answers no stream's opening before both have come."""

    def __init__(self) -> None:
        self.channel: Stream | None = None
        self._both = threading.Barrier(2)

    def connect(self) -> Domain:
        return self

    def newStream(self, _flags: int) -> Stream:  # noqa: N802 - libvirt's
        return Stream()

    def openConsole(self, _device: None, _stream: Stream, _flags: int) -> None:  # noqa: N802
        self._both.wait(DEADLINE)

    def openChannel(self, _name: str, stream: Stream, _flags: int) -> None:  # noqa: N802
        self._both.wait(DEADLINE)
        self.channel = stream


@pytest.fixture(autouse=True)
def _no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(_stream: Any, _ready: Any) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(streams, "_add_callback", add)


def test_the_console_and_the_channel_are_opened_in_one_round_trip() -> None:
    domain: Any = Domain()

    Guest("latent-libvirt-1", reactor=Reactor()).open_streams(domain)

    assert domain.channel is not None
    assert json.loads(domain.channel.sent) == HELLO
