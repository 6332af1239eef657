# SPDX-License-Identifier: GPL-2.0-only
"""A handshake without a VM: the launcher's end of a channel, and the host's."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from latent_libvirt.guest.launcher.channel import Channel

PASSWORD = "correct horse"
GOOD: dict[str, Any] = {
    "type": "identity",
    "protocol": 1,
    "name": "debian-12-1",
    "password": PASSWORD,
    "master": {"host": "10.0.2.2", "port": 9989},
    "time": 1764000000.25,
    "hostname": "debian-12-1",
    "entropy": base64.b64encode(bytes(64)).decode(),
    "user": "worker",
}


@contextmanager
def conversation() -> Iterator[tuple[Channel, socket.socket]]:
    """Give the launcher's end of a channel, and the host's."""
    host, guest = socket.socketpair()
    channel = Channel(guest.detach())
    try:
        yield channel, host
    finally:
        host.close()
        if channel.is_open:
            channel.close()


def line(message: object) -> bytes:
    """Return a message as it goes through the channel."""
    return json.dumps(message).encode() + b"\n"
