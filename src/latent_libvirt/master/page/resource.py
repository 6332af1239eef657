# SPDX-License-Identifier: GPL-2.0-only
"""The page's resources in Buildbot's web server: its scripts and styles, and what it shows.

::

    GET plugins/latent_libvirt/FILE
    GET plugins/latent_libvirt/ui/FILE
    GET plugins/latent_libvirt/pools?board=ID&since=VERSION
    GET plugins/latent_libvirt/waiting?request=ID&request=ID
    GET plugins/latent_libvirt/usage?by=builder&days=30
    GET plugins/latent_libvirt/rights
    GET plugins/latent_libvirt/pass
    POST plugins/latent_libvirt/actions
    GET plugins/latent_libvirt/terminal?pool=ID&vm=ID
    GET plugins/latent_libvirt/screen?pool=ID&vm=ID
    GET plugins/latent_libvirt/screen?build=ID

Buildbot's rules of authorisation are asked before anything of a pool is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from buildbot.www.authz.authz import Forbidden
from twisted.logger import Logger
from twisted.web.http import FORBIDDEN, INTERNAL_SERVER_ERROR, OK
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from latent_libvirt.deferreds import in_background
from latent_libvirt.master.page import rights
from latent_libvirt.master.page.actions import (
    Actions,
    ActionsGate,
    RefusedError,
    user_of,
)
from latent_libvirt.master.page.rights import forbidden
from latent_libvirt.master.page.screens import PNG, Screens
from latent_libvirt.master.page.shared import Encoded, SharedDocuments, plain
from latent_libvirt.master.page.terminal import Terminals
from latent_libvirt.master.page.usage_view import UsageView
from latent_libvirt.upstream import sessions
from latent_libvirt.upstream.ui.files import static_files
from latent_libvirt.upstream.ui.methods import READING, not_allowed

if TYPE_CHECKING:
    from latent_libvirt.master.page.board import Board

log = Logger()

Answer = tuple[int, dict[str, Any] | Encoded]

Answering = Callable[[Any], Coroutine[Any, Any, Answer]]
"""Answers a request of Twisted's with a status and a document."""

JSON: Final = b"application/json; charset=utf-8"

T = TypeVar("T")

_MISTAKE: Final = {"error": "a mistake, of which the master's log has more"}

MOST_ASKED: Final = 500
"""Build requests that a page asks about at a time."""


class PageResource(Resource):
    """Everything below ``plugins/latent_libvirt``."""

    def __init__(self, master: Any, board: Board) -> None:
        super().__init__()
        self._files = static_files("latent_libvirt.master.page")
        actions = Actions(master, board)
        self.gate = ActionsGate(master, actions.audit.note)
        self._terminals = Terminals(master, actions.audit, board)
        parts: dict[bytes, Any] = {
            b"pools": PoolsResource(master, board),
            b"waiting": WaitingResource(master, board),
            b"usage": UsageResource(master, board),
            b"rights": RightsResource(master, board),
            b"pass": PassResource(master, board),
            b"actions": ActionsResource(master, board, actions),
            b"screen": ScreenResource(master, board, Screens(master, actions.audit, board)),
            b"terminal": TerminalResource(master, board, self._terminals),
        }
        for path, part in parts.items():
            self.putChild(path, part)

    def review(self) -> None:
        """Close what users have open that the rules allow them no longer."""
        self._terminals.review()

    def getChild(self, path: bytes, request: Any) -> Any:
        """Return a file of the page."""
        return self._files.get((path, *request.postpath)) or notFound()

    def render(self, request: Any) -> Any:
        """Answer that there is nothing but what is below."""
        nothing: Any = notFound()
        return nothing.render(request)


