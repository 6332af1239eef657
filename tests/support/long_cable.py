# SPDX-License-Identifier: GPL-2.0-only
"""The program at one end of a long cable: packets arrive late at the other end, or never.

``long_cable.py NAME SOCKET DELAY LOSS SEED`` makes the interface NAME in its network namespace. The
descriptor SOCKET is a socket of packets to the same program at the other end. It prints a line once
the interface is there, and runs until the other end closes. It runs isolated, so it imports nothing
of the tests. Not every kernel has ``tc``'s netem, which would do the same.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import os
import random
import select
import socket
import struct
import sys
import time
from typing import Final

_TUNSETIFF: Final = 0x400454CA
_TUN: Final = 0x0001
_NO_HEADER: Final = 0x1000

_LARGEST: Final = 65_536


def _made(name: str) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", name.encode(), _TUN | _NO_HEADER))
    return tun


def _carry(tun: int, peer: socket.socket, *, delay: float, loss: float, seed: int) -> None:
    lost = random.Random(seed)
    watched: list[int | socket.socket] = [tun, peer]
    late: collections.deque[tuple[float, bytes]] = collections.deque()
    while True:
        timeout = max(0.0, late[0][0] - time.monotonic()) if late else None
        ready, _, _ = select.select(watched, [], [], timeout)
        if tun in ready:
            packet = os.read(tun, _LARGEST)
            if lost.random() >= loss:
                late.append((time.monotonic() + delay, packet))
        if peer in ready:
            packet = peer.recv(_LARGEST)
            if not packet:
                return
            with contextlib.suppress(OSError):  # it is pulled out
                os.write(tun, packet)
        while late and late[0][0] <= time.monotonic():
            with contextlib.suppress(BlockingIOError):  # as a router does whose queue is full
                peer.send(late.popleft()[1], socket.MSG_DONTWAIT)


def main(name: str, descriptor: str, delay: str, loss: str, seed: str) -> None:
    """Carry packets."""
    tun = _made(name)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with socket.socket(fileno=int(descriptor)) as peer, contextlib.suppress(ConnectionError):
        _carry(tun, peer, delay=float(delay), loss=float(loss), seed=int(seed))


if __name__ == "__main__":
    main(*sys.argv[1:])
