# SPDX-License-Identifier: GPL-2.0-only
"""Port of the loopback where builds find a proxy, which is a separate process."""

from __future__ import annotations

import os
import socket
from typing import Final

from .guest_link import GuestLink
from .network_proxy import NetworkProxy

PROXY_PORT: Final = 3128
"""The port of the loopback where builds find a proxy for HTTP, unless another program has it."""


def begin_network(port: int, session: str) -> dict[str, str]:
    """Lead builds to the forward proxy through the channel *port*.

    The proxy in this machine is a separate process, like the tunnel, and ends with the VM. Return
    the variables by which programs find it.

    :param port: the descriptor of the open virtio-serial port.
    """
    try:
        listening = socket.create_server(("127.0.0.1", PROXY_PORT))
    except OSError:
        listening = socket.create_server(("127.0.0.1", 0))  # another program has that port
    if os.fork() == 0:
        try:
            NetworkProxy(GuestLink(session), port, listening).run()
        finally:
            os._exit(1)
    os.close(port)
    with listening:
        number = listening.getsockname()[1]
    address, local = f"http://127.0.0.1:{number}", "localhost,127.0.0.1,::1"
    found = {"http_proxy": address, "https_proxy": address, "no_proxy": local}
    return {**found, **{name.upper(): value for name, value in found.items()}}
