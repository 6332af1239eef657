# SPDX-License-Identifier: GPL-2.0-only
"""The page of VMs without a browser: a message bus, masters on it, and what a page does there.

The bus is Buildbot's own. The masters are on paper, since only their names and clocks matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.data.exceptions import InvalidPathError
from buildbot.mq.simple import SimpleMQ
from buildbot.plugins import util
from buildbot.www.authz.authz import Authz
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from latent_libvirt.master.page.board import Board
from latent_libvirt.master.page.publisher import Publisher
from latent_libvirt.master.page.rights import Holder, PoolEndpointMatcher
from latent_libvirt.master.page.terminal import Opening, Terminal, Terminals

POOL = "1/pool"


class Data:
    """The data API of a master, as far as the page asks it."""

    def __init__(self) -> None:
        self.masters: list[dict[str, Any]] = []

    async def get(self, path: tuple[str, ...]) -> list[dict[str, Any]]:
        assert path == ("masters",)
        return self.masters


@dataclass
class PaperMaster:
    """A master on a bus that it shares with others."""

    masterid: int
    mq: Any = field(default_factory=SimpleMQ)
    reactor: Clock = field(default_factory=Clock)
    data: Data = field(default_factory=Data)

    @property
    def name(self) -> str:
        return f"host:/srv/master-{self.masterid}"

    def other(self, masterid: int) -> PaperMaster:
        """Return another master on the same bus."""
        return PaperMaster(masterid, self.mq, self.reactor, self.data)


def _no_endpoint(path: object) -> None:
    """Say what Buildbot's data API says of the page's endpoint."""
    raise InvalidPathError(str(path))


class Www:
    """Buildbot's web server, as far as rights go: its own rules, and one user."""

    def __init__(self) -> None:
        self.site = SimpleNamespace(session_secret="0123456789abcdef" * 2, requestFactory=None)
        self.allow("operators")

    def allow(self, role: str) -> None:
        roles = [util.RolesFromUsername(roles=["operators"], usernames=["olga"])]
        self.authz = Authz(allowRules=[PoolEndpointMatcher(role=role)], roleMatchers=roles)
        self.authz.setMaster(SimpleNamespace(data=SimpleNamespace(getEndpoint=_no_endpoint)))

    def getUserInfos(self, _request: object) -> dict[str, Any]:  # noqa: N802 - Buildbot's
        return {"username": "olga"}

    def assertUserAllowed(self, request: object, *what: Any) -> Any:  # noqa: N802 - Buildbot's
        return self.authz.assertUserAllowed(*what, self.getUserInfos(request))


class Anybody:
    """A user to whom every rule allows everything, and who stays logged in."""

    is_silent = False

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor

    def shows(self, _pass: bytes) -> bool:
        return True

    async def may(self, _action: str) -> bool:
        return True


def opened(
    terminals: Terminals, master: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, list[Any]]:
    """Return an open terminal, and what it does with its browser and its session."""
    done: list[Any] = []
    monkeypatch.setattr(Terminal, "sendMessage", lambda _, data, **_more: done.append(data))
    monkeypatch.setattr(Terminal, "sendClose", lambda _, code: done.append(code))
    session: Any = SimpleNamespace(
        begin=lambda _transport: None, received=done.append, lost=lambda: done.append("lost")
    )
    holder = Holder(master, None, POOL)
    opening = Opening(session, holder, lambda *_note: None, lambda: None)
    terminal: Any = Terminal(opening, terminals._open)
    terminal.transport = SimpleNamespace(unregisterProducer=lambda: None)
    terminal.onOpen()
    return terminal, done


class PageOnPaper:
    """What the script of an open page does: it asks for what is newer than what it has."""

    def __init__(self, master: PaperMaster) -> None:
        self.master = master
        self.board = Board(master)
        self.pools: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        self.document: dict[str, Any] = {"board": "", "version": 0}
        self.news = self.asked = 0
        self._reference: Any = None

    def open(self) -> None:
        """Open the page, and listen to news."""
        looking = Deferred.fromCoroutine(self.board.look())
        self.master.reactor.pump([0.1] * 20)
        assert looking.called
        self.ask()
        self.listen()

    def listen(self) -> None:
        """Listen to news."""
        topic = tuple(self.document["events"].split("/"))
        started: Deferred[Any] = self.master.mq.startConsuming(self._heard, topic)
        started.addCallback(lambda reference: setattr(self, "_reference", reference))

    def close(self) -> None:
        """Close the page."""
        self._reference.stopConsuming()

    def _heard(self, _topic: Any, message: Any) -> None:
        self.news += 1
        is_ours = message["board"] == self.document["board"]
        if "pools" in message and is_ours and message["since"] <= self.document["version"]:
            self._take(message)
        else:
            self.ask()

    def ask(self) -> None:
        """Get what is newer, and put it in its place."""
        self.asked += 1
        self._take(self.board.document(self.document["board"], self.document["version"]))

    def _take(self, document: dict[str, Any]) -> None:
        self.document = document
        for pool, part in self.document["pools"].items():
            if part["all"]:
                self.pools[pool] = {}
            for section, rows in part["set"].items():
                self.pools[pool].setdefault(section, {}).update(rows)
            for section, keys in part["drop"].items():
                for key in keys:
                    self.pools[pool].get(section, {}).pop(key, None)


def published(master: PaperMaster, look: Any) -> Publisher:
    """Return a publisher that listens."""
    publisher = Publisher(master, "pool", look, stopwatch=master.reactor.seconds)
    assert Deferred.fromCoroutine(publisher.start()).called
    return publisher
