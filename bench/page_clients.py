# SPDX-License-Identifier: GPL-2.0-only
"""Open pages without a browser: each hears news on Buildbot's WebSocket, and asks for the rest.

python bench/page_clients.py URL COUNT
"""

from __future__ import annotations

import gzip
import http.client
import json
import sys
import urllib.parse
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
        self.site = http.client.HTTPConnection(self.factory.host, timeout=60)
        self.get()

    def get(self) -> None:
        """Get what is new, unless that is under way."""
        if self.busy:
            return
        self.busy = True
        query = f"board={self.document['board']}&since={self.document['version']}"
        got = deferToThread(self.read, f"/plugins/latent_libvirt/pools?{query}")
        got.addCallback(self.take)
        got.addBoth(lambda _: setattr(self, "busy", False))

    def read(self, path: str) -> dict[str, Any]:
        """Return what the master answers, as browsers ask: on one connection, and compressed."""
        self.site.request("GET", path, headers={"Accept-Encoding": "gzip"})
        return dict(json.loads(gzip.decompress(self.site.getresponse().read())))

    def take(self, document: dict[str, Any]) -> None:
        """Keep what a page keeps of it; listen after the first one."""
        is_first = not self.document["board"]
        self.document = {key: document[key] for key in ("board", "version")}
        if is_first:
            listen = {"cmd": "startConsuming", "path": document["events"], "_id": 1}
            self.sendMessage(json.dumps(listen).encode())

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: FBT001, N803
        """Take what is new, or get it."""
        news = {} if isBinary else json.loads(payload).get("m")
        if not isinstance(news, dict) or "version" not in news:
            return
        known = self.document
        is_all = "pools" in news and news["board"] == known["board"]
        if is_all and news["since"] <= known["version"]:
            self.take(news)
        else:
            self.get()


def main() -> None:
    """Open the pages, until this process is killed."""
    site, count = sys.argv[1], int(sys.argv[2])
    address = urllib.parse.urlsplit(site)
    reactor.suggestThreadPoolSize(count)
    for _page in range(count):
        factory: Any = WebSocketClientFactory(site.replace("http", "ws") + "ws")
        factory.protocol, factory.host = Page, address.netloc
        reactor.connectTCP(address.hostname, address.port, factory)
    reactor.run()


if __name__ == "__main__":
    main()
