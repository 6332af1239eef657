# SPDX-License-Identifier: GPL-2.0-only
"""The event stream of Buildbot's web server (``/sse``), for those who may read builds.

Buildbot 4.3 asks the rules of ``authz`` for its REST API and for ``/ws``, but not here: without a
login, anybody could read what happens to each build. Like ``/ws``, this asks whether the client may
read the list of masters.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from buildbot.www.sse import EventResource
from twisted.web.http import BAD_REQUEST, FORBIDDEN
from twisted.web.server import NOT_DONE_YET

from latent_libvirt.deferreds import in_background
from latent_libvirt.upstream.relied_on import are_there

RELIED_ON = ((EventResource, "render"),)
"""Methods that are wrapped."""


def install() -> None:
    """Ask the rules for all event streams of this process from now on."""
    if hasattr(EventResource.render, "__wrapped__") or not are_there(
        RELIED_ON, does="sends events", otherwise="strangers can read /sse whatever authz says"
    ):
        return
    EventResource.render = _for_readers(EventResource.render)


def _for_readers(original: Any) -> Any:
    @wraps(original)
    def render(self: Any, request: Any) -> Any:
        in_background(_answer(self, request, original), "/sse")
        return NOT_DONE_YET

    return render


async def _answer(resource: Any, request: Any, original: Any) -> None:
    gone = request.notifyFinish()
    gone.addErrback(lambda _: None)
    allowed = await _may_read(resource.master, request)
    if gone.called:
        return
    if not allowed:
        resource.finish(request, FORBIDDEN, b"Forbidden")
    elif _begins(resource, request, original):
        return
    request.finish()


async def _may_read(master: Any, request: Any) -> bool:
    try:
        await master.www.assertUserAllowed(request, "masters", "get", {})
    except Exception:  # noqa: BLE001 - as for /ws: a question without an answer lets nobody in
        return False
    return True


def _begins(resource: Any, request: Any, original: Any) -> bool:
    """Return whether a stream has begun; if not, the answer is complete."""
    try:
        return bool(original(resource, request) is NOT_DONE_YET)
    except IndexError:  # Buildbot's, for any argument after a question mark
        resource.finish(request, BAD_REQUEST, b"unknown argument")
        return False
