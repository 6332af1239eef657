# SPDX-License-Identifier: GPL-2.0-only
"""Tunnel to a master whose port speaks TLS.

The worker's Twisted has no TLS in an image: that takes packages which Python itself does not need.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from typing import Any, Final

from .certificate import see_that_it_is, tls
from .errors import LauncherError

_PIECE: Final = 64 * 1024


def begin_tunnel(host: str, port: int, certificate: bytes) -> int:
    """Lead connections to a port of the loopback to the master, by TLS; return that port.

    The tunnel is a separate process, and ends with the VM.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        try:
            run_tunnel(listening, host, port, certificate)
        finally:
            os._exit(1)
    with listening:
        return int(listening.getsockname()[1])


def run_tunnel(listening: socket.socket, host: str, port: int, certificate: bytes) -> None:
    """Serve connections until this process is ended."""
    asyncio: Any = importlib.import_module("asyncio")

    async def copy(source: Any, sink: Any) -> None:
        while data := await source.read(_PIECE):
            sink.write(data)
            await sink.drain()

    async def carry(near: Any, to_near: Any) -> None:
        far, to_far = await asyncio.open_connection(host, port, ssl=tls(), server_hostname=host)
        try:
            shown = to_far.get_extra_info("ssl_object").getpeercert(binary_form=True)
            see_that_it_is(shown, certificate, f"what answers at {host} port {port}")
            ways = [
                asyncio.ensure_future(copy(near, to_far)),
                asyncio.ensure_future(copy(far, to_near)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        finally:
            to_far.close()

    async def serve(near: Any, to_near: Any) -> None:
        try:
            await carry(near, to_near)
        except (OSError, LauncherError) as error:
            sys.stderr.write(f"latent-libvirt launcher: {error}\n")
        finally:
            to_near.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, sock=listening)
        await server.serve_forever()

    asyncio.run(run())