class _JsonResource(Resource):
    """A resource whose answers are documents of JSON, some time later."""

    isLeaf = True

    methods: ClassVar[tuple[bytes, ...]] = READING

    def __init__(self, master: Any, board: Board) -> None:
        super().__init__()
        self._master = master
        self._board = board

    def render(self, request: Any) -> Any:
        """Answer, or refuse a method that there is not."""
        if request.method not in self.methods:
            return not_allowed(request, self.methods)
        return super().render(request)

    def _later(self, request: Any, answer: Answering) -> int:
        in_background(self._send(request, answer), "the page of VMs")
        return NOT_DONE_YET

    async def _send(self, request: Any, answer: Answering) -> None:
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        status, document = await self._answer(request, answer)
        if not gone.called:
            _finish(request, status, JSON, _body(request, document))

    async def _unless_refused(self, request: Any, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what *work* returns; ``None`` if it fails, and the request is answered."""
        answer = INTERNAL_SERVER_ERROR, _MISTAKE
        try:
            return await work
        except RefusedError as refusal:
            answer = refusal.status, {"error": refusal.why}
        except Exception:  # noqa: BLE001 - as in _answer
            log.failure("the page of VMs cannot answer")
        await self._send(request, lambda _request: _at_once(answer))
        return None

    async def _answer(self, request: Any, answer: Answering) -> Answer:
        try:
            return await answer(request)
        except Forbidden as error:
            return FORBIDDEN, {"error": forbidden(error)}
        except RefusedError as refusal:
            return refusal.status, {"error": refusal.why}
        except Exception:  # noqa: BLE001 - the user is not to wait for an answer without end
            log.failure("the page of VMs cannot answer")
            return INTERNAL_SERVER_ERROR, _MISTAKE


class PoolsResource(_JsonResource):
    """What the page shows."""

    def __init__(self, master: Any, board: Board) -> None:
        super().__init__(master, board)
        self._documents = SharedDocuments(board, master.reactor)

    def render_GET(self, request: Any) -> int:
        """Answer when the board has something to show."""
        return self._later(request, self._document)

    async def _document(self, request: Any) -> Answer:
        await rights.check_read(self._master.www, request)
        await self._board.look()
        board, since = _argument(request, b"board"), _argument(request, b"since")
        return OK, await self._documents.newer(board, int(since) if since.isdecimal() else 0)


class WaitingResource(_JsonResource):
    """Why build requests wait, for the page of jobs."""

    def render_GET(self, request: Any) -> int:
        """Answer when the board has something to show."""
        return self._later(request, self._reasons)

    async def _reasons(self, request: Any) -> Answer:
        await rights.check_read(self._master.www, request)
        await self._board.look()
        ids = [bytes(each)[:20].decode("ascii", "replace") for each in _all(request, b"request")]
        return OK, {"events": self._board.events, "reasons": self._board.reasons(ids)}


class UsageResource(_JsonResource):
    """What builds have used."""

    def __init__(self, master: Any, board: Board) -> None:
        super().__init__(master, board)
        self._view = UsageView(master, board)

    def render_GET(self, request: Any) -> int:
        """Answer with the sums when the database has them."""
        return self._later(request, self._sums)

    async def _sums(self, request: Any) -> Answer:
        await rights.check_read(self._master.www, request)
        await self._board.look()
        by, days = _argument(request, b"by"), _argument(request, b"days")
        return OK, await self._view.document(by, days)


class RightsResource(_JsonResource):
    """What the user may do to each pool."""

    def render_GET(self, request: Any) -> int:
        """Answer with the actions by the pools' ids."""
        return self._later(request, self._rights)

    async def _rights(self, request: Any) -> Answer:
        www = self._master.www
        await rights.check_read(www, request)
        await self._board.look()
        pools = self._board.pools.items()
        return OK, {pool: await rights.allowed(www, request, name) for pool, name in pools}


class PassResource(_JsonResource):
    """Who is logged in, signed: nothing that a user of the browser does not know."""

    def render_GET(self, request: Any) -> int:
        """Answer with a pass."""
        return self._later(request, self._pass)

    async def _pass(self, request: Any) -> Answer:
        return OK, {"pass": sessions.issue(self._master.www, user_of(self._master, request))}


class ActionsResource(_JsonResource):
    """What users ask for."""

    methods = (b"POST",)

    def __init__(self, master: Any, board: Board, actions: Actions) -> None:
        super().__init__(master, board)
        self._actions = actions

    def render_POST(self, request: Any) -> int:
        """Answer when it is done, or refused."""
        return self._later(request, self._actions.answer)


class ScreenResource(_JsonResource):
    """Pictures of screens."""

    def __init__(self, master: Any, board: Board, screens: Screens) -> None:
        super().__init__(master, board)
        self._screens = screens

    def render_GET(self, request: Any) -> int:
        """Answer with a picture, or why there is none."""
        in_background(self._show(request), "a screen of the page of VMs")
        return NOT_DONE_YET

    async def _show(self, request: Any) -> None:
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        picture = await self._unless_refused(request, self._picture(request))
        if picture is not None and not gone.called:
            _finish(request, OK, PNG, picture)

    async def _picture(self, request: Any) -> bytes:
        if build := _argument(request, b"build"):
            return await self._screens.of_build(request, build)
        pool, vm = _argument(request, b"pool"), _argument(request, b"vm")
        return await self._screens.of_vm(request, pool, vm)


class TerminalResource(_JsonResource):
    """Terminals in VMs."""

    methods = (b"GET",)

    def __init__(self, master: Any, board: Board, terminals: Terminals) -> None:
        super().__init__(master, board)
        self._terminals = terminals

    def render_GET(self, request: Any) -> int:
        """Open a WebSocket, or refuse it; only say whether that would be so, if that is asked."""
        if _argument(request, b"look"):
            return self._later(request, self._look)
        in_background(self._begin(request), "a terminal of the page of VMs")
        return NOT_DONE_YET

    async def _look(self, request: Any) -> Answer:
        pool, vm = _argument(request, b"pool"), _argument(request, b"vm")
        await self._terminals.look(request, pool, vm)
        return OK, {"ready": True}

    async def _begin(self, request: Any) -> None:
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)
        pool, vm = _argument(request, b"pool"), _argument(request, b"vm")
        opening = await self._unless_refused(request, self._terminals.opening(request, pool, vm))
        if opening is None:
            return
        if gone.called:
            opening.give_back("the client left")
        else:
            self._terminals.begin(request, opening)


