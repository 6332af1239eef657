# SPDX-License-Identifier: GPL-2.0-only
"""Master of a rehearsal: a port of the loopback that asks of a worker what a master does."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def play_master(over: Callable[[], object]) -> int:
    """Listen for a worker called ``rehearsal``, and ask of it what a master does; return the port.

    :param over: called when it has done all that.
    """
    checkers: Any = importlib.import_module("twisted.cred.checkers")
    portal: Any = importlib.import_module("twisted.cred.portal")
    pb: Any = importlib.import_module("twisted.spread.pb")
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    defer: Any = importlib.import_module("twisted.internet.defer")

    class Work(pb.Referenceable):  # type: ignore[misc]
        def __init__(self) -> None:
            self.done = defer.Deferred()

        def remote_update(self, _updates: object) -> None:
            """Nobody reads what the command says."""

        def remote_complete(self, _failure: object = None) -> None:
            self.done.callback(None)

    async def direct(worker: Any) -> None:
        await worker.callRemote("print", message="rehearsal")
        await worker.callRemote("getWorkerInfo")
        builders = await worker.callRemote("setBuilderList", [("rehearsal", "rehearsal")])
        await builders["rehearsal"].callRemote("startBuild")
        work, command = Work(), {"command": ["true"], "workdir": "."}
        await builders["rehearsal"].callRemote("startCommand", work, "1", "shell", command)
        await work.done
        over()

    class Realm:
        def requestAvatar(self, _name: object, worker: Any, *_: object) -> Any:  # noqa: N802
            reactor.callLater(0, lambda: defer.ensureDeferred(direct(worker)))
            return pb.IPerspective, pb.Avatar(), lambda: None

    doors = checkers.InMemoryUsernamePasswordDatabaseDontUse(rehearsal=b"rehearsal")
    factory = pb.PBServerFactory(portal.Portal(Realm(), [doors]))
    return int(reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port)
