# SPDX-License-Identifier: GPL-2.0-only
"""The pool never holds the reactor: 200 VMs start and end on ten hosts, and each call is timed.

The hosts are libvirt's own test driver, whose calls are quick but real, in the pool's own threads.
Nothing but the pool is on the reactor: Buildbot's database and its workers' protocol, which hold it
longer, are not there. In the place of Buildbot is a loop that asks what it asks.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

import reactor_monitor
from latent_libvirt.config import PoolConfig
from latent_libvirt.guest.protocol import Identity
from latent_libvirt.host.domains import domain_xml
from latent_libvirt.host.domains.machine import Machine
from latent_libvirt.host.guests.guest import Guest
from latent_libvirt.host.kvm.accelerator import Accelerator
from latent_libvirt.master.service.pool_service import PoolService
from latent_libvirt.pool.ways import WorkerPort
from latent_libvirt.stress.in_master.pool import NODE
from reactor_monitor import Monitor

reactor: Any = _reactor

HOSTS = 10
SLOTS = 20
VMS = HOSTS * SLOTS
LIVES = 2
"""How many VMs each worker has, one after the other."""

LABELS = 10
LIMIT = 0.010
PORT = WorkerPort(None, lambda: (1, None))
ROUNDS = 4
DEADLINE = 300.0


def _start(machine: Any, connection: libvirt.virConnect) -> None:
    """Start a domain without what the test driver does not have: a paused start, and QEMU."""
    xml = domain_xml.domain_xml(machine.spec()).replace('type="qemu"', 'type="test"', 1)
    xml = re.sub(r"<os>.*</os>", "<os><type>hvm</type></os>", xml)
    xml = re.sub(r"<devices>.*</devices>", "", xml)
    machine.guest.open_streams(connection.createXML(re.sub(r"<features>.*</features>", "", xml), 0))


class _Talk:
    """What a guest says: the test driver has none, so that it cannot say it through a stream."""

    @staticmethod
    def open_streams(guest: Guest, _domain: libvirt.virDomain) -> None:
        _later(lambda: guest._from_event_loop({"type": "waiting"}))

    @staticmethod
    def send(guest: Guest, _message: dict[str, Any]) -> None:
        _later(lambda: guest._from_event_loop({"type": "starting"}))


def _later(said: Any) -> None:
    """Say it from another thread than the reactor's, as libvirt's event loop does."""
    threading.Timer(0.02, said).start()


async def _emulated(_accelerator: Accelerator, *_args: object, **_more: object) -> str:
    return "qemu"


class _Buildbot:
    """Asks the pool what Buildbot asks it, for each worker that it is told to try."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.waiting = dict.fromkeys(map(str, range(VMS)), LIVES)
        self.busy: set[str] = set()
        self._to_try: dict[str, None] = {}
        self._trying = False
        self.done: Deferred[None] = Deferred()
        self.most = 0
        self.builders = {
            f"builder-{number}": SimpleNamespace(
                workers=[
                    SimpleNamespace(worker=self._worker(name))
                    for name in self.waiting
                    if int(name) % LABELS == number
                ]
            )
            for number in range(LABELS)
        }

    def _worker(self, name: str) -> Any:
        def may_start(may_have_room: Any) -> bool:
            return name not in self.busy and bool(may_have_room(label_of(name)))

        return SimpleNamespace(pool_name=self.pool.name, name=name, may_start=may_start)

    def maybeStartBuildsForBuilder(self, name: str) -> None:  # noqa: N802 - Buildbot's
        """Try the builder's workers; between two builds Buildbot waits for its database."""
        self._to_try.update({wfb.worker.name: None for wfb in self.builders[name].workers})
        if not self._trying:
            self._trying = True
            reactor.callLater(0, self._try_next)

    def _try_next(self) -> None:
        worker = next(iter(self._to_try))
        del self._to_try[worker]
        self._try(worker)
        self._trying = bool(self._to_try)
        if self._trying:
            reactor.callLater(0, self._try_next)

    def _try(self, worker: str) -> None:
        label = label_of(worker)
        if worker in self.busy or not self.waiting[worker]:
            return
        if self.pool.vm_pool.admission.may_have_room(label) and self.pool.vm_pool.admission.reserve(
            worker, label
        ):
            self.pool.vm_pool.admission.confirm_reservation(worker)
            self.waiting[worker] -= 1
            self.busy.add(worker)
            self.most = max(self.most, len(self.busy))
            Deferred.fromCoroutine(self._life(worker, label)).addErrback(self._failed)

    def _failed(self, why: Failure) -> None:
        if not self.done.called:
            self.done.errback(why)

    async def _life(self, worker: str, label: str) -> None:
        lease = self.pool.vm_pool.lease(worker, label, (int(worker),))

        async def identify(vm: Any) -> Identity:
            identity: Identity = await self.pool.vm_pool.identity(
                vm, worker, password="p", port=PORT
            )
            reactor.callLater(0.1, lease.attached)
            return identity

        await self.pool.vm_pool.bring_up(lease, identify)
        while self.most < VMS:
            await deferLater(reactor, 0.2, lambda: None)
        await self.pool.vm_pool.release(lease, graceful=False)
        self.busy.discard(worker)
        self.maybeStartBuildsForBuilder(f"builder-{int(worker) % LABELS}")
        if not self.busy and not any(self.waiting.values()):
            self.done.callback(None)


