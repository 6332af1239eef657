# SPDX-License-Identifier: GPL-2.0-only
"""Channel to the pool: the guest's end of the virtio-serial port."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from .messages import MAX_LINE_BYTES, PROTOCOL, LineBuffer, parse_message
from .waiting import POLL_INTERVAL

if TYPE_CHECKING:
    from .messages import Message


class Channel:
    """The guest's end of the virtio-serial port.

    :param descriptor: of the open port; blocking.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = LineBuffer()

    def fileno(self) -> int:
        """Return the descriptor, for poll()."""
        return self._descriptor

    @property
    def is_open(self) -> bool:
        """Whether the conversation still goes on."""
        return self._descriptor >= 0

    def send(self, type_: str, **content: str | float) -> None:
        """Write a message; wait until somebody on the host listens."""
        message = {"type": type_, "protocol": PROTOCOL, **content}
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]

    def receive(self) -> list[Message]:
        """Return the messages that are there; none if nobody on the host listens."""
        data = os.read(self._descriptor, MAX_LINE_BYTES)
        if not data:
            self._buffer.reset()
            time.sleep(POLL_INTERVAL)
        return [parse_message(line) for line in self._buffer.feed(data) if line.strip()]

    def close(self) -> None:
        """Close the port: the conversation is over."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)
