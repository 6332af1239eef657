# SPDX-License-Identifier: GPL-2.0-only
"""Device of a virtio-serial port, which is read and written without waiting."""

from __future__ import annotations

import os
import select
from typing import Final

MASTER_GONE: Final = 300.0
"""Seconds without a master at the other end of the channel after which there is none any more. A
master waits less long for a libvirtd that was stopped: see ``host/channels/worker_channels.py``."""

LOOK_AGAIN: Final = 0.1
"""Seconds between two looks whether somebody is there. The kernel reports that nobody is for as
long as it is so, so that the port cannot be waited for."""

ACKNOWLEDGE_AFTER: Final = 0.02
"""Seconds in which the worker's next words may carry an acknowledgement."""

_READ: Final = 64 * 1024

_PAGE: Final = 4096
"""Bytes that the kernel gives at a time, at most. If it gives less, there is no more."""


def read_all(port: int) -> tuple[bytes, bool]:
    """Return what an open port has, about :data:`_READ` bytes at most, and whether it is open."""
    pieces: list[bytes] = []
    size = 0
    is_open = True
    while size < _READ:
        try:
            data = os.read(port, _READ)
        except BlockingIOError:
            break
        except OSError:
            data = b""
        if not data:
            is_open = False
            break
        pieces.append(data)
        size += len(data)
        if len(data) < _PAGE:
            break
    return b"".join(pieces), is_open


def is_hung_up(port: int) -> bool:
    """Tell whether nobody is at the other end of an open port."""
    poll = select.poll()
    poll.register(port, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
