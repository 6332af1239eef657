# SPDX-License-Identifier: GPL-2.0-only
"""What Buildbot does on its own, and what it does when it is patched.

A test of the former that fails says that upstream has mended something.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import buildbot
import pytest
import pytest_twisted
import sqlalchemy
from autobahn.wamp import auth
from buildbot.data.masters import Master
from buildbot.db import logs
from buildbot.db.buildrequests import BuildRequestsConnectorComponent
from buildbot.db.model import Model
from buildbot.util import epoch2datetime
from buildbot.wamp.connector import MasterService
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as NoAnswerError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from latent_libvirt.multimaster import patches, router_login

patches.apply()
reactor: Any = installed_reactor


def stock(function: Any) -> Any:
    """Return what Buildbot has in the place of a patched function."""
    return function.__wrapped__


@pytest.mark.parametrize(("version", "count"), [("4.3.0", 6), ("4.3.7", 6), ("4.4.0", 0)])
def test_other_versions_of_buildbot_are_not_patched(
    monkeypatch: pytest.MonkeyPatch, version: str, count: int
) -> None:
    applied = []
    for name in (
        "release_what_a_dead_master_has_claimed",
        "judge_masters_by_one_clock",
        "leave_when_the_router_is_lost",
        "log_in_at_the_router",
        "let_dropped_downloads_go",
        "keep_out_of_each_others_way",
    ):
        monkeypatch.setattr(patches, name, lambda name=name: applied.append(name))
    monkeypatch.setattr(buildbot, "version", version)
    monkeypatch.setattr(Master, "_latent_libvirt", False)

    patches.apply()

    assert len(applied) == count


# Claims of a dead master.


@pytest_twisted.ensureDeferred
async def test_buildbot_does_not_take_back_what_another_master_has_claimed(tmp_path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/state.sqlite")
    claims = Model.buildrequest_claims
    claims.create(engine)

    def do(function: Any) -> Any:
        with engine.connect() as connection:
            return succeed(function(connection))

    db = SimpleNamespace(
        pool=SimpleNamespace(do=do), model=Model, master=SimpleNamespace(masterid=1)
    )
    requests = BuildRequestsConnectorComponent(db)
    await requests._claim_buildrequests_for_master([7], 0, 2)

    await requests.unclaimBuildRequests([7])

    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.select(claims.c.masterid)).scalar() == 2
    engine.dispose()


# Clocks.


class Masters:
    """Buildbot's masters, of which one was there 11 minutes ago by the clock that is asked."""

    def __init__(self) -> None:
        self.stopped: list[int] = []
        silent = SimpleNamespace(id=2, name="other", last_active=epoch2datetime(1_000))
        table = SimpleNamespace(
            getMasters=lambda: succeed([silent]), setMasterState=lambda **_: succeed(True)
        )
        self.master = SimpleNamespace(
            reactor=SimpleNamespace(seconds=lambda: 1_000 + 11 * 60),
            db=SimpleNamespace(masters=table),
        )

    def _masterDeactivated(self, masterid: int, _name: str) -> Deferred[None]:  # noqa: N802
        self.stopped.append(masterid)
        return succeed(None)


@pytest_twisted.ensureDeferred
async def test_buildbot_judges_other_masters_by_its_own_clock() -> None:
    masters = Masters()
    await stock(Master.expireMasters)(masters)
    assert masters.stopped == [2]


@pytest_twisted.ensureDeferred
async def test_no_clock_of_a_machine_makes_a_master_dead() -> None:
    masters = Masters()
    await Master.expireMasters(masters)
    assert not masters.stopped


# The router.


class Session:
    """A session with the router, of a master."""

    def __init__(self, *, leaving: bool) -> None:
        self.leaving = leaving
        self.stopped = False
        self.master = SimpleNamespace(stopService=self._stop)

    def _stop(self) -> Deferred[None]:
        self.stopped = True
        return succeed(None)


LOST = SimpleNamespace(reason="wamp.close.transport_lost", message="transport was lost")


@pytest_twisted.ensureDeferred
async def test_buildbot_stops_all_services_when_the_router_is_lost_and_lives_on() -> None:
    session = Session(leaving=False)
    await stock(MasterService.onLeave)(session, LOST)
    assert session.stopped


