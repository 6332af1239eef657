# SPDX-License-Identifier: GPL-2.0-only
"""The board: all pools of all masters, as one master's web UI shows them.

It fills while somebody looks. It asks the masters then, and they send what changes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from latent_libvirt.deferreds import Outcome, in_background
from latent_libvirt.master.page import topics
from latent_libvirt.master.page.consumers import Consumers
from latent_libvirt.master.page.pool_view import PoolView
from latent_libvirt.timers import cancel, passed

if TYPE_CHECKING:
    from latent_libvirt.master.page.rows import Row

log = Logger()

ASK_EVERY: Final = 15.0
"""Seconds between two messages to the masters that a page is open."""

ASK_FOR_MISSED_AFTER: Final = 0.5
"""Seconds after a message that does not follow the one before it."""

WATCHED_FOR: Final = 60.0
"""Seconds for which somebody who has asked is believed to look."""

FIRST_WAIT: Final = 0.7
"""Seconds that the first page waits for masters to answer; what comes later is an event."""

SETTLES: Final = 0.1
"""Seconds that the first page waits for more answers after one."""

SILENT_AFTER: Final = 30.0
"""Seconds without a message after which a pool's master seems to be dead."""

NEWS_EVERY: Final = 0.3
"""Seconds between two messages to pages that there is news."""

NEWS_AFTER: Final = 0.05
"""Seconds from the first change to the news, in which there may be more changes."""

MOST_IN_NEWS: Final = 100
"""Rows, keys and pools that news have in them. Pages ask for more than that."""

FORGOTTEN_AFTER: Final = 3600.0
"""Seconds without a message after which a pool is shown no longer."""

MOST_POOLS: Final = 200
"""Pools that are shown; further ones are not."""


