# SPDX-License-Identifier: GPL-2.0-only
"""Callbacks: the document of a finished job, posted to the URL that came with the job.

The database has the callbacks that are due, so that they outlive every master. One master takes a
callback for a minute, so that it is not posted by several. A callback comes at least once. The
header ``webhook-id`` is the same for each repetition. Head and signature are those of the Standard
Webhooks specification, 1.0 (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy
from buildbot.db.model import Model
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.backoff import Backoff
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs import strict_json
from latent_libvirt.jobs.posting import AnswerError, post
from latent_libvirt.jobs.queries import (
    find,
)
from latent_libvirt.jobs.settings import WRITTEN_KEY, is_key
from latent_libvirt.jobs.table import is_due, jobs
from latent_libvirt.plain_text import as_text
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.jobs import models
    from latent_libvirt.jobs.queries import (
        Job,
    )
    from latent_libvirt.jobs.settings import Settings

log = Logger()

_LEASE = 60
"""Seconds in which the others leave a callback to the master that has taken it."""

_BACKOFF = Backoff(first=5, longest=3600)
_DOUBLED_UNTIL = 12
"""Failures from which on a pause is the longest."""

_GIVE_UP_AFTER = 24 * 3600
MOST_AT_ONCE = 64
"""Receivers' connections of one master."""

MOST_OF_A_RECEIVER = 4
"""Of them, those to one receiver: a slow one waits for itself."""

SHORTEST = 2.0
"""Seconds that a receiver has, if another one waits that has no connection."""

_LONGEST_ERROR = 500
"""Characters of why a call has failed."""

_PAGE = 200
_SUCCESS = range(200, 300)
_USUAL_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True)
class Due:
    """A callback that this master has taken."""

    uuid: str
    url: str
    tries: int
    finished_at: int


class Callbacks:
    """Posts the results that are due.

    :param settings: where they may go, and the secret to sign it with.
    :param document: makes what is sent of a job.
    :ivar ended: is called whenever a call has ended, well or not, and there is room again.
    """

    def __init__(
        self, master: Any, settings: Settings, document: Callable[[Job], models.Job]
    ) -> None:
        self._master = master
        self._settings = settings
        self._document = document
        self._calls: set[_Call] = set()
        self._is_open = True
        self.ended: Callable[[], object] = lambda: None

    async def send(self) -> None:
        """Begin to post what is due, as far as there is room."""
        await self._make_room()
        room = MOST_AT_ONCE - len(self._calls)
        for each in await self._master.db.pool.do(_take, self._now, room, self._calls_now):
            self._begin(each)

    async def stop(self) -> None:
        """End all calls; another master, or this one when it is back, repeats them at once."""
        self._is_open = False
        calls = list(self._calls)
        for call in calls:
            call.cut()
        await gatherResults([call.done for call in calls])

    @property
    def _calls_now(self) -> Counter[str]:
        """How many calls each receiver has at this moment."""
        return Counter(receiver(call.due.url) for call in self._calls)

    async def _make_room(self) -> None:
        """If there is none, and a receiver waits that has no connection, end the longest call."""
        if len(self._calls) < MOST_AT_ONCE:
            return
        oldest = min(self._calls, key=lambda call: call.since)
        if passed(self._master.reactor) - oldest.since < SHORTEST:
            return
        if await self._master.db.pool.do(_does_another_wait, self._now, list(self._calls_now)):
            oldest.cut()

    def _begin(self, due: Due) -> None:
        call = _Call(due, passed(self._master.reactor))
        self._calls.add(call)
        call.work = Deferred.fromCoroutine(self._send(due, call))
        call.work.addBoth(lambda result: self._ended(call, result))

    def _ended(self, call: _Call, result: Any) -> None:
        self._calls.discard(call)
        if isinstance(result, Failure):
            log.failure("job {uuid}: callback", result, uuid=call.due.uuid)
        call.done.callback(None)
        if self._is_open:
            self.ended()

    @property
    def _now(self) -> int:
        return int(self._master.reactor.seconds())

    async def _send(self, due: Due, call: _Call) -> None:
        try:
            call.post = Deferred.fromCoroutine(self._post(due))
            error = await call.post
        except AnswerError as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001 - of whatever kind, it is tried again
            error = f"{type(failure).__name__}: {failure}"
        if error and call.was_cut:
            error = "it was ended early, since others waited"
        if error:
            error = in_short(error)
            log.info("job {uuid}: callback: {error}", uuid=due.uuid, error=error)
        noted = outcome(due, error, self._now) if self._is_open or not error else _again(self._now)
        await self._master.db.pool.do(_note, due.uuid, noted)

    async def _post(self, due: Due) -> str:
        """Send it; return what is wrong with the answer."""
        if not self._settings.may_call(due.url):
            return "its host is not among callback_hosts any more"
        job = await self._master.db.pool.do(find, due.uuid)
        body = strict_json.dumps(self._document(job)).encode()
        head = headers(due.uuid, self._now, body, self._settings.callback_secret)
        status = await post(due.url, body, head, reactor=self._master.reactor)
        return "" if status in _SUCCESS else f"the receiver answered {status}"


