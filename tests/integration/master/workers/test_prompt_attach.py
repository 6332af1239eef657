# SPDX-License-Identifier: GPL-2.0-only
"""What a master waits for while a worker attaches; real connections, and guests that are slow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.worker.latent import States
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred, gatherResults
from twisted.spread import pb

from latent_libvirt import Pool
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import Running, master_running, reactor

PBClientFactory: Any = pb.PBClientFactory
POOL: dict[str, Any] = {
    "master": {"max_vms": 8, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 8, "storage_pool": "default-pool"}},
    "labels": {"a": {"image": "debian-12"}},
}
INFO = {"version": "4.3.0", "system": "posix", "basedir": "/b", "worker_commands": {"shell": "3"}}


class Builder(pb.Referenceable):
    """What a worker has for a builder."""

    def remote_print(self, message: str) -> None:
        """Say nothing."""


class Guest(pb.Referenceable):
    """A worker that answers greetings when the test lets it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.builders: list[Any] = []
        self.answers: list[Deferred[None]] = []

    def remote_print(self, message: str) -> Deferred[None]:
        """Hear a greeting."""
        self.heard.append(message)
        self.answers.append(Deferred())
        return self.answers[-1]

    def remote_getWorkerInfo(self) -> Any:  # noqa: N802 - Buildbot's
        """Say what it is."""
        self.heard.append("what are you?")
        return INFO

    def remote_setBuilderList(self, builders: Any) -> Any:  # noqa: N802
        """Have all builders."""
        self.builders.append(builders)
        return {name: Builder() for name, _directory in builders}


def _configuration(_pool: Pool) -> dict[str, Any]:
    builder = util.BuilderConfig("check", workernames=["w-1"], factory=util.BuildFactory())
    return {"workers": [LibvirtLatentWorker("w-1", label="a")], "builders": [builder]}


@asynccontextmanager
async def connected(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Running, Any, Guest]]:
    """Give a master, a worker whose VM has come up, and its guest, which logs in."""
    async with master_running(directory, monkeypatch, POOL, _configuration) as running:
        worker = running.master.workers.workers["w-1"]
        await running.request("check")
        await running.until(lambda: worker.state is States.SUBSTANTIATING_STARTING)
        guest, factory = Guest(), PBClientFactory()
        password = worker._password.renew().encode()
        reactor.connectTCP("127.0.0.1", worker.registration.getPBPort(), factory)
        login = factory.login(UsernamePassword(b"w-1", password), guest)
        login.addErrback(lambda _failure: None)
        try:
            yield running, worker, guest
        finally:
            factory.disconnect()
            await running.until(lambda: worker.conn is None)
            await gatherResults([login])


@pytest_twisted.ensureDeferred
async def test_a_worker_is_asked_what_it_is_before_it_has_answered_the_greeting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as (running, worker, guest):
        await running.until(lambda: guest.heard == ["attached", "what are you?"])
        assert worker.conn is None

        guest.answers[0].callback(None)
        await running.until(lambda: worker.state is States.SUBSTANTIATED)
        assert guest.heard.count("what are you?") == 1
        assert worker.info.getProperty("version") == "4.3.0"


@pytest_twisted.ensureDeferred
async def test_a_worker_is_attached_before_it_has_answered_the_greeting_of_its_builder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as (running, worker, guest):
        await running.until(lambda: guest.answers)
        guest.answers[0].callback(None)

        await running.until(lambda: worker.state is States.SUBSTANTIATED)
        await running.until(lambda: guest.heard[:3] == ["attached", "what are you?", "attached"])
        assert not guest.answers[1].called


@pytest_twisted.ensureDeferred
async def test_a_worker_hears_of_its_builders_once_and_before_it_has_answered_the_greeting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as (running, worker, guest):
        await running.until(lambda: guest.builders)
        assert worker.conn is None

        guest.answers[0].callback(None)
        await running.until(lambda: guest.heard.count("attached") > 1)
        assert guest.builders == [[("check", "check")]]


@pytest_twisted.ensureDeferred
async def test_a_worker_whose_builders_change_while_it_attaches_hears_of_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as (running, _worker, guest):
        await running.until(lambda: guest.builders)
        running.master.botmaster.builders["check"].config.workerbuilddir = "elsewhere"

        guest.answers[0].callback(None)
        await running.until(lambda: guest.heard.count("attached") > 1)
        assert guest.builders == [[("check", "check")], [("check", "elsewhere")]]


@pytest_twisted.ensureDeferred
async def test_a_guest_that_goes_before_it_answers_leaves_its_worker_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as (running, worker, guest):
        await running.until(lambda: len(guest.heard) == 2)
    # Errors that nobody has handled would be in the log, and fail the test.
    assert worker.conn is None


@pytest_twisted.ensureDeferred
async def test_a_guest_that_goes_while_it_is_entered_leaves_its_worker_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(tmp_path, monkeypatch) as (running, worker, guest):
        enter, entered = running.master.data.updates.workerConnected, Deferred[None]()

        async def enter_too_late(**worker_info: Any) -> None:
            worker.conn.loseConnection()
            await running.until(lambda: worker.conn is None)
            await enter(**worker_info)
            entered.callback(None)

        monkeypatch.setattr(running.master.data.updates, "workerConnected", enter_too_late)
        await running.until(lambda: guest.answers)
        guest.answers[0].callback(None)
        await entered
        await running.until(lambda: worker.name not in running.master.workers.connections)
        assert (worker.state, worker.conn) == (States.SUBSTANTIATING_STARTING, None)
