# SPDX-License-Identifier: GPL-2.0-only
"""The program of a relay: it carries between two sockets until it is killed.

``relay_program.py LISTEN TARGET`` prints a line once it accepts connections. An address is the path
of a Unix socket, or ``HOST:PORT``, or the number of a TCP port on the loopback interface. It runs
isolated, so it imports nothing of the tests.
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
        if _is_path(target):
            far_reader, far_writer = await asyncio.open_unix_connection(target)
        else:
            far_reader, far_writer = await asyncio.open_connection(*_host_and_port(target))
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))

    if _is_path(listen):
        server = await asyncio.start_unix_server(serve, listen)
    else:
        server = await asyncio.start_server(serve, *_host_and_port(listen))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


def _is_path(address: str) -> bool:
    return "/" in address


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host or "127.0.0.1", int(port)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
