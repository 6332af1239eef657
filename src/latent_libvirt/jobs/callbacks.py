# SPDX-License-Identifier: GPL-2.0-only
"""Telling somebody the result: the finished job's document, posted to the URL that came with it.

What is to be told is kept in the database, so that it outlives every master; one of them takes it
for a minute, so that several do not all tell it. It comes at least once: the header ``webhook-id``
is the same for each repetition. Head and signature are those of the Standard Webhooks
specification, 1.0 (https://www.standardwebhooks.com).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy
import treq
from buildbot.db.model import Model
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from latent_libvirt.jobs import strict_json
from latent_libvirt.jobs.records import Job, find
from latent_libvirt.jobs.settings import Settings
from latent_libvirt.jobs.table import jobs

log = Logger()

PATIENCE = 30.0
"""Seconds that a receiver has for its answer."""

_LEASE = 60
"""Seconds in which the others leave a callback to the master that has taken it."""

_FIRST_PAUSE = 5
_LONGEST_PAUSE = 3600
_GIVE_UP_AFTER = 24 * 3600
_AT_ONCE = 20
_WRITTEN_KEY = "whsec_"
_SUCCESS = range(200, 300)


@dataclass(frozen=True)
class Due:
    """A callback that this master has taken."""

    uuid: str
    url: str
    tries: int
    finished_at: int


class Callbacks:
    """Tells the results that are to be told.

    :param settings: where it may be told, and the secret to sign it with.
    :param document: makes what is sent of a job.
    """

    def __init__(
        self, master: Any, settings: Settings, document: Callable[[Job], dict[str, Any]]
    ) -> None:
        self._master = master
        self._settings = settings
        self._document = document

    async def tell(self) -> None:
        """Tell what is due; return when each receiver has answered, or has not."""
        due = await self._master.db.pool.do(_take, self._now)
        await gatherResults([Deferred.fromCoroutine(self._tell(each)) for each in due])

    @property
    def _now(self) -> int:
        return int(self._master.reactor.seconds())

    async def _tell(self, due: Due) -> None:
        try:
            error = await Deferred.fromCoroutine(self._post(due)).addTimeout(
                PATIENCE, self._master.reactor
            )
        except Exception as failure:  # noqa: BLE001 - of whatever kind, it is tried again
            error = f"{type(failure).__name__}: {failure}"
        if error:
            log.info("job {uuid}: callback: {error}", uuid=due.uuid, error=error)
        await self._master.db.pool.do(_note, due.uuid, outcome(due, error, self._now))

    async def _post(self, due: Due) -> str:
        """Send it; return what is wrong with the answer."""
        if not self._settings.may_call(due.url):
            return "its host is not among callback_hosts any more"
        job = await self._master.db.pool.do(find, due.uuid)
        body = strict_json.dumps(self._document(job)).encode()
        answer = await treq.post(
            due.url,
            data=body,
            headers=headers(due.uuid, self._now, body, self._settings.callback_secret),
            allow_redirects=False,  # to where nobody has allowed it
            persistent=False,
            unbuffered=True,
            reactor=self._master.reactor,
        )
        await treq.collect(answer, lambda _data: None)
        return "" if answer.code in _SUCCESS else f"the receiver answered {answer.code}"


def headers(uuid: str, now: int, body: bytes, secret: str | None) -> dict[bytes | str, bytes | str]:
    """Return the head of a callback, signed if there is a secret."""
    head: dict[bytes | str, bytes | str] = {
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
    """Return the key that a secret stands for: as the specification writes them, or its text."""
    if secret.startswith(_WRITTEN_KEY):
        return base64.b64decode(secret.removeprefix(_WRITTEN_KEY))
    return secret.encode()


def outcome(due: Due, error: str, now: int) -> dict[str, Any]:
    """Return what is noted of a callback: it is done, tried again later, or given up.

    :param error: why it has failed; empty if it has not.
    """
    tries = due.tries + 1
    if not error:
        done = {"callback_due": None, "callback_done_at": now, "callback_error": None}
        return done | {"callback_tries": tries}
    pause = min(_FIRST_PAUSE * 2**due.tries, _LONGEST_PAUSE)
    give_up = now + pause > due.finished_at + _GIVE_UP_AFTER
    next_try = None if give_up else now + pause
    return {"callback_due": next_try, "callback_error": error, "callback_tries": tries}


def _take(connection: sqlalchemy.Connection, now: int) -> list[Due]:
    """Return what is due and no other master has taken. Blocks."""
    requests = Model.buildrequests
    query = (
        sqlalchemy.select(jobs, requests.c.complete_at)
        .join_from(jobs, requests, requests.c.buildsetid == jobs.c.buildsetid)
        .where(jobs.c.callback_due <= now, requests.c.complete == 1)
        .order_by(jobs.c.callback_due)
        .limit(_AT_ONCE)
    )
    with connection.begin():
        rows = connection.execute(query).all()
        return [
            Due(row.uuid, row.callback_url, row.callback_tries, row.complete_at)
            for row in rows
            if _is_taken(connection, row, now)
        ]


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
