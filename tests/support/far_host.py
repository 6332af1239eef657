# SPDX-License-Identifier: GPL-2.0-only
"""Ways to what is far away: all that is said takes a while, and libvirtd's messages are counted.

A message begins with its length and six numbers (libvirt, ``virnetprotocol.x``).
"""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

DOMAIN_RESUME: Final = 28

_HEADER: Final = struct.Struct(">7I")
_REMOTE: Final = 0x20008086
_CALL: Final = 0

_PIECE: Final = 64 * 1024

_GET_LIB_VERSION: Final = 157
"""Asked every five seconds, whether the host is alive."""

_READINGS: Final = frozenset({344, 60, 289})
"""What all domains use, whether the host has memory parameters, and these. They are read now and
then, whatever is started. The first is also asked once before a VM ends."""


class _Way:
    """A proxy that runs in a thread.

    :param round_trip: seconds that each question and its answer take on the way.
    """

    def __init__(self, round_trip: float) -> None:
        self.round_trip = round_trip
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Accept connections for the length of a ``with`` block."""
        # Collected in our thread, the last object of a connection would wait for an answer to its
        # farewell, which this thread has to carry.
        collects = gc.isenabled()
        gc.disable()
        thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        thread.start()
        assert self._ready.wait(60)
        try:
            yield self
        finally:
            self._stop()
            thread.join(60)
            self._is_over()
            if collects:
                gc.enable()

    async def _main(self) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(over.set)
        server = await self._server()
        self._ready.set()
        await over.wait()
        server.close()

    async def _server(self) -> asyncio.AbstractServer:
        raise NotImplementedError

    def _is_over(self) -> None:
        """Remove what the proxy leaves."""

    def _later(self, do: Callable[..., object], *arguments: object) -> None:
        """Call *do* half a round trip later."""
        asyncio.get_running_loop().call_later(self.round_trip / 2, do, *arguments)


class FarHost(_Way):
    """A proxy before a libvirtd, with a URI of its own.

    :param uri: of a libvirtd on this machine, with the path of its socket at the end.
    :param socket: where the proxy listens.
    :ivar calls: the numbers of the procedures that were called, in order (``remote_protocol.x``).
    """

    def __init__(self, uri: str, socket: Path, *, round_trip: float = 0.0) -> None:
        super().__init__(round_trip)
        before, _, self._target = uri.partition("socket=")
        self.uri = f"{before}socket={socket}"
        self.calls: list[int] = []
        self._socket = socket

    def messages(self) -> list[int]:
        """Return the calls but those that ask for a sign of life, and for readings."""
        return [call for call in self.calls if call not in _READINGS | {_GET_LIB_VERSION}]

    async def _server(self) -> asyncio.AbstractServer:
        return await asyncio.start_unix_server(self._serve, str(self._socket))

    def _is_over(self) -> None:
        self._socket.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await asyncio.gather(
                    self._carry(reader, far_writer, count=True),
                    self._carry(far_reader, writer, count=False),
                )
        finally:
            writer.close()
            far_writer.close()

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, count: bool
    ) -> None:
        """Carry whole messages, each of which arrives half a round trip later."""
        try:
            while True:
                header = await source.readexactly(_HEADER.size)
                length, program, _version, procedure, kind, *_rest = _HEADER.unpack(header)
                body = await source.readexactly(length - _HEADER.size)
                if count and (program, kind) == (_REMOTE, _CALL):
                    self.calls.append(procedure)
                self._later(sink.write, header + body)
        finally:
            self._later(sink.close)


class FarPort(_Way):
    """A TCP port that leads to another one of this machine, as from far away.

    A client here has its connection at once. What it then says waits for the round trip that the
    connection would have taken.

    :param target: the port that it leads to.
    """

    def __init__(self, target: int = 0, *, round_trip: float = 0.0) -> None:
        super().__init__(round_trip)
        self.target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def lead_to(self, port: int) -> int:
        """Lead to *port* from now on; return the port for those who are far away from it."""
        self.target = port
        return self.port

    async def _server(self) -> asyncio.AbstractServer:
        return await asyncio.start_server(self._serve, sock=self._listening)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.5 * self.round_trip)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(
                self._carry(reader, far_writer, is_late=True),
                self._carry(far_reader, writer),
            )

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_late: bool = False
    ) -> None:
        """Carry what comes.

        :param is_late: whether what comes first has waited long enough.
        """
        try:
            while data := await source.read(_PIECE):
                if is_late:
                    sink.write(data)
                else:
                    self._later(sink.write, data)
                is_late = False
        finally:
            self._later(sink.close)
