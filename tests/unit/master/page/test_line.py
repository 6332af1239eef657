# SPDX-License-Identifier: GPL-2.0-only
"""Lines between masters: what arrives, what ends them, and what others read on the bus."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.task import Clock

from latent_libvirt.master.page.line import ALIVE_EVERY, MOST, SILENT_AFTER, Keys, Line


class End:
    """What one end has got, and the messages that it has sent."""

    def __init__(self, keys: Keys, other: Keys, *, opens: bool) -> None:
        self.got: list[tuple[bytes, bytes]] = []
        self.lost: list[str] = []
        self.sent: list[dict[str, Any]] = []
        ciphers = keys.ciphers(other.public, opens=opens)
        took = lambda *message: self.got.append(message)  # noqa: E731
        self.line = Line(self.sent.append, ciphers, took, self.lost.append)

    def deliver(self, other: End) -> None:
        """Send to the other end what waits."""
        sent, self.sent = self.sent, []
        self.line._send = self.sent.append
        for message in sent:
            other.line.take(message["data"])


@pytest.fixture
def ends() -> tuple[End, End]:
    keys = Keys(), Keys()
    return End(*keys, opens=True), End(*reversed(keys), opens=False)


def test_what_is_sent_arrives_in_pieces_and_cannot_be_read_on_the_way(
    ends: tuple[End, End],
) -> None:
    one, other = ends
    one.line.send(b"t", b"passw0rd" * MOST)
    other.line.send(b"f", b"x")

    assert "passw0rd" not in json.dumps(one.sent)
    assert len(one.sent) == 8
    assert one.sent[0] != one.sent[1], "equal pieces look different"
    one.deliver(other)
    other.deliver(one)

    assert b"".join(content for _kind, content in other.got) == b"passw0rd" * MOST
    assert one.got == [(b"f", b"x")]


@pytest.mark.parametrize("damage", ["lost", "repeated", "swapped", "changed", "none"])
def test_a_message_that_is_lost_repeated_or_changed_ends_the_line(
    ends: tuple[End, End], damage: str
) -> None:
    one, other = ends
    for letter in b"abc":
        one.line.send(b"t", bytes([letter]))
    a, b, c = one.sent
    one.sent[:] = {
        "lost": [a, c],
        "repeated": [a, a],
        "swapped": [b, a],
        "changed": [a, {"data": b["data"][:-4] + "AAAA"}],
        "none": [a, {"data": None}],
    }[damage]

    one.deliver(other)
    other.line.take(c["data"])

    assert other.lost == ["a message between the masters is lost"]
    assert len(other.got) <= 1
    other.deliver(one)
    assert one.lost == other.lost, "the other end gets the reason"


def test_an_end_that_is_gone_is_noticed_and_one_that_is_silent_is_not_gone(
    ends: tuple[End, End],
) -> None:
    one, other = ends
    clock = Clock()
    for end in ends:
        end.line.begin(clock)
    for _time in range(10):
        clock.advance(ALIVE_EVERY)
        one.deliver(other)
        other.deliver(one)
    assert (one.lost, other.lost) == ([], [])

    for _time in range(int(SILENT_AFTER / ALIVE_EVERY) + 1):
        clock.advance(ALIVE_EVERY)
        one.deliver(other)
        other.sent.clear()

    assert one.lost == ["the other master does not answer"]
    one.deliver(other)
    assert other.lost == one.lost
    assert clock.getDelayedCalls() == []
    one.line.send(b"t", b"more")
    assert one.sent == []
