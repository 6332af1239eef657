# SPDX-License-Identifier: GPL-2.0-only
"""Somebody who reaches a server of ours and has no secret: a guest, or a neighbour."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from autobahn.twisted.wamp import ApplicationSession, Service
from buildbot.www.authz import Authz, Forbidden
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as NoAnswerError

reactor: Any = _reactor

LOOK_AND_ACT = (
    ("masters", "get"),
    ("builds", "get"),
    ("forceschedulers/force-check", "force"),
    ("builds/1", "stop"),
    ("buildrequests/1", "cancel"),
    ("workers/1", "kill"),
)


def may_a_stranger(authz: Authz) -> list[tuple[str, str]]:
    """Return what a web UI lets somebody do who is not logged in."""
    authz.setMaster(None)
    return [each for each in LOOK_AND_ACT if _is_allowed(authz, *each)]


def _is_allowed(authz: Authz, endpoint: str, action: str) -> bool:
    found: list[Any] = []
    succeed(None).addCallback(
        lambda _: authz.assertUserAllowed(endpoint, action, {}, {"anonymous": True})
    ).addCallbacks(lambda _: found.append(True), lambda failure: failure.trap(Forbidden))
    return bool(found)


_service: Any = Service  # it has no types


class _Stranger(ApplicationSession):
    def onConnect(self) -> None:  # noqa: N802
        self.join(self.config.realm, **self.config.extra["how"])

    def onChallenge(self, _challenge: Any) -> str:  # noqa: N802
        return "a guess"

    def onJoin(self, _details: Any) -> None:  # noqa: N802
        if not self.config.extra["end"].called:
            self.config.extra["end"].callback("joined")

    def onLeave(self, details: Any) -> None:  # noqa: N802
        if not self.config.extra["end"].called:
            self.config.extra["end"].callback(details.reason)
        self.disconnect()


ANSWER_WITHIN = 60.0
"""Seconds. A router that has just begun to listen may drop a session without a word."""

_TRIES = 6


async def join(url: str, realm: str, **how: Any) -> str:
    """Try to join a message router; return ``joined``, or why not."""
    for _ in range(_TRIES - 1):
        with suppress(NoAnswerError):
            return await _join_once(url, realm, how)
    return await _join_once(url, realm, how)


async def _join_once(url: str, realm: str, how: dict[str, Any]) -> str:
    end: Deferred[str] = Deferred()
    end.addTimeout(ANSWER_WITHIN, reactor)
    service: Any = _service(url, realm, _Stranger, extra={"end": end, "how": how})
    service.startService()
    try:
        return await end
    finally:
        await service.stopService()