class _Call:
    """One callback on its way.

    :ivar done: fires when it has been noted what became of it.
    :ivar was_cut: whether it was ended early.
    """

    def __init__(self, due: Due, since: float) -> None:
        self.due = due
        self.since = since
        self.was_cut = False
        self.post: Deferred[str] | None = None
        self.work: Deferred[None] | None = None
        self.done: Deferred[None] = Deferred()

    def cut(self) -> None:
        """End it: it counts as failed."""
        self.was_cut = True
        if self.post is not None:
            self.post.cancel()


def receiver(url: str) -> str:
    """Return the beginning of a URL that names the receiver: all before its path."""
    scheme, colon, rest = url.partition("://")
    return scheme + colon + re.split("[/?#]", rest, maxsplit=1)[0]


def normal(url: str) -> str:
    """Return a URL with its receiver written in one way, so that one has only one name."""
    written = receiver(url)
    scheme, _, where = written.lower().partition("://")
    host, colon, port = where.rpartition(":")
    if colon and port.strip("0123456789") == "":
        number = port.lstrip("0")
        is_usual = number in ("", _USUAL_PORTS.get(scheme))
        where = host if is_usual else f"{host}:{number}"
    return f"{scheme}://{where}{url[len(written) :]}"


def _again(now: int) -> dict[str, Any]:
    """Return what is noted of a callback that this master has no time for."""
    return {"callback_due": now}


def headers(uuid: str, now: int, body: bytes, secret: str | None) -> dict[str, str]:
    """Return the head of a callback, signed if there is a secret."""
    head = {
        "Content-Type": "application/json",
        "User-Agent": "latent-libvirt",
        "webhook-id": uuid,
        "webhook-timestamp": str(now),
    }
    if secret is None:
        return head
    signed = hmac.digest(_key(secret), f"{uuid}.{now}.".encode() + body, hashlib.sha256)
    return head | {"webhook-signature": f"v1,{base64.b64encode(signed).decode()}"}


def _key(secret: str) -> bytes:
    """Return the key that a secret stands for: as the specification writes them, or its text.

    :raises ConfigurationError: it stands for none. ``checkconfig`` cannot see what a
        ``util.Secret`` contains, and anybody could sign with an empty key.
    """
    if not secret or not is_key(secret):
        raise ConfigurationError(
            f"callback_secret must have base64 after {WRITTEN_KEY!r}",
            resolution="Correct the secret that JobApi(callback_secret=...) names.",
        )
    if secret.startswith(WRITTEN_KEY):
        return base64.b64decode(secret.removeprefix(WRITTEN_KEY))
    return secret.encode()