def _body(request: Any, document: dict[str, Any] | Encoded) -> bytes:
    if isinstance(document, dict):
        return plain(document)
    request.setHeader(b"vary", b"accept-encoding")
    if not _takes_gzip(request):
        return document.plain
    request.setHeader(b"content-encoding", b"gzip")
    return document.compressed


def _takes_gzip(request: Any) -> bool:
    """Whether the client accepts gzip, and not with a quality of 0."""
    accepted = (request.getHeader(b"accept-encoding") or b"").lower()
    parts = (part.replace(b" ", b"").split(b";q=") for part in accepted.split(b","))
    return any(part[0] == b"gzip" and part[-1].strip(b"0.") for part in parts)


def _finish(request: Any, status: int, kind: bytes, body: bytes) -> None:
    request.setResponseCode(status)
    request.setHeader(b"content-type", kind)
    request.setHeader(b"content-length", b"%d" % len(body))
    request.setHeader(b"x-content-type-options", b"nosniff")
    request.setHeader(b"cache-control", b"no-store")
    request.write(body)
    request.finish()


async def _at_once(answer: Answer) -> Answer:
    return answer


def _argument(request: Any, name: bytes) -> str:
    values = request.args.get(name) or [b""]
    return bytes(values[0])[:100].decode("ascii", "replace")


def _all(request: Any, name: bytes) -> list[bytes]:
    return list(request.args.get(name) or [])[:MOST_ASKED]
