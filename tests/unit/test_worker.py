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
)

from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    HostError,
    LatentLibvirtError,
)
from latent_libvirt.worker import LibvirtLatentWorker

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
        await worker.start_instance(SimpleNamespace(requests=[]))

    assert worker._suspect == rests


def failing_with(error: LatentLibvirtError) -> Callable[[object], Awaitable[NoReturn]]:
    async def bring_up(_build: object) -> NoReturn:
        raise error

    return bring_up
