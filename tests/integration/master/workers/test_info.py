# SPDX-License-Identifier: GPL-2.0-only
"""What guests say of themselves when they attach, to a real master over real connections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.worker.latent import States
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.spread import pb

from latent_libvirt import Pool
from latent_libvirt.master.workers import info
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import Running, master_running, reactor

PBClientFactory: Any = pb.PBClientFactory
POOL: dict[str, Any] = {
    "master": {"max_vms": 8, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 8, "storage_pool": "default-pool"}},
    "labels": {"a": {"image": "debian-12"}},
}
HONEST = {
    "version": "4.3.0",
    "system": "posix",
    "basedir": "/build",
    "environ": {"PATH": "/bin"},
    "worker_commands": {"shell": "3.3"},
    "numcpus": 2,
}


class Thing(pb.Copyable):
    """An object of a class that the master does not have."""


NONSENSE: dict[str, Any] = {
    "a text": "nonsense",
    "nothing": None,
    "a number": 7,
    "a list": [1, 2],
    "keys that are no texts": {1: 2, (1, 2): 3},
    "texts that are none": {name: [{"a": 1}] for name in HONEST},
    "large": {"admin": "x" * 600_000, "host": "y" * 600_000, "version": 10**90},
    "what the port refuses": {"version": Thing()},
    "many": {f"key-{number}": "x" for number in range(50_000)},
}


class Guest(pb.Referenceable):
    """A worker that says *info* of itself."""

    def __init__(self, info: Any, builders: Any = None) -> None:
        self._info = info
        self._builders = {} if builders is None else builders

    def remote_print(self, message: str) -> None:
        """Say nothing."""

    def remote_getWorkerInfo(self) -> Any:  # noqa: N802 - Buildbot's
        """Say it."""
        return self._info

    def remote_setBuilderList(self, _builders: Any) -> Any:  # noqa: N802
        """Have these builders."""
        return self._builders


def _configuration(pool: Pool) -> dict[str, Any]:
    return {
        "workers": [LibvirtLatentWorker("w-1", label="a")],
        "prioritizeBuilders": pool.prioritize_builders,
        "builders": [util.BuilderConfig("check", workernames=["w-1"], factory=util.BuildFactory())],
    }


async def _comes_up(running: Running, worker: Any) -> None:
    await running.until(lambda: worker._start and worker.state is States.SUBSTANTIATING_STARTING)


async def _logs_in(worker: Any, guest: Guest) -> Any:
    factory = PBClientFactory()
    password = worker._password.renew()
    reactor.connectTCP("127.0.0.1", worker.registration.getPBPort(), factory)
    login: Deferred[Any] = factory.login(UsernamePassword(b"w-1", password.encode()), guest)
    login.addErrback(lambda _failure: None)
    await login.addTimeout(10, reactor)
    return factory


@pytest.mark.parametrize("what", [*NONSENSE, "builders"])
@pytest_twisted.ensureDeferred
async def test_a_guest_that_says_nonsense_of_itself_does_not_use_up_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, _configuration) as running:
        worker = running.master.workers.workers["w-1"]
        await running.request("check")
        await _comes_up(running, worker)
        guest = Guest(HONEST, builders=5) if what == "builders" else Guest(NONSENSE[what])
        factory = await _logs_in(worker, guest)
        await deferLater(reactor, 0.2, lambda: None)
        factory.disconnect()
        await running.until(lambda: worker.conn is None)

        found = await running.master.data.get(("workers", worker.workerid))
        assert len(json.dumps(found["workerinfo"])) < 100_000
        await running.request("check")
        await _comes_up(running, worker)
        factory = await _logs_in(worker, Guest(HONEST))
        await running.until(lambda: worker.conn is not None)
        assert worker.info.getProperty("version") == "4.3.0"
        factory.disconnect()


def test_what_an_honest_worker_says_is_kept() -> None:
    assert info.fit(HONEST) == HONEST
