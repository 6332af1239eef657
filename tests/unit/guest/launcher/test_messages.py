# SPDX-License-Identifier: GPL-2.0-only
"""Lines of the channel, and what of them is a message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handshakes import line
from latent_libvirt.guest.launcher.errors import LauncherError
from latent_libvirt.guest.launcher.messages import MAX_LINE_BYTES, LineBuffer, parse_message


@given(st.lists(st.binary().map(lambda b: b.replace(b"\n", b"")), max_size=5), st.integers(1, 9))
def test_lines_arrive_whole_however_they_are_cut(lines: list[bytes], size: int) -> None:
    data = b"".join(each + b"\n" for each in lines)
    buffer = LineBuffer()

    pieces = (data[at : at + size] for at in range(0, len(data), size))

    assert [each for piece in pieces for each in buffer.feed(piece)] == lines


def test_a_line_without_end_is_refused_and_forgotten() -> None:
    buffer = LineBuffer()
    with pytest.raises(LauncherError, match="too long"):
        buffer.feed(b"x" * (MAX_LINE_BYTES + 1))

    assert buffer.feed(b"next\n") == [b"next"]


@pytest.mark.parametrize("text", [b"[1]", b"7", b"{", b"\xff", b"[" * 50_000])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(LauncherError, match="is not"):
        parse_message(text)


@pytest.mark.parametrize("message", [{}, {"protocol": 2}, {"protocol": "1"}])
def test_another_protocol_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(LauncherError, match="does not speak protocol 1"):
        parse_message(line(message))
