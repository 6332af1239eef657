# SPDX-License-Identifier: GPL-2.0-only
"""Ports of the loopback that lead through a channel, each with a proxy in a separate process."""

from __future__ import annotations

import os
import socket
from typing import Final

from .guest_link import GuestLink
from .network_proxy import NetworkProxy
from .proxy import Proxy

PROXY_PORT: Final = 3128
"""The port of the loopback where builds find a proxy for HTTP, unless another program has it."""


def begin_proxy(
    port: int,
    session: str,
    *,
    kind: type[Proxy] = Proxy,
    listening: socket.socket | None = None,
) -> int:
    """Lead connections to a port of the loopback through the channel *port*; return the former.

    The proxy is a separate process, like the tunnel, and ends with the VM.

    :param port: the descriptor of the open virtio-serial port.
    :param kind: the proxy's class.
    """
    listening = listening or socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        try:
            kind(GuestLink(session), port, listening).run()
        finally:
            os._exit(1)
    os.close(port)
    with listening:
        return int(listening.getsockname()[1])


def begin_network(port: int, session: str) -> dict[str, str]:
    """Lead builds to the forward proxy through the channel *port*.

    Return the variables by which programs find the way.
    """
    try:
        listening = socket.create_server(("127.0.0.1", PROXY_PORT))
    except OSError:
        listening = None  # another program has that port
    number = begin_proxy(port, session, kind=NetworkProxy, listening=listening)
    address, local = f"http://127.0.0.1:{number}", "localhost,127.0.0.1,::1"
    found = {"http_proxy": address, "https_proxy": address, "no_proxy": local}
    return {**found, **{name.upper(): value for name, value in found.items()}}
