# SPDX-License-Identifier: GPL-2.0-only
"""Screens of this master's VMs that somebody looks at in the web UI of another master.

The master with the web UI has asked who may look. A picture goes over Buildbot's message bus, which
users can read, so it is encrypted. See ``line.py``, and ``near_screen.py`` for the other end.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.logger import Logger
from twisted.web import http

from latent_libvirt.control.messages import ControlError
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.master.page import topics
from latent_libvirt.master.page.audit import Looks
from latent_libvirt.master.page.line import Keys, Line
from latent_libvirt.master.page.remote import PoolServer

if TYPE_CHECKING:
    from latent_libvirt.control.operations import Operations

log = Logger()

MOST: Final = 20
"""Pictures that a pool takes and sends for other masters at a time."""

PIECE: Final = b"i"
"""A piece of the picture."""

WHOLE: Final = b"w"
"""All pieces have been sent."""


def status_of(error: LatentLibvirtError) -> int:
    """Return the status for a picture that there is not: one that may be there soon, or never."""
    return http.NOT_FOUND if isinstance(error, ControlError) else http.SERVICE_UNAVAILABLE


class ScreenServer(PoolServer):
    """Sends pictures of VMs of the pool called *pool* to other masters."""

    topic = staticmethod(topics.pictures)

    def __init__(self, master: Any, pool: str, operations: Operations) -> None:
        super().__init__(master, pool, operations)
        self._looks = Looks(master.reactor)
        self._busy = 0

    def _asked(self, _topic: Any, message: Any) -> None:
        if not isinstance(message, dict) or message.get("pool") != self._pool:
            return
        number, asked_by = message.get("id"), message.get("asked_by")
        if isinstance(number, str) and isinstance(asked_by, int):
            send = partial(self._send, topics.views(asked_by), number)
            in_background(self._answer(message, send), "a screen on the page of another master")

    def _send(self, topic: topics.Topic, number: str, message: dict[str, Any]) -> None:
        self._master.mq.produce(topic, {"id": number, **message})

    async def _answer(self, message: dict[str, Any], send: Any) -> None:
        keys = Keys()
        try:
            ciphers = keys.ciphers(str(message.get("key")), opens=False)
            picture = await self._picture(str(message.get("vm")), str(message.get("user"))[:200])
        except LatentLibvirtError as error:
            send({"status": status_of(error), "refused": error.on_one_line})
        except ValueError:
            send({"status": http.BAD_REQUEST, "refused": "its key is none"})
        else:
            send({"key": keys.public})
            line = Line(send, ciphers, lambda _kind, _content: None, lambda _why: None)
            line.send(PIECE, picture)
            line.send(WHOLE)

    async def _picture(self, vm: str, user: str) -> bytes:
        if self._busy >= MOST:
            raise LatentLibvirtError(f"pool {self._pool} takes {MOST} pictures already")
        self._busy += 1
        try:
            picture = await self._operations.picture(vm)
        finally:
            self._busy -= 1
        if self._looks.is_new(user, vm):
            log.info("user {user} looks at the screen of VM {vm}", user=user, vm=vm)
        return picture
