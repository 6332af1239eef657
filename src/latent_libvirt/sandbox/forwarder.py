# SPDX-License-Identifier: GPL-2.0-only
"""Forwarder of an isolated sandbox: a port of its network that leads to a Unix socket outside.

``supervisor.py`` runs this file by its path, so it must stay free of imports from this package. The
process that listens on the socket decides what may get out.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from functools import partial
from typing import Final

PIECE_BYTES: Final = 64 * 1024


async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy everything to its end, which ends the other way, too."""
    with contextlib.suppress(OSError):
        while data := await source.read(PIECE_BYTES):
            sink.write(data)
            await sink.drain()
    sink.close()


async def serve(path: str, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
    """Carry one connection; drop it if nobody listens outside."""
    try:
        far, to_far = await asyncio.open_unix_connection(path)
    except OSError:
        to_near.close()
        return
    await asyncio.gather(carry(near, to_far), carry(far, to_near))


async def main(port: str, path: str) -> None:
    """Serve for as long as the sandbox stands."""
    server = await asyncio.start_server(partial(serve, path), "127.0.0.1", int(port))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
