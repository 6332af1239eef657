# SPDX-License-Identifier: GPL-2.0-only
"""Check of whether a program has the port for workers, and which one.

``endpoint.py`` checks the port's endpoint. ``latent-libvirt check`` does that too, without this.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from latent_libvirt.doctor import exposed
from latent_libvirt.doctor.endpoint import CHECK
from latent_libvirt.doctor.finding import warning

if TYPE_CHECKING:
    from latent_libvirt.config.listener import Listener
    from latent_libvirt.doctor.finding import Finding


def taken(listener: Listener) -> list[Finding]:
    """Return a finding if a program listens at the port already. Its master must not run."""
    port, interface = listener.port, listener.interface
    if not port or not _is_in_use(port, interface):
        return []
    names = [each.process for each in exposed.services() if each.port == port and each.process]
    who = f"the program {names[0]}" if names else "another program"
    return [
        warning(
            CHECK,
            f"{who} listens at port {port} already, and no master runs here",
            details="buildbot start ends with CannotListenError while the port is taken.",
            resolution=f"Find its process (ss -ltnp 'sport = :{port}') and stop it, or give the "
            f"master another port ({listener}). If it is this master, which runs in another "
            "directory, nothing is wrong.",
        )
    ]


def _is_in_use(port: int, interface: str) -> bool:
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Twisted does
        try:
            trial.bind((interface, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False
