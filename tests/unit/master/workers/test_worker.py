# SPDX-License-Identifier: GPL-2.0-only
"""A worker that is asked to stop in good order, without a master.

Its builds and its VMs are in tests/integration.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from latent_libvirt.master.workers.worker import LibvirtLatentWorker


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
