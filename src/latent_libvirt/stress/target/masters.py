# SPDX-License-Identifier: GPL-2.0-only
"""Masters of a target on this machine, seen through their control sockets.

An event loop that is held answers late. So the time of an answer is a bound of its delay.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import ControlError, StatusRequest
from latent_libvirt.status.pool import PoolStatus
from latent_libvirt.stress import clock

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row

_CREDENTIALS: Final = struct.Struct("3i")


@dataclass(frozen=True)
class SeenMaster:
    """A master that answered at its control socket.

    :param slots: how many VMs its hosts and its cap allow.
    """

    name: str
    directory: Path
    pid: int
    slots: int

    def answers(self) -> list[Row]:
        """Return how long the master takes for an answer, in the form of an event loop's delay."""
        began, error = clock.now(), ""
        try:
            with Client(self.directory) as client:
                client.ask(StatusRequest(), PoolStatus)
        except ControlError as reason:
            error = reason.brief
        seconds = clock.now() - began
        return [{"at": began, "mean": seconds, "max": seconds, "error": error}]


def find(name: str, directory: Path) -> SeenMaster:
    """Return the master that runs in a directory.

    :raises ControlError: none does, or it is another user's.
    """
    with Client(directory) as client:
        status = client.ask(StatusRequest(), PoolStatus)
        connection, _ = client.converse()
        pid, _uid, _gid = _CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
    slots = min(status.max_vms, sum(host.slots for host in status.hosts))
    return SeenMaster(name, directory, pid, slots)


def is_there(pid: int) -> bool:
    """Whether there is a process of that number, as far as can be seen."""
    return os.path.exists(f"/proc/{pid}/stat")  # noqa: PTH110 - no path of the user's
