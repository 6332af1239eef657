# SPDX-License-Identifier: GPL-2.0-only
"""Open pages without a browser: each hears of news on Buildbot's WebSocket, and gets what is new.

python bench/page_clients.py URL COUNT
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor as the_reactor
from twisted.internet.threads import deferToThread

reactor: Any = the_reactor


class Page(WebSocketClientProtocol):  # type: ignore[misc, unused-ignore]
    """One of them."""

    def onOpen(self) -> None:
        """Get all there is, then listen."""
        self.document: dict[str, Any] = {"board": "", "version": 0}
        self.busy = False
        self.get()

    def get(self) -> None:
        """Get what is new, unless that is under way."""
        if self.busy:
            return
        self.busy = True
        query = f"board={self.document['board']}&since={self.document['version']}"
        got = deferToThread(_read, f"{self.factory.site}plugins/latent_libvirt/pools?{query}")
        got.addCallback(self.take)
        got.addBoth(lambda _: setattr(self, "busy", False))

    def take(self, document: dict[str, Any]) -> None:
        """Keep what a page keeps of it; listen after the first one."""
        is_first = not self.document["board"]
        self.document = {key: document[key] for key in ("board", "version")}
        if is_first:
            listen = {"cmd": "startConsuming", "path": document["events"], "_id": 1}
            self.sendMessage(json.dumps(listen).encode())

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: FBT001, N803
        """Get what is new."""
        if not isBinary and b'"k"' in payload:
            self.get()


def _read(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own master
        return dict(json.load(answer))


def main() -> None:
    """Open the pages, until this process is killed."""
    site, count = sys.argv[1], int(sys.argv[2])
    reactor.suggestThreadPoolSize(count)
    for _page in range(count):
        factory: Any = WebSocketClientFactory(site.replace("http", "ws") + "ws")
        factory.protocol, factory.site = Page, site
        reactor.connectTCP("127.0.0.1", int(site.rstrip("/").rpartition(":")[2]), factory)
    reactor.run()


if __name__ == "__main__":
    main()
