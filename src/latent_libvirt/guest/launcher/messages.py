# SPDX-License-Identifier: GPL-2.0-only
"""Messages of the handshake: lines of JSON, of one protocol."""

from __future__ import annotations

import json
from typing import Any, Dict, Final

from .errors import LauncherError

PROTOCOL: Final = 1
MAX_LINE_BYTES: Final = 64 * 1024

Message = Dict[str, Any]


class LineBuffer:
    """Cuts what arrives into lines, and forgets a line that has no end in sight."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that *data* completes, without their ends.

        :raises LauncherError: a line is longer than the protocol allows.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > MAX_LINE_BYTES for line in (*lines, self._rest)):
            self._rest = b""
            raise LauncherError("a line on the channel is too long")
        return lines

    def reset(self) -> None:
        """Forget the beginning of a line: anyone who wrote it has gone."""
        self._rest = b""


def parse_message(line: bytes) -> Message:
    """Return the message on a line of the channel.

    :raises LauncherError: it is not a JSON object of this protocol.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise LauncherError("a line on the channel is not JSON") from None
    if not isinstance(message, dict):
        raise LauncherError("a line on the channel is not a JSON object")
    if message.get("protocol") != PROTOCOL:
        raise LauncherError(f"the pool does not speak protocol {PROTOCOL}")
    return message
