# SPDX-License-Identifier: GPL-2.0-only
"""A reverse proxy with TLS and a path prefix in front of a master, as an operator's nginx is one.

It does what the documentation asks of one: it strips the prefix, passes ``Host`` on, and lets
WebSockets through. A connection to the master is for one request.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import trustme

_END = b"\r\n\r\n"
_PIECE = 64 * 1024


class TlsProxy:
    """A proxy on loopback.

    :param prefix: of the paths, as in ``/buildbot``.
    :param keeps_host: whether the master gets the name by which the browser knows the proxy.
    """

    def __init__(self, directory: Path, *, prefix: str, keeps_host: bool) -> None:
        self._prefix = prefix.encode()
        self._keeps_host = keeps_host
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority = trustme.CA()
        certificate = directory / "proxy.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        self._tls.load_cert_chain(certificate)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.backend = 0
        self._loop = asyncio.new_event_loop()
        self.refused: list[bytes] = []
        """Paths without the prefix that were asked for."""

    @property
    def url(self) -> str:
        """Where browsers find the master."""
        return f"https://127.0.0.1:{self.port}{self._prefix.decode()}/"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve for the length of a ``with`` block."""
        serving = asyncio.start_server(self._serve, sock=self._listening, ssl=self._tls)
        server = self._loop.run_until_complete(serving)
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.run_until_complete(self._end(server))
            self._loop.close()

    async def _end(self, server: asyncio.Server) -> None:
        """End what is still open."""
        server.close()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, browser: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with closing(to), suppress(OSError, asyncio.IncompleteReadError):
            request = self._rewritten(await browser.readuntil(_END))
            if request is None:
                to.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            else:
                master, to_master = await asyncio.open_connection("127.0.0.1", self.backend)
                to_master.write(request)
                asking = asyncio.ensure_future(_copy(browser, to_master))
                await _copy(master, to)
                asking.cancel()

    def _rewritten(self, head: bytes) -> bytes | None:
        """Return the request without the prefix; ``None`` if it has none."""
        lines, end, body = head.partition(_END)
        method, path, version = lines.split(b"\r\n")[0].split(b" ")
        if not path.startswith(self._prefix + b"/"):
            self.refused.append(path)
            return None
        fields = lines.split(b"\r\n")[1:]
        if not any(field.lower().startswith(b"upgrade:") for field in fields):
            fields = [each for each in fields if not each.lower().startswith(b"connection:")]
            fields.append(b"Connection: close")
        if not self._keeps_host:
            fields = [each for each in fields if not each.lower().startswith(b"host:")]
            fields.append(b"Host: localhost:%d" % self.backend)
        fields.append(b"X-Forwarded-Proto: https")
        first = b" ".join((method, path[len(self._prefix) :], version))
        return b"\r\n".join((first, *fields)) + end + body


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with closing(sink), suppress(OSError):
        while piece := await source.read(_PIECE):
            sink.write(piece)
            await sink.drain()
