# SPDX-License-Identifier: GPL-2.0-only
"""Somebody who wants to be told the results of jobs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Told:
    """One callback."""

    head: Message
    body: bytes

    @property
    def id(self) -> str:
        """What is the same for each repetition."""
        return self.head["webhook-id"] or ""

    @property
    def document(self) -> dict[str, Any]:
        """What was told."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    def is_signed_with(self, secret: str) -> bool:
        """Whether it is from somebody who knows the secret."""
        signed = f"{self.id}.{self.head['webhook-timestamp']}.".encode() + self.body
        digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
        return self.head["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


class Receiver:
    """A web server that keeps what it is told.

    :ivar failures: how many of the next callbacks it refuses.
    """

    def __init__(self) -> None:
        self.received: list[Told] = []
        self.failures = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(Told(self.headers, body))
                self.send_response(receiver.status())
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02])

    @property
    def url(self) -> str:
        """Where it wants to be told."""
        return f"http://127.0.0.1:{self._server.server_port}/told"

    def status(self) -> int:
        """Return what the next callback is answered."""
        if self.failures:
            self.failures -= 1
            return 500
        return 204

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class SilentReceiver:
    """A receiver that accepts connections and says nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=200)

    @property
    def url(self) -> str:
        """Where it says that it wants to be told."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/told"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()
