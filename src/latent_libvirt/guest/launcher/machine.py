# SPDX-License-Identifier: GPL-2.0-only
"""Changes that an identity makes to the machine, as root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .siblings import part_from_siblings

if TYPE_CHECKING:
    from .identity import Identity

_RNDADDENTROPY: Final = 0x40085203
_RNDRESEEDCRNG: Final = 0x5207


def apply(identity: Identity) -> None:
    """Do to the machine what *identity* asks for, as root."""
    add_entropy(identity.entropy)
    time.clock_settime(time.CLOCK_REALTIME, identity.time)
    set_hostname(identity.hostname)
    # systemd takes the hypervisor's UUID of the machine for it, which all VMs of a slot share.
    renew_machine_id()
    if identity.saved is not None:
        part_from_siblings(asleep=identity.time - identity.saved)


def add_entropy(entropy: bytes) -> None:
    """Mix *entropy* into the kernel's random pool and this process's, and use it from now on.

    A VM that was resumed from a saved state has the same pool as all others resumed from it.
    """
    request = struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy
    with open("/dev/urandom", "wb", buffering=0) as device:  # noqa: PTH123
        fcntl.ioctl(device, _RNDADDENTROPY, request)
        fcntl.ioctl(device, _RNDRESEEDCRNG)
    random.seed()


def set_hostname(hostname: str, etc: Path = Path("/etc")) -> None:
    """Call the machine *hostname*, and let it find itself under that name."""
    socket.sethostname(hostname)
    (etc / "hostname").write_text(f"{hostname}\n")
    with (etc / "hosts").open("a") as hosts:
        hosts.write(f"127.0.1.1 {hostname}\n")


def renew_machine_id(root: Path = Path("/")) -> None:
    """Give the machine a new id, wherever the old one is written down."""
    machine_id = f"{random_uuid()}\n"
    # systemd mounts the second over the first, where it may not write.
    for path in (
        root / "etc/machine-id",
        root / "run/machine-id",
        root / "var/lib/dbus/machine-id",
    ):
        if path.exists():
            with contextlib.suppress(OSError):
                path.write_text(machine_id)


def random_uuid() -> str:
    """Return a random UUID (RFC 9562, version 4) as 32 hexadecimal digits."""
    number = int.from_bytes(os.urandom(16), "big")
    number = number & ~(0xF << 76) | 4 << 76
    return f"{number & ~(3 << 62) | 2 << 62:032x}"