class Board:
    """The pools of all masters.

    :param master: the master with the web UI.
    """

    def __init__(self, master: Any) -> None:
        self._master = master
        self._reactor = master.reactor
        self._id = secrets.token_hex(8)
        self._version = 0
        self._announced = 0
        self._announced_at = float("-inf")
        self._views: dict[tuple[str, str], PoolView] = {}
        # From the beginning: a page that comes back to a new master listens before it asks.
        topic = topics.page(master.masterid)
        self._consumers = Consumers(master.mq, topic, self._one_more)
        self._subscription: Any = None
        self._first_look: Outcome | None = None
        self._watched_until = 0.0
        self._asking: Any = None
        self._asking_since = 0.0
        self._lacks_some = False
        self._news: Any = None
        self._arrivals: list[Deferred[None]] = []
        self._states: dict[str, str] = {}
        self._masters: list[dict[str, Any]] = []

    # Who looks.

    async def look(self) -> None:
        """Note that somebody looks; return when there is something to see, or soon after.

        All who come before the masters have answered the first one wait for the same answers.
        """
        self._watched_until = passed(self._reactor) + WATCHED_FOR
        first = self._first_look
        is_idle = self._asking is None or self._subscription is None
        if first is None or (first.over and is_idle):
            first = self._first_look = Outcome(self._look_first())
        await first.wait()

    async def _look_first(self) -> None:
        await self._listen()
        self._watched_until = passed(self._reactor) + WATCHED_FOR
        self._begin_to_ask()
        await self._until_answered()

    async def _listen(self) -> None:
        if self._subscription is None:
            bus = self._master.mq
            self._subscription = await bus.startConsuming(self._take, topics.pools(None))

    def _one_more(self) -> None:
        if self._asking is None:
            self._begin_to_ask()

    def _begin_to_ask(self) -> None:
        cancel(self._asking)
        self._asking_since = passed(self._reactor)
        self._ask(all_of_it=True)

    @property
    def is_watched(self) -> bool:
        """Whether a page is open, as far as is known."""
        return self._consumers.count > 0 or passed(self._reactor) < self._watched_until

    def _ask(self, *, all_of_it: bool = False) -> None:
        """Tell the masters that a page is open, and again as long as that is so."""
        self._asking = None
        if not self.is_watched:
            return
        all_of_it = all_of_it or self._lacks_some
        self._lacks_some = False
        self._produce(topics.watch(self._master.masterid), {"all": all_of_it})
        in_background(self._look_for_dead_masters(), "the page of VMs lacks dead masters")
        self._note_states()
        self._asking = self._reactor.callLater(ASK_EVERY, self._ask)

    async def _until_answered(self) -> None:
        arrival = self._arrival()
        for wait in (FIRST_WAIT, SETTLES):
            timer = self._reactor.callLater(wait, self._fire, arrival)
            await arrival
            cancel(timer)
            arrival = self._arrival()

    def _arrival(self) -> Deferred[None]:
        self._arrivals.append(Deferred())
        return self._arrivals[-1]

    def _fire(self, arrival: Deferred[None]) -> None:
        if arrival in self._arrivals:
            self._arrivals.remove(arrival)
            arrival.callback(None)

    def stop(self) -> None:
        """Ask no more, and hear nothing more."""
        for timer in (self._asking, self._news):
            cancel(timer)
        self._asking = self._news = None
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            in_background(maybeDeferred(subscription.stopConsuming), "the page of VMs")

    # What masters send.

    def _take(self, topic: Any, message: Any) -> None:
        """Take a message of a master; ask for all of it if one before it was missed."""
        if not isinstance(message, dict):
            return
        name, master = message.get("pool"), message.get("master")
        if not (isinstance(name, str) and isinstance(master, str)):
            return
        key = (str(topic[-1]), name)
        if key not in self._views and len(self._views) >= MOST_POOLS:
            return
        view = self._views.setdefault(key, PoolView(master, name, self._next_version))
        was_heard, view.heard = view.heard, passed(self._reactor)
        before = self._version
        if not view.take(message) and was_heard:  # else the first answer is under way
            self._ask_for_all_soon()
        self._note_states()
        if self._version != before:
            self._tell_pages()
        for arrival in tuple(self._arrivals):
            self._fire(arrival)

    def _ask_for_all_soon(self) -> None:
        if self._asking is not None and not self._lacks_some:
            self._lacks_some = True
            self._asking.reset(ASK_FOR_MISSED_AFTER)

    def _next_version(self) -> int:
        self._version += 1
        return self._version

    def _tell_pages(self) -> None:
        if self._news is None:
            due = self._announced_at + NEWS_EVERY - passed(self._reactor)
            self._news = self._reactor.callLater(max(due, NEWS_AFTER), self._send_news)

    def _send_news(self) -> None:
        """Send open pages what is newer than the news before, or that there is much of it."""
        self._news = None
        if self._consumers.count:
            news = self.document(self._id, self._announced)
            if _size(news) > MOST_IN_NEWS:
                news = {"board": self._id, "version": self._version}
            self._produce(topics.page(self._master.masterid), news | {"since": self._announced})
        self._announced, self._announced_at = self._version, passed(self._reactor)

    def _produce(self, topic: topics.Topic, message: dict[str, Any]) -> None:
        self._master.mq.produce(topic, message)

    # Masters that are gone.

    def _note_states(self) -> None:
        """Find out which masters are silent or have stopped; that is news, too."""
        now = passed(self._reactor)
        for key, view in tuple(self._views.items()):
            if now - view.heard > FORGOTTEN_AFTER:
                del self._views[key]
        states = {_id(key): self._state(key, view) for key, view in self._views.items()}
        if states != self._states:
            self._states = states
            self._next_version()
            self._tell_pages()

    def _state(self, key: tuple[str, str], view: PoolView) -> str:
        if not view.has_stopped and self._silence(view) <= SILENT_AFTER:
            return "live"
        gone = {str(each["id"]) for each in self._masters}
        return "stopped" if view.has_stopped or key[0] in gone else "silent"

    def _silence(self, view: PoolView) -> float:
        """Return for how many seconds its master has been asked, and has sent nothing."""
        return passed(self._reactor) - max(view.heard, self._asking_since)

    async def _look_for_dead_masters(self) -> None:
        found = await self._master.data.get(("masters",))
        gone = [
            {"id": each["masterid"], "name": each["name"], "since": _moment(each["last_active"])}
            for each in found
            if not each["active"] and each["masterid"] != self._master.masterid
        ]
        if gone != self._masters:
            self._masters = gone
            self._next_version()
            self._note_states()
            self._tell_pages()

    # What pages get.

    @property
    def pools(self) -> dict[str, str]:
        """The name of each pool, by its id."""
        return {_id(key): view.name for key, view in self._views.items()}

    def label_sizes(self) -> dict[str, tuple[int, int]]:
        """Return vCPUs and bytes of memory of each label that all pools agree on, by its name."""
        found: dict[str, set[tuple[int, int]]] = {}
        for view in self._views.values():
            for row in view.section("labels"):
                vcpus, memory = row.get("vcpus"), row.get("memory")
                if isinstance(vcpus, int) and isinstance(memory, int):
                    found.setdefault(str(row.get("name")), set()).add((vcpus, memory))
        return {name: next(iter(sizes)) for name, sizes in found.items() if len(sizes) == 1}

    def reasons(self, requests: Iterable[str]) -> dict[str, str]:
        """Return why these build requests wait, as far as a pool knows."""
        rows = {each: self._waiting(each) for each in requests}
        return {each: str(row["reason"]) for each, row in rows.items() if row is not None}

    def _waiting(self, request: str) -> Row | None:
        found = (view.row("waiting", request) for view in self._views.values())
        return next((row for row in found if row is not None), None)

    @property
    def events(self) -> str:
        """Where pages hear that there is news."""
        return "/".join(topics.page(self._master.masterid))

    @property
    def id(self) -> str:
        """The board's id, which is another one after each start of the master."""
        return self._id

    @property
    def version(self) -> int:
        """The version of all that it knows."""
        return self._version

    def known(self, board: str, since: int) -> int:
        """Return *since* if that is a version of this board, and *board* its id; else 0."""
        return since if board == self._id and 0 <= since <= self._version else 0

    def document(self, board: str, since: int) -> dict[str, Any]:
        """Return what is newer than *since*, a version of the board with that id, or all.

        Each pool has its rows (``set``), the keys of those that are gone (``drop``), and whether
        these are all its rows (``all``).
        """
        since = self.known(board, since)
        return {
            "board": self._id,
            "version": self._version,
            "now": time.time(),
            "events": self.events,
            "stopped_masters": self._masters,
            "pools": {
                _id(key): self._part(key, view, since)
                for key, view in sorted(self._views.items(), key=lambda item: item[1].master)
            },
        }

    def _part(self, key: tuple[str, str], view: PoolView, since: int) -> dict[str, Any]:
        is_all = since < view.complete_since
        rows, gone = view.newer(0 if is_all else since)
        return {
            "master": view.master,
            "name": view.name,
            "state": self._states.get(_id(key), "live"),
            "heard": round(time.time() - (passed(self._reactor) - view.heard), 3),
            "all": is_all,
            "set": rows,
            "drop": {} if is_all else gone,
        }


def _size(document: dict[str, Any]) -> int:
    parts = document["pools"].values()
    return sum(
        1 + sum(map(len, part["set"].values())) + sum(map(len, part["drop"].values()))
        for part in parts
    )


def _id(key: tuple[str, str]) -> str:
    return "/".join(key)


def _moment(value: Any) -> float:
    return float(value.timestamp()) if hasattr(value, "timestamp") else float(value)