def in_short(error: str) -> str:
    """Return why a call has failed as text that any database takes. A receiver may say anything."""
    return as_text(error)[:_LONGEST_ERROR]


def outcome(due: Due, error: str, now: int) -> dict[str, Any]:
    """Return what is noted of a callback: it is done, tried again later, or given up.

    :param error: why it has failed; empty if it has not.
    """
    tries = due.tries + 1
    if not error:
        done = {"callback_due": None, "callback_done_at": now, "callback_error": None}
        return done | {"callback_tries": tries}
    pause = int(_BACKOFF.after(tries))
    give_up = now + pause > due.finished_at + _GIVE_UP_AFTER
    next_try = None if give_up else now + pause
    return {"callback_due": next_try, "callback_error": error, "callback_tries": tries}


def _take(
    connection: sqlalchemy.Connection, now: int, room: int, calls_now: Counter[str]
) -> list[Due]:
    """Take what is due and no other master has taken, a few of each receiver. Blocks.

    :param room: how many, at most.
    :param calls_now: how many each receiver gets already.
    """
    taken: list[Due] = []
    calls_of = Counter(calls_now)
    with connection.begin():
        while len(taken) < room:
            full = [each for each, calls in calls_of.items() if calls >= MOST_OF_A_RECEIVER]
            rows = connection.execute(_due_elsewhere(now, full)).all()
            before = len(calls_of), len(taken)
            for row in rows:
                who = receiver(row.callback_url)
                if len(taken) < room and calls_of[who] < MOST_OF_A_RECEIVER:
                    calls_of[who] += 1
                    if _is_taken(connection, row, now):
                        taken.append(_due(row))
            if len(rows) < _PAGE or (len(calls_of), len(taken)) == before:
                break
    return taken


def _due(row: Any) -> Due:
    return Due(row.uuid, row.callback_url, row.callback_tries, row.complete_at)


def _due_elsewhere(now: int, full: list[str]) -> sqlalchemy.Select[Any]:
    """Select what is due, but not of the receivers that have enough to do."""
    requests, url = Model.buildrequests, jobs.c.callback_url
    theirs = [
        condition
        for each in full
        for condition in (
            url == each,
            *(url.startswith(each + end, autoescape=True) for end in "/?#"),
        )
    ]
    return (
        sqlalchemy.select(jobs, requests.c.complete_at)
        .join_from(jobs, requests, requests.c.buildsetid == jobs.c.buildsetid)
        .where(
            is_due(jobs.c.callback_due, now, _longest_pause()),
            requests.c.complete == 1,
            ~sqlalchemy.or_(False, *theirs),
        )
        .order_by(jobs.c.callback_due)
        .limit(_PAGE)
    )


def _longest_pause() -> sqlalchemy.ColumnElement[int]:
    """Return the seconds until a callback is due, at most, after it was tried so many times."""
    pauses = {tries: max(_LEASE, int(_BACKOFF.after(tries))) for tries in range(_DOUBLED_UNTIL)}
    return sqlalchemy.case(pauses, value=jobs.c.callback_tries, else_=int(_BACKOFF.longest))


def _does_another_wait(connection: sqlalchemy.Connection, now: int, busy: list[str]) -> bool:
    """Whether something is due of a receiver that has no connection now. Blocks."""
    with connection.begin():
        return connection.execute(_due_elsewhere(now, busy).limit(1)).first() is not None


def _is_taken(connection: sqlalchemy.Connection, row: Any, now: int) -> bool:
    """Take a callback; return whether no other master was quicker."""
    taken = connection.execute(
        jobs.update()
        .where(jobs.c.id == row.id, jobs.c.callback_due == row.callback_due)
        .values(callback_due=now + _LEASE)
    )
    return taken.rowcount == 1


def _note(connection: sqlalchemy.Connection, uuid: str, values: dict[str, Any]) -> None:
    with connection.begin():
        connection.execute(jobs.update().where(jobs.c.uuid == uuid).values(**values))
