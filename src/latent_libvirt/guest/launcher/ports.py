# SPDX-License-Identifier: GPL-2.0-only
"""Virtio-serial ports of the machine, by their names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from .errors import LauncherError
from .waiting import poll_for

PORT_NAME: Final = "org.latent_libvirt.0"
WORKER_PORT_NAME: Final = "org.latent_libvirt.worker.0"
"""The port that takes the worker's connection, where the label wants a channel for it."""
NETWORK_PORT_NAME: Final = "org.latent_libvirt.network.0"
"""The port that takes what builds fetch, where the label allows anything."""

PORT_DEADLINE: Final = 60.0
"""Seconds until the virtio-serial port must have appeared."""


def open_port(port: str = PORT_NAME) -> int:
    """Open a virtio-serial port; wait until it is there.

    :raises LauncherError: it did not appear in time.
    """
    path = poll_for(lambda: find_port(port=port), PORT_DEADLINE)
    if path is None:
        raise LauncherError(f"this machine has no virtio-serial port {port}")
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def find_port(
    ports: Path = Path("/sys/class/virtio-ports"), *, port: str = PORT_NAME
) -> Path | None:
    """Return the port's device, or ``None`` as long as there is none.

    The kernel's own names are used, not udev's link: it may not run, or not have come that far.
    """
    for name in ports.glob("*/name"):
        if name.read_text().strip() == port:
            return Path("/dev", name.parent.name)
    return None
