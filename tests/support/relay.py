# SPDX-License-Identifier: GPL-2.0-only
"""A relay between two sockets, to be run by its path: what can be cut or stopped on the way.

``relay.py LISTEN TARGET`` prints a line once it accepts connections. An address is the path of a
Unix socket, or the number of a TCP port on the loopback interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    sink.close()


async def _main(listen: str, target: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if target.isdigit():
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(target))
        else:
            far_reader, far_writer = await asyncio.open_unix_connection(target)
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))

    if listen.isdigit():
        server = await asyncio.start_server(serve, "127.0.0.1", int(listen))
    else:
        server = await asyncio.start_unix_server(serve, listen)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
