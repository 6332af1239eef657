# SPDX-License-Identifier: GPL-2.0-only
"""The start of a VM that fails or is given up, and what that means to a build.

The start is replaced by its failure: that room vanishes between Buildbot's question and the start
cannot be provoked from outside at will. Real failures are in tests/integration.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import pytest_twisted
from buildbot.interfaces import (
    LatentWorkerCannotSubstantiate,
    LatentWorkerFailedToSubstantiate,
    LatentWorkerSubstantiatiationCancelled,
)
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import CancelledError, Deferred, succeed

from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    GivenUpError,
    HostError,
)
from latent_libvirt.master.workers import needs
from latent_libvirt.master.workers.password import SingleUsePassword
from latent_libvirt.master.workers.start import Start
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from latent_libvirt.metrics.instruments import Instruments

# Buildbot makes RETRY of the first and EXCEPTION of the second (process/build.py).
RETRY, EXCEPTION = LatentWorkerFailedToSubstantiate, LatentWorkerCannotSubstantiate

MEANINGS = {
    "no room": (CapacityError("no room"), RETRY, True),
    "a host that fails": (HostError("no answer"), RETRY, True),
    "a mistake": (ConfigurationError("no such label"), EXCEPTION, False),
}


@pytest.mark.parametrize("failure", MEANINGS)
@pytest_twisted.ensureDeferred
async def test_a_failure_retries_or_ends_the_build_and_rests_the_worker_or_not(
    monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    error, meaning, rests = MEANINGS[failure]
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")
    monkeypatch.setattr(Start, "_bring_up", failing_with(error))

    with pytest.raises(meaning, match=error.brief):
        await worker.start_instance(a_build())

    assert worker.is_suspect == rests


@pytest.mark.parametrize(
    ("error", "has_vm", "reason"),
    [
        (ConfigurationError("no such label"), False, "configuration"),
        (CapacityError("no room"), False, "capacity"),
        (GivenUpError("three VMs are enough"), False, "given_up"),
        (GivenUpError("three VMs are enough"), True, "given_up"),
        (HostError("no answer"), True, None),
        (CancelledError(), False, None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_fails_without_a_vm_is_counted_here_and_what_a_vm_does_elsewhere(
    monkeypatch: pytest.MonkeyPatch, *, error: Exception, has_vm: bool, reason: str | None
) -> None:
    pool = SimpleNamespace(events=Instruments("pool"))
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")
    monkeypatch.setattr(worker, "find_pool", lambda: pool)
    vm = SimpleNamespace(lease=SimpleNamespace(lost=[])) if has_vm else None
    monkeypatch.setattr(Start, "_bring_up", failing_with(error, vm))

    with pytest.raises(Exception):  # noqa: B017, PT011 - which one is told above
        await worker.start_instance(a_build())

    counted = {
        (sample.labels["host"], sample.labels["reason"]): sample.value
        for metric in pool.events.registry.collect()
        for sample in metric.samples
        if sample.name == "latent_libvirt_failures_total"
    }
    assert counted == ({} if reason is None else {("", reason): 1})


@pytest_twisted.ensureDeferred
async def test_a_build_that_was_stopped_before_it_asks_for_a_vm_gets_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")
    monkeypatch.setattr(Start, "_bring_up", failing_with(AssertionError("it starts a VM")))

    with pytest.raises(LatentWorkerSubstantiatiationCancelled):
        await worker.start_instance(a_build(stopped=True))


@pytest.mark.parametrize("was_suspect", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_start_that_is_given_up_ends_at_once_and_says_nothing_about_the_next_vm(
    monkeypatch: pytest.MonkeyPatch, *, was_suspect: bool
) -> None:
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")
    worker.is_suspect = was_suspect
    monkeypatch.setattr(Start, "_bring_up", lambda _start: Deferred())
    started = worker.start_instance(a_build())

    worker._give_up_start()

    with pytest.raises(LatentWorkerSubstantiatiationCancelled):
        await started
    assert worker.is_suspect == was_suspect


@pytest_twisted.ensureDeferred
async def test_to_give_up_a_start_that_has_ended_ends_nothing_that_follows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")
    monkeypatch.setattr(Start, "_bring_up", lambda _start: succeed(None))
    following: Deferred[None] = Deferred()
    start = Start(worker, a_build(), given=lambda _vm: None, password=SingleUsePassword())
    started = start.begin().addCallback(lambda _true: following)

    assert not start.is_under_way
    start.give_up()
    following.callback(None)

    await started


@pytest_twisted.ensureDeferred
async def test_a_password_is_known_as_that_of_its_vm_once_it_is_spent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def identity(*_whose: Any, password: str, port: None) -> str:
        return password

    monkeypatch.setattr(needs, "need_port", lambda _registration: None)
    worker: Any = SimpleNamespace(name="debian-12-1", conn=None, registration=None)
    password = SingleUsePassword()
    start = Start(worker, a_build(), given=lambda _vm: None, password=password)
    vm: Any = SimpleNamespace(
        set_properties=lambda _build: None, pool=SimpleNamespace(identity=identity)
    )
    machine: Any = "one on host a"

    used: Any = await start._identify(vm, machine)
    password.renew()

    spent = password.spent_by(UsernamePassword(b"debian-12-1", used.encode()))
    assert spent is not None
    assert spent.vm == "one on host a"


def a_build(*, stopped: bool = False) -> SimpleNamespace:
    """Return what a start asks of its build; a real one needs a master that runs."""
    return SimpleNamespace(requests=[], stopped=stopped)


def failing_with(error: Exception, vm: object = None) -> Callable[[Any], Awaitable[NoReturn]]:
    """Return what brings a VM up and fails, with a VM or before there is one."""

    async def bring_up(start: Any) -> NoReturn:
        start._vm = vm
        raise error

    return bring_up
