# SPDX-License-Identifier: GPL-2.0-only
"""Workers of a master that listens for none; a real master."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util

from latent_libvirt import Pool
from latent_libvirt.endpoints import NOWHERE
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.master.workers import portless
from latent_libvirt.master.workers.needs import need_port
from master_in_process import Running, master_running

POOL: dict[str, Any] = {
    "master": {"max_vms": 2, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 2, "storage_pool": "x"}},
    "labels": {"a": {"image": "debian-12"}},
}
LOOPBACK = {"pb": {"port": "tcp:0:interface=127.0.0.1"}}


def _portless(pool: Pool) -> dict[str, Any]:
    factory = util.BuildFactory()
    builder = util.BuilderConfig("first", workernames=pool.worker_names("a"), factory=factory)
    return {"workers": pool.workers(), "builders": [builder], "protocols": {"null": {}}}


def _workers(found: Running) -> list[Any]:
    return list(found.master.workers.workers.values())


@pytest_twisted.ensureDeferred
async def test_a_master_without_a_port_has_workers_that_may_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, _portless) as found:
        (only,) = found.master.pbmanager.dispatchers

        assert only == NOWHERE
        assert {worker.registration.pbReg.portstr for worker in _workers(found)} == {NOWHERE}
        port = need_port(_workers(found)[0].registration)
        assert port.factory.buildProtocol(None) is not None
        with pytest.raises(ConfigurationError, match="connection: channel in the label"):
            port.address()
        await found.request("first")
        await found.until(lambda: found.started == ["a"])

    assert found.master.pbmanager.dispatchers == {}


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_configured_later_takes_the_workers_and_one_that_goes_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, _portless) as found:
        dispatchers = found.master.pbmanager.dispatchers
        for protocols, wanted in ((LOOPBACK, LOOPBACK["pb"]["port"]), ({"null": {}}, NOWHERE)):
            found.master.config.protocols = protocols
            for worker in _workers(found):
                await worker.registration.update(worker, found.master.config)
                await portless.register(worker, protocols)

            assert list(dispatchers) == [wanted]
            assert {worker.registration.pbReg.portstr for worker in _workers(found)} == {wanted}