@pytest.mark.parametrize("leaving", [True, False])
def test_a_master_leaves_when_the_router_is_lost_unless_it_stops_anyway(
    monkeypatch: pytest.MonkeyPatch, *, leaving: bool
) -> None:
    left = []
    monkeypatch.setattr(patches, "leave", lambda what, why: left.append((what, why)))
    session = Session(leaving=leaving)

    MasterService.onLeave(session, LOST)

    assert bool(left) is not leaving
    assert not session.stopped


def test_a_master_that_the_router_refuses_says_what_has_to_be_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[tuple[str, str]] = []

    def leave(what: str, why: str) -> None:
        left.append((what, why))
        raise SystemExit

    monkeypatch.setattr(patches, "leave", leave)
    refused = SimpleNamespace(reason="wamp.error.authentication_failed", message="no such user")

    with pytest.raises(SystemExit):
        MasterService.onLeave(Session(leaving=False), refused)

    ((what, why),) = left
    assert "refuses this master (no such user)" in what
    assert "router_secret" in why


class Joining:
    """A session that has reached the router."""

    onConnect = MasterService.onConnect  # noqa: N815

    def __init__(self) -> None:
        self.log = Logger()
        self.config = SimpleNamespace(realm="buildbot")
        self.joined: list[dict[str, Any]] = []

    def join(self, _realm: str, **how: Any) -> None:
        self.joined.append(how)


def test_buildbot_joins_the_router_as_anybody() -> None:
    session = Joining()
    stock(MasterService.onConnect)(session)
    assert session.joined == [{}]


def test_a_master_without_a_secret_joins_the_router_as_buildbot_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(router_login, "_secret", None)
    session = Joining()
    MasterService.onConnect(session)
    assert session.joined == [{}]


SECRET = "not-the-one-of-anybody"


def test_a_master_with_a_secret_logs_in_and_never_sends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(router_login, "_secret", SECRET)
    session = Joining()
    MasterService.onConnect(session)
    challenge = SimpleNamespace(method="wampcra", extra={"challenge": "{}"})
    answer = MasterService.onChallenge(session, challenge)

    assert session.joined == [{"authmethods": ["wampcra"], "authid": "buildbot"}]
    assert answer == auth.compute_wcs(SECRET.encode(), b"{}").decode()
    assert SECRET not in answer


def test_a_router_that_asks_for_the_secret_itself_does_not_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(router_login, "_secret", SECRET)
    with pytest.raises(RuntimeError, match="a login by 'ticket'"):
        MasterService.onChallenge(Joining(), SimpleNamespace(method="ticket", extra={}))


# Downloads.


@pytest.fixture
def thread() -> Iterator[ThreadPool]:
    """Give the one thread in which logs are unpacked."""
    pool = ThreadPool(minthreads=1, maxthreads=1)
    pool.start()
    yield pool
    pool.stop()


class Chunk:
    """A chunk of a log with three lines, which its reader has left after the first one."""

    def __init__(self, read: Any, thread: ThreadPool) -> None:
        self._all_are_queued: Deferred[None] = Deferred()
        self._go_on = threading.Event()
        self.lines = read(self._unpack, reactor=reactor, provider_threadpool=thread, max_backlog=0)

    def _unpack(self) -> Iterator[str]:
        yield from "abc"
        reactor.callFromThread(self._all_are_queued.callback, None)
        self._go_on.wait()

    async def leave(self) -> None:
        """Read one line, and no more."""
        assert await anext(self.lines) == "a"
        await self._all_are_queued
        self._go_on.set()


async def is_free(thread: ThreadPool, *, within: float) -> bool:
    asked = deferToThreadPool(reactor, thread, lambda: None)
    try:
        await asked.addTimeout(within, reactor)
    except NoAnswerError:
        return False
    return True


@pytest_twisted.ensureDeferred
async def test_buildbot_keeps_a_thread_for_a_reader_who_has_gone(thread: ThreadPool) -> None:
    chunk = Chunk(stock(logs._async_iter_on_pool), thread)
    await chunk.leave()

    assert not await is_free(thread, within=0.2)

    assert [line async for line in chunk.lines] == ["b", "c"]  # which lets go of it


@pytest_twisted.ensureDeferred
async def test_a_reader_who_has_gone_keeps_no_thread(thread: ThreadPool) -> None:
    chunk = Chunk(logs._async_iter_on_pool, thread)
    await chunk.leave()

    assert await is_free(thread, within=60)

    assert [line async for line in chunk.lines] == ["b", "c"]
