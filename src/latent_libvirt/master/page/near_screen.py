# SPDX-License-Identifier: GPL-2.0-only
"""Pictures of screens of other masters' VMs, for this master's web UI.

A picture is asked for while a page asks for it, once for all pages, and at most each few seconds.
See ``far_screen.py`` for the other end.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredLock, DeferredSemaphore
from twisted.web import http

from latent_libvirt.control.pictures import EVERY
from latent_libvirt.deferreds import Outcome
from latent_libvirt.host.domains.screen import MOST
from latent_libvirt.master.page import topics
from latent_libvirt.master.page.actions import RefusedError
from latent_libvirt.master.page.far_screen import WHOLE
from latent_libvirt.master.page.line import Keys, Line
from latent_libvirt.timers import passed

TIMEOUT: Final = 30.0
"""Seconds in which a picture has to be here."""

AT_A_TIME: Final = 2
"""Pictures that are on the way from a master. One that does not answer holds up its own only."""

MOST_ASKED: Final = 50
"""Pictures that are asked for or kept at a time."""

Key = tuple[int, str, str]
"""A VM: its master's id, its pool, its name."""


class NearScreens:
    """The last pictures that other masters have sent."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self._transfers: dict[str, _Transfer] = {}
        self._pictures: dict[Key, _Picture] = {}
        self._turns: dict[int, DeferredSemaphore] = {}
        self._listens = False
        self._subscribing = DeferredLock()

    async def picture(self, vm: Key, user: str) -> bytes:
        """Return what a VM shows, as PNG, or did a few seconds ago.

        :param user: who looks, for the log of the VM's master.
        :raises RefusedError: if there is no picture, or the master does not answer.
        """
        now = passed(self._master.reactor)
        for key, each in tuple(self._pictures.items()):
            if each.outcome.over and now - each.began >= EVERY:
                del self._pictures[key]
        if vm not in self._pictures:
            if len(self._pictures) >= MOST_ASKED:
                why = f"{MOST_ASKED} screens of other masters are looked at already"
                raise RefusedError(http.SERVICE_UNAVAILABLE, why)
            self._pictures[vm] = _Picture(now, partial(self._in_turn, vm, user))
        found = self._pictures[vm]
        await found.outcome.wait()
        return found.data

    async def _in_turn(self, vm: Key, user: str) -> bytes:
        turns = self._turns.setdefault(vm[0], DeferredSemaphore(AT_A_TIME))
        await turns.acquire()
        try:
            return await self._transferred(vm, user)
        finally:
            turns.release()

    async def _transferred(self, vm: Key, user: str) -> bytes:
        await self._listen()
        master, pool, name = vm
        number = secrets.token_hex(16)
        transfer = self._transfers[number] = _Transfer()
        transfer.data.addTimeout(TIMEOUT, self._master.reactor)
        wanted = {"id": number, "pool": pool, "vm": name, "user": user}
        wanted |= {"asked_by": self._master.masterid, "key": transfer.keys.public}
        self._master.mq.produce(topics.pictures(master), wanted)
        try:
            return await transfer.data
        except defer.TimeoutError:
            raise RefusedError(http.GATEWAY_TIMEOUT, "the VM's master does not answer") from None
        finally:
            del self._transfers[number]

    async def _listen(self) -> None:
        """Hear answers from now on. What is heard twice would end a line."""
        async with self._subscribing:
            if not self._listens:
                topic = topics.views(self._master.masterid)
                await self._master.mq.startConsuming(self._take, topic)
                self._listens = True

    def _take(self, _topic: Any, message: Any) -> None:
        number = message.get("id") if isinstance(message, dict) else None
        transfer = self._transfers.get(number) if isinstance(number, str) else None
        if transfer is not None:
            transfer.take(message)


class _Picture:
    """A picture that is on the way, or is here.

    :param began: when it was asked for, on the reactor's clock.
    """

    def __init__(self, began: float, get: Any) -> None:
        self.began = began
        self.data = b""
        self.outcome = Outcome(self._take(get))

    async def _take(self, get: Any) -> None:
        self.data = await get()


class _Transfer:
    """A picture on its way.

    :ivar data: fires with all of it.
    """

    def __init__(self) -> None:
        self.keys = Keys()
        self.data: Deferred[bytes] = Deferred()
        self._line: Line | None = None
        self._pieces = bytearray()

    def take(self, message: dict[str, Any]) -> None:
        """Take a message of the other master."""
        if self.data.called:
            return
        if "refused" in message:
            self._fail(int(message["status"]), str(message["refused"]))
        elif self._line is not None:
            self._line.take(message.get("data"))
        else:
            self._begin(str(message.get("key")))

    def _begin(self, key: str) -> None:
        try:
            ciphers = self.keys.ciphers(key, opens=True)
        except ValueError:
            self._fail(http.BAD_GATEWAY, "the other master sends no key")
        else:
            lost = partial(self._fail, http.BAD_GATEWAY)
            self._line = Line(lambda _message: None, ciphers, self._received, lost)

    def _received(self, kind: bytes, content: bytes) -> None:
        if self.data.called:
            return
        if kind == WHOLE:
            self.data.callback(bytes(self._pieces))
        elif len(self._pieces) + len(content) > MOST:
            self._fail(http.BAD_GATEWAY, "the other master sends too large a picture")
        else:
            self._pieces += content

    def _fail(self, status: int, why: str) -> None:
        if not self.data.called:
            self.data.errback(RefusedError(status, why))
