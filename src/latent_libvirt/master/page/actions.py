# SPDX-License-Identifier: GPL-2.0-only
"""Actions on pools from the page: a POST with JSON, by a user whom the configuration allows it.

::

    POST plugins/latent_libvirt/actions
    {"pool": "2/latent_libvirt", "request": {"command": "drain", "name": "alpha", "kind": "host"}}

Another site's page can do nothing here: a browser says where a request is from, and sends JSON to
another site only after that site has allowed it, which this one does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from buildbot.www.authz.authz import Forbidden
from twisted.web import http

from latent_libvirt.control.messages import ControlError
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.jobs.web.answers import Answer
from latent_libvirt.jobs.web.early import parts_of
from latent_libvirt.master.page import rights
from latent_libvirt.master.page.audit import DONE, PageAudit
from latent_libvirt.master.page.remote import CommandClient, offered
from latent_libvirt.master.page.rights import forbidden

if TYPE_CHECKING:
    from latent_libvirt.master.page.board import Board

MOST: Final = 4096
"""Bytes of a request's body."""

_PLUGIN: Final = [b"plugins", b"latent_libvirt"]
"""The path of all that the page has."""

_SAME_SITE: Final = frozenset({"", "same-origin", "none"})


class RefusedError(Exception):
    """A request that is refused with a status of HTTP's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class Actions:
    """Does what users ask of the pools on *board*."""

    def __init__(self, master: Any, board: Board) -> None:
        self._master = master
        self._board = board
        self._client = CommandClient(master)
        self.audit = PageAudit(Path(master.basedir), master.reactor)

    async def answer(self, request: Any) -> tuple[int, dict[str, Any]]:
        """Do what a request asks; return the status and the document of the answer."""
        facts: dict[str, Any] = asker(self._master, request)
        try:
            check_origin(self._master, request)
            pool, wanted = _body(request)
            facts |= {"pool": pool, **wanted, **facts}
            done = await self._do(request, pool, wanted, facts["user"])
        except RefusedError as refusal:
            self.audit.note(facts, "refused", refusal.why)
            return refusal.status, {"error": refusal.why}
        except LatentLibvirtError as error:
            self.audit.note(facts, "failed", error.brief)
            return http.CONFLICT, {"error": str(error)}
        self.audit.note(facts, DONE)
        return http.OK, {"done": done}

    async def _do(self, request: Any, pool: str, wanted: dict[str, Any], user: str) -> str:
        master, _, name = pool.partition("/")
        try:
            await rights.check(self._master.www, request, name, rights.action_of(wanted["command"]))
        except Forbidden as error:
            raise RefusedError(http.FORBIDDEN, forbidden(error)) from None
        await self._board.look()
        if pool not in self._board.pools:
            raise RefusedError(http.NOT_FOUND, f"no pool {pool} is shown on the page")
        return await self._client.ask(int(master), name, wanted, user)


class ActionsGate:
    """Refuses a body that nobody will read, before Twisted stores and parses it.

    :param note: notes a refusal in the audit log.
    """

    largest = MOST

    def __init__(self, master: Any, note: Callable[[dict[str, Any], str, str], None]) -> None:
        self._master = master
        self._note = note

    def minds(self, path: bytes) -> bool:
        """Whether a path is one of the page's."""
        return parts_of(path)[: len(_PLUGIN)] == _PLUGIN

    def refuse(self, request: Any, length: int | None) -> Answer | None:
        """Return why a body is refused; ``None`` if it may be read, or there is none."""
        if length == 0:
            return None
        try:
            _check_head(request, length)
        except RefusedError as refusal:
            return self._answer(request, refusal)
        return None

    def too_large(self, request: Any) -> Answer:
        """Return the answer to a body that turns out to be too large."""
        return self._answer(request, _too_large())

    def _answer(self, request: Any, refusal: RefusedError) -> Answer:
        request.site, request.sitepath = request.channel.site, []  # as Twisted sets them later
        self._note(asker(self._master, request), "refused", refusal.why)
        body = json.dumps({"error": refusal.why}).encode()
        return Answer(refusal.status, body, "application/json; charset=utf-8")


def _check_head(request: Any, length: int | None) -> None:
    """See that the head of a request announces what is read.

    :raises RefusedError: else.
    """
    if _header(request, "content-type").partition(";")[0].strip() != "application/json":
        raise RefusedError(http.UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json")
    if (length or 0) > MOST:
        raise _too_large()


def _too_large() -> RefusedError:
    return RefusedError(http.REQUEST_ENTITY_TOO_LARGE, f"the body has over {MOST} bytes")


def user_of(master: Any, request: Any) -> str:
    """Return what the user is called."""
    return rights.called(master.www.getUserInfos(request))


def asker(master: Any, request: Any) -> dict[str, str]:
    """Return who asks for something, for the audit log."""
    peer = str(getattr(request.getClientAddress(), "host", "local"))
    return {"user": user_of(master, request), "from": peer}


def check_origin(master: Any, request: Any) -> None:
    """See that the request is from a page of this site.

    :raises RefusedError: else.
    """
    origin, site = _header(request, "origin"), _header(request, "sec-fetch-site")
    own = {_header(request, "host"), urlsplit(master.config.buildbotURL).netloc} - {""}
    if site not in _SAME_SITE or (origin and _place(origin) not in own):
        raise RefusedError(http.FORBIDDEN, "the request comes from a page of another site")


def _place(origin: str) -> str:
    """Return the host and port of an origin; nothing if it has none, or is no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _body(request: Any) -> tuple[str, dict[str, Any]]:
    """Return the pool's id and the command of a request.

    :raises RefusedError: if it has none.
    """
    text = request.content.read(MOST + 1)
    _check_head(request, len(text))
    try:
        body = json.loads(text)
        pool, wanted = body["pool"], body["request"]
        offered(wanted)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise RefusedError(http.BAD_REQUEST, "the body needs a pool and a request") from None
    except ControlError as error:
        raise RefusedError(http.BAD_REQUEST, str(error)) from None
    if not isinstance(pool, str):
        raise RefusedError(http.BAD_REQUEST, "the pool has to be a text")
    return pool, wanted


def _header(request: Any, name: str) -> str:
    values = request.requestHeaders.getRawHeaders(name.encode()) or [b""]
    return bytes(values[-1])[:500].decode("ascii", "replace").lower()
