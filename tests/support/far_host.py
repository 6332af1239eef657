# SPDX-License-Identifier: GPL-2.0-only
"""A way to libvirtd that counts the messages which are answered, and makes each take a while.

A message begins with its length and six numbers (libvirt, ``virnetprotocol.x``).
"""

from __future__ import annotations

import asyncio
import gc
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

DOMAIN_RESUME: Final = 28

_HEADER: Final = struct.Struct(">7I")
_REMOTE: Final = 0x20008086
_CALL: Final = 0

_GET_LIB_VERSION: Final = 157
"""Asked every five seconds, whether the host is alive."""


class FarHost:
    """A proxy before a libvirtd, with a URI of its own.

    :param uri: of a libvirtd on this machine, with the path of its socket at the end.
    :param socket: where the proxy listens.
    :param round_trip: seconds that each question and its answer take on the way.
    :ivar calls: the numbers of the procedures that were called, in order (``remote_protocol.x``).
    """

    def __init__(self, uri: str, socket: Path, *, round_trip: float = 0.0) -> None:
        before, _, self._target = uri.partition("socket=")
        self.uri = f"{before}socket={socket}"
        self.round_trip = round_trip
        self.calls: list[int] = []
        self._socket = socket
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None

    def messages(self) -> list[int]:
        """Return the calls but those that ask for a sign of life."""
        return [call for call in self.calls if call != _GET_LIB_VERSION]

    @contextmanager
    def running(self) -> Iterator[FarHost]:
        """Accept connections for the length of a ``with`` block."""
        # Collected in our thread, the last object of a connection would wait for an answer to its
        # farewell, which this thread has to carry.
        gc.disable()
        thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        thread.start()
        assert self._ready.wait(60)
        try:
            yield self
        finally:
            self._stop()
            thread.join(60)
            self._socket.unlink(missing_ok=True)
            gc.enable()

    async def _main(self) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        self._stop = lambda: loop.call_soon_threadsafe(over.set)
        server = await asyncio.start_unix_server(self._serve, str(self._socket))
        self._ready.set()
        await over.wait()
        server.close()

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
        loop = asyncio.get_running_loop()
        try:
            while True:
                header = await source.readexactly(_HEADER.size)
                length, program, _version, procedure, kind, *_rest = _HEADER.unpack(header)
                body = await source.readexactly(length - _HEADER.size)
                if count and (program, kind) == (_REMOTE, _CALL):
                    self.calls.append(procedure)
                loop.call_later(self.round_trip / 2, sink.write, header + body)
        finally:
            loop.call_later(self.round_trip / 2, sink.close)
