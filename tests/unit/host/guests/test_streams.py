# SPDX-License-Identifier: GPL-2.0-only
"""What a hostile guest writes, kept within bounds. Real streams are in tests/integration."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.errors import GuestError
from latent_libvirt.host.guests.streams import (
    CHANNEL_LINE_BYTES,
    CHANNEL_TOTAL_BYTES,
    CONSOLE_TAIL_BYTES,
    ConsoleTail,
    MessageDecoder,
)

messages = st.lists(st.dictionaries(st.text(), st.text() | st.integers()), max_size=5)


@given(messages, st.lists(st.integers(1, 50)))
def test_messages_arrive_whole_however_they_are_cut(
    sent: list[dict[str, object]], cuts: list[int]
) -> None:
    data = b"".join(json.dumps(message).encode() + b"\n" for message in sent)
    decoder = MessageDecoder()
    received = []
    for cut in cuts:
        received += decoder.feed(data[:cut])
        data = data[cut:]

    assert received + decoder.feed(data) == sent


@given(st.binary())
def test_whatever_a_guest_says_is_a_message_or_a_guest_error(data: bytes) -> None:
    try:
        received = MessageDecoder().feed(data)
    except GuestError:
        return
    assert all(isinstance(message, dict) for message in received)


@pytest.mark.parametrize("line", [b"[1]", b"7", b'"waiting"', b"\xff", b"{", b"[" * 50_000])
def test_what_is_no_json_object_breaks_the_handshake(line: bytes) -> None:
    with pytest.raises(GuestError, match="broke the handshake"):
        MessageDecoder().feed(line + b"\n")


def test_a_line_without_end_is_a_flood() -> None:
    decoder = MessageDecoder()
    decoder.feed(b"x" * CHANNEL_LINE_BYTES)

    with pytest.raises(GuestError, match="flooded"):
        decoder.feed(b"x")


def test_many_short_lines_are_a_flood_too() -> None:
    decoder = MessageDecoder()
    line = b"{}\n"
    decoder.feed(line * (CHANNEL_TOTAL_BYTES // len(line)))

    with pytest.raises(GuestError, match="flooded"):
        decoder.feed(line)


@given(st.lists(st.binary(max_size=100)))
def test_the_console_keeps_what_came_last(pieces: list[bytes]) -> None:
    tail = ConsoleTail()
    for piece in pieces:
        tail.received(piece)
    tail.received(b"\r\nfirst\r\nlast\r\n")

    assert tail.last_lines(2) == "first\nlast"


def test_the_console_stays_within_bounds() -> None:
    tail = ConsoleTail()
    for number in range(CONSOLE_TAIL_BYTES):
        tail.received(f"line {number}\n".encode())

    kept = tail.last_lines(CONSOLE_TAIL_BYTES)
    assert len(kept) <= CONSOLE_TAIL_BYTES
    assert kept.endswith(f"line {CONSOLE_TAIL_BYTES - 1}")


def test_a_console_cannot_send_escape_sequences_into_a_log() -> None:
    tail = ConsoleTail()
    tail.received(b"\x1b]0;owned\x07\x1b[2Jhello\tworld\x00\n")

    assert tail.panic() is None
    assert tail.last_lines(1) == "hello\tworld"


def test_nothing_of_a_colour_stays_in_the_lines_of_a_console_and_in_the_reason_of_a_panic() -> None:
    tail = ConsoleTail()
    tail.received(b"[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mcron\x1b[0m.\r\n")
    tail.received(b"\x1b[1;31mKernel panic - not syncing: \x1b[4mno init\x1b[0m\xc2\x9b2K\r\n")

    assert tail.last_lines(2).splitlines() == [
        "[  OK  ] Started cron.",
        "Kernel panic - not syncing: no init",
    ]
    assert tail.panic() == "no init"
