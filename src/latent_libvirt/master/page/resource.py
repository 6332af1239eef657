# SPDX-License-Identifier: GPL-2.0-only
"""The page's resources in Buildbot's web server: its script and style, and what it shows.

::

    GET plugins/latent_libvirt/scripts.js
    GET plugins/latent_libvirt/styles.css
    GET plugins/latent_libvirt/pools?board=ID&since=VERSION

Buildbot's rules of authorisation are asked before anything of a pool is shown.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from buildbot.www.authz.authz import Forbidden
from twisted.web.http import FORBIDDEN
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory
from twisted.web.static import File

from latent_libvirt.deferreds import in_background

if TYPE_CHECKING:
    from latent_libvirt.master.page.board import Board

JSON: Final = b"application/json; charset=utf-8"

READ: Final = ("latent_libvirt", "pools")
"""The endpoint that the rules are asked about before anything is shown."""


class PageResource(Resource):
    """Everything below ``plugins/latent_libvirt``."""

    def __init__(self, master: Any, board: Board) -> None:
        super().__init__()
        static = str(files("latent_libvirt.master.page") / "static")
        for name, kind in (("scripts.js", "text/javascript"), ("styles.css", "text/css")):
            file: Any = File(f"{static}/{name}", f"{kind}; charset=utf-8")
            self.putChild(name.encode(), file)
        self.putChild(b"pools", _compressed(PoolsResource(master, board)))


def _compressed(resource: Resource) -> EncodingResourceWrapper:
    return EncodingResourceWrapper(resource, [GzipEncoderFactory()])


class PoolsResource(Resource):
    """What the page shows, as JSON."""

    isLeaf = True

    def __init__(self, master: Any, board: Board) -> None:
        super().__init__()
        self._master = master
        self._board = board

    def render_GET(self, request: Any) -> int:
        """Answer when the board has something to show."""
        in_background(self._answer(request), "the page of VMs")
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        status, body = await self._body(request)
        if gone.called:
            return
        request.setResponseCode(status)
        request.setHeader(b"content-type", JSON)
        request.setHeader(b"cache-control", b"no-store")
        request.write(body)
        request.finish()

    async def _body(self, request: Any) -> tuple[int, bytes]:
        try:
            await self._master.www.assertUserAllowed(request, READ, "get", {})
        except Forbidden as error:
            return FORBIDDEN, json.dumps({"error": _text(error.message)}).encode()
        await self._board.look()
        return 200, self._document(_argument(request, b"board"), _argument(request, b"since"))

    def _document(self, board: str, since: str) -> bytes:
        document = self._board.document(board, int(since) if since.isdecimal() else 0)
        return json.dumps(document, separators=(",", ":")).encode()


def _argument(request: Any, name: bytes) -> str:
    values = request.args.get(name) or [b""]
    return bytes(values[0])[:100].decode("ascii", "replace")


def _text(message: bytes | str | None) -> str:
    return message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