def label_of(worker: str) -> str:
    return f"label-{int(worker) % LABELS}"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give what the hosts are, and let their guests talk."""
    monkeypatch.setattr(Machine, "_start", _start)
    monkeypatch.setattr(Guest, "open_streams", _Talk.open_streams)
    monkeypatch.setattr(Guest, "send", _Talk.send)
    monkeypatch.setattr(Accelerator, "domain_type", _emulated)
    path = tmp_path / "node.xml"
    path.write_text(NODE)
    return path


def _pool(node: Path) -> Any:
    config = PoolConfig.model_validate(
        {
            "master": {"max_vms": VMS, "address": "127.0.0.1"},
            "hosts": {
                f"host-{number}": {
                    # The slashes make each a hypervisor of its own, from one file.
                    "uri": f"test://{'/' * number}{node}",
                    "slots": SLOTS,
                    "storage_pool": "builds",
                }
                for number in range(HOSTS)
            },
            "images": {"base": {"volume": "base.qcow2"}},
            "labels": {f"label-{number}": {"image": "base"} for number in range(LABELS)},
        }
    )
    made: Any = PoolService(config)
    made.parent = SimpleNamespace(
        master=SimpleNamespace(
            reactor=reactor,
            name="host:/master",
            basedir=str(node.parent),
            config=SimpleNamespace(services={}),
            service_manager=SimpleNamespace(namedServices={}),
            botmaster=None,
            data=SimpleNamespace(get=lambda _path: succeed([])),
        )
    )
    return made


@asynccontextmanager
async def _running(pool: Any) -> AsyncIterator[_Buildbot]:
    """Run *pool*, and what asks it, for the length of a ``with`` block."""
    buildbot = pool.master.botmaster = _Buildbot(pool)
    pool.running = True
    try:
        pool._apply(pool.config)
        yield buildbot
    finally:
        pool._maintenance.stop()
        await pool.vm_pool.hosts.stop()


async def _all_live_and_end(node: Path) -> Monitor:
    pool = _pool(node)
    with reactor_monitor.watching(reactor, package="latent_libvirt") as monitor:
        async with _running(pool) as buildbot:
            await buildbot.done.addTimeout(DEADLINE, reactor)
    sys.stdout.write(f"{monitor.report()}\n")
    assert buildbot.most == VMS
    return monitor


@pytest_twisted.ensureDeferred
async def test_two_hundred_vms_that_start_and_end_never_hold_the_reactor(node: Path) -> None:
    """Even CPU time grows when others use the processor's caches, or its other thread.

    What holds the reactor on its own does so in every round.
    """
    for _ in range(ROUNDS):
        monitor = await _all_live_and_end(node)
        assert monitor.may_wait == set()
        if monitor.longest < LIMIT:
            return
    pytest.fail(monitor.report())


@pytest_twisted.ensureDeferred
async def test_the_monitor_sees_what_holds_the_reactor_and_what_may_wait() -> None:
    with reactor_monitor.watching(reactor, package=__name__.split(".")[0]) as monitor:
        await deferLater(reactor, 0.0, _hold)
        await deferLater(reactor, 0.0, _wait)

    assert monitor.longest > LIMIT
    assert "_hold" in monitor.slowest[0].what
    assert any("time.sleep" in what and "_wait" in what for what in monitor.may_wait)


def _hold() -> None:
    ends = time.thread_time() + 3 * LIMIT
    while time.thread_time() < ends:
        pass


def _wait() -> None:
    time.sleep(0.001)
