# SPDX-License-Identifier: GPL-2.0-only
"""Commands for a pool of this or another master, over Buildbot's message bus.

The commands are those of the control socket. Only masters can send on the bus, so the master that
sends a command has asked who may give it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.logger import Logger

from latent_libvirt.control import commands
from latent_libvirt.control.client import MOVE_TIMEOUT, THAW_TIMEOUT
from latent_libvirt.control.messages import (
    LONGEST_USER,
    CancelHoldRequest,
    CancelThawRequest,
    ControlError,
    DrainRequest,
    EndRequest,
    HoldRequest,
    RefreshRequest,
    ReleaseRequest,
    ThawRequest,
    UndrainRequest,
    request_of,
)
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.master.page import topics

if TYPE_CHECKING:
    from latent_libvirt.control.messages import Request
    from latent_libvirt.control.operations import Operations

log = Logger()

TIMEOUT: Final = 90.0
"""Seconds in which a master has to answer. A VM is gone within some 60."""

_TIMEOUTS: Final = {"thaw": THAW_TIMEOUT}
"""The same for commands that may take longer."""

OFFERED: Final = (
    *(DrainRequest, UndrainRequest, HoldRequest, CancelHoldRequest),
    *(ReleaseRequest, ThawRequest, CancelThawRequest, EndRequest, RefreshRequest),
)
"""Commands that a page may send."""


def offered(wanted: Any) -> Request:
    """Return the command that a page has sent.

    :raises ControlError: if it is none, or not for pages.
    """
    request = request_of(wanted)
    if not isinstance(request, OFFERED):
        raise ControlError(f"the page cannot ask for {request.command!r}")
    if isinstance(request, HoldRequest) and request.user:
        raise ControlError("a page cannot say who asks", details="The login does.")
    return request


def _asked_by(user: str, request: Request) -> Request:
    """Return the request with the user who asks, if it has one."""
    if isinstance(request, HoldRequest):
        return replace(request, user=user[:LONGEST_USER])
    return request


class PoolServer:
    """Listens for what other masters send for the pool called *pool*.

    :cvar topic: returns where that is sent to the master with an id.
    """

    topic: Callable[[int], topics.Topic]

    def __init__(self, master: Any, pool: str, operations: Operations) -> None:
        self._master = master
        self._pool = pool
        self._operations = operations
        self._subscription: Any = None

    async def start(self) -> None:
        """Begin to listen."""
        topic = self.topic(self._master.masterid)
        self._subscription = await self._master.mq.startConsuming(self._asked, topic)

    async def stop(self) -> None:
        """Listen no longer."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await maybeDeferred(subscription.stopConsuming)

    def _asked(self, _topic: Any, message: Any) -> None:
        """Take *message*, which may be for another pool, or no such message at all."""
        raise NotImplementedError


class CommandServer(PoolServer):
    """Does what masters send for the pool called *pool*."""

    topic = staticmethod(topics.commands)

    def _asked(self, _topic: Any, message: Any) -> None:
        if isinstance(message, dict) and message.get("pool") == self._pool:
            in_background(self._answer(message), "a command of the page of VMs")

    async def _answer(self, message: dict[str, Any]) -> None:
        answer = await self._outcome(message.get("request"), str(message.get("user")))
        topic = topics.answers(int(message["asked_by"]))
        self._master.mq.produce(topic, {"id": message["id"], **answer})

    async def _outcome(self, wanted: Any, user: str) -> dict[str, Any]:
        try:
            request = _asked_by(user, offered(wanted))
            log.info(
                "pool {pool}: user {user} asks for {request}",
                pool=self._pool,
                user=user,
                request=str(request),
            )
            return {"done": str(await commands.answer(self._operations, request))}
        except LatentLibvirtError as error:
            return {"error": [error.brief, error.details, error.resolution]}
        except Exception:  # noqa: BLE001 - the user is not to wait for an answer without end
            log.failure("a command of the page of VMs failed")
            return {"error": ["the master failed, by a mistake in latent_libvirt", None, None]}


class CommandClient:
    """Sends commands to masters, and waits for their answers."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self._waiting: dict[str, Deferred[dict[str, Any]]] = {}
        self._listens = False
        self._subscribing = DeferredLock()

    async def ask(self, master: int, pool: str, wanted: dict[str, Any], user: str) -> str:
        """Let the pool of that master do what is *wanted*; return what it was done to.

        :raises LatentLibvirtError: if it refuses, or does not answer in time.
        """
        await self._listen()
        number = secrets.token_hex(16)
        head = {"id": number, "asked_by": self._master.masterid, "user": user, "pool": pool}
        answer = self._waiting[number] = Deferred()
        timeout = MOVE_TIMEOUT if wanted.get("host") else _TIMEOUTS.get(wanted["command"], TIMEOUT)
        answer.addTimeout(timeout, self._master.reactor)
        self._master.mq.produce(topics.commands(master), {**head, "request": wanted})
        try:
            return _result(await answer)
        except defer.TimeoutError:
            raise ControlError(
                "the pool's master has not answered",
                details=f"It was asked {timeout:g} s ago, and may still do it.",
                resolution="See whether that master runs.",
            ) from None
        finally:
            del self._waiting[number]

    async def _listen(self) -> None:
        async with self._subscribing:
            if not self._listens:
                topic = topics.answers(self._master.masterid)
                await self._master.mq.startConsuming(self._answered, topic)
                self._listens = True

    def _answered(self, _topic: Any, message: Any) -> None:
        number = message.get("id") if isinstance(message, dict) else None
        waiting = self._waiting.get(str(number))
        if waiting is not None and not waiting.called:
            waiting.callback(message)


def _result(message: dict[str, Any]) -> str:
    if "error" in message:
        brief, details, resolution = message["error"]
        raise ControlError(brief, details=details, resolution=resolution)
    return str(message.get("done"))
