# SPDX-License-Identifier: GPL-2.0-only
"""A relay between two sockets, in a process of its own: what can be cut or stopped on the way.

``relay.py LISTEN TARGET`` prints a line once it accepts connections. An address is the path of a
Unix socket, or ``HOST:PORT``, or the number of a TCP port on the loopback interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import children


class Relay:
    """A relay that runs.

    :param enter: what to put before its command, so that it runs elsewhere.
    """

    def __init__(self, listen: str, target: str, *, enter: Sequence[str] = ()) -> None:
        program = (sys.executable, "-I", "-S", __file__)
        self._command = [*enter, *children.WITH_US, *program, listen, target]
        self._listen = listen
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        process = children.begun(
            lambda: subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def cut(self) -> None:
        """Break all connections that there are; new ones can be made."""
        self.stop()
        self._process = self._start()

    def suspend(self) -> None:
        """Let connections stand and new ones be accepted, and carry nothing any more."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Carry again, also what was sent meanwhile."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        if _is_path(self._listen):
            Path(self._listen).unlink(missing_ok=True)


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
