# SPDX-License-Identifier: GPL-2.0-only
"""What a failed start means to a build.

The start is replaced by its failure: that room vanishes between Buildbot's question and the start
cannot be provoked from outside at will. Real failures are in tests/integration.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import NoReturn

import pytest
import pytest_twisted
from buildbot.interfaces import (
    LatentWorkerCannotSubstantiate,
    LatentWorkerFailedToSubstantiate,
    LatentWorkerSubstantiatiationCancelled,
)
from twisted.internet.defer import CancelledError

from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    GivenUpError,
    HostError,
)
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
    monkeypatch.setattr(worker, "_bring_up", failing_with(error))

    with pytest.raises(meaning, match=error.brief):
        await worker.start_instance(a_build())

    assert worker._suspect == rests


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
    monkeypatch.setattr(worker, "_bring_up", failing_with(error))
    if has_vm:
        monkeypatch.setattr(worker, "_vm", SimpleNamespace(lease=SimpleNamespace(lost=[])))

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
    monkeypatch.setattr(worker, "_bring_up", failing_with(AssertionError("it starts a VM")))

    with pytest.raises(LatentWorkerSubstantiatiationCancelled):
        await worker.start_instance(a_build(stopped=True))


@pytest.mark.parametrize("has_vm", [False, True])
def test_a_graceful_stop_that_a_guest_or_a_user_asks_for_ends_with_the_vm(
    monkeypatch: pytest.MonkeyPatch, *, has_vm: bool
) -> None:
    worker = LibvirtLatentWorker("debian-12-1", label="debian-12")
    told: list[bool] = []
    monkeypatch.setattr(worker, "_update_graceful", lambda: told.append(worker._graceful))
    if has_vm:
        monkeypatch.setattr(worker, "_vm", SimpleNamespace(is_idle=False))

    worker.shutdownRequested()
    worker._is_shut_down()

    assert told == ([True, False] if has_vm else [False])


def a_build(*, stopped: bool = False) -> SimpleNamespace:
    """Return what a start asks of its build; a real one needs a master that runs."""
    return SimpleNamespace(requests=[], stopped=stopped)


def failing_with(error: Exception) -> Callable[[object], Awaitable[NoReturn]]:
    async def bring_up(_build: object) -> NoReturn:
        raise error

    return bring_up
