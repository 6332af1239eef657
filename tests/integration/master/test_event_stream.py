# SPDX-License-Identifier: GPL-2.0-only
"""The event stream is for those who may read builds: a real master with a real web server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq
from buildbot.plugins import util
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from latent_libvirt import Pool
from master_in_process import Running, master_running

POOL = {
    "master": {"max_vms": 1, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 1, "storage_pool": "default-pool"}},
    "labels": {"debian": {"image": "debian-12"}},
}
# Buildbot 4.3 makes one for its web server.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:twisted\.web\.resource\._Unsafe:DeprecationWarning"
)

NOBODY = util.Authz(allowRules=[util.AnyEndpointMatcher(role="admins")])


def _with_rules(authz: Any) -> Any:
    def configure(pool: Pool) -> dict[str, Any]:
        names = pool.worker_names("debian")
        builder = util.BuilderConfig("check", workernames=names, factory=util.BuildFactory())
        www = {"port": "tcp:0:interface=127.0.0.1", "authz": authz}
        return {"workers": pool.workers(), "builders": [builder], "www": www}

    return configure


async def _ask(running: Running, path: str) -> tuple[int, str]:
    """Return the status and the first bytes of an answer, which may have no end."""
    www = running.master.www
    answer = await treq.get(f"http://127.0.0.1:{www.getPortnum()}/{path}", persistent=False)
    first: Deferred[bytes] = Deferred()

    def take(data: bytes) -> None:
        if not first.called:
            first.callback(data)
            answer.original._transport.abortConnection()

    answer.collect(take).addBoth(lambda _: None)
    return answer.code, (await first.addTimeout(60, reactor)).decode()


@pytest.mark.parametrize("path", ["sse/listen", "sse/builds/*/*", "sse/add/x/builds"])
@pytest_twisted.ensureDeferred
async def test_a_stranger_reads_no_events_where_the_rules_let_nobody_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, _with_rules(NOBODY)) as running:
        assert await _ask(running, path) == (403, "Forbidden")


@pytest_twisted.ensureDeferred
async def test_without_rules_everybody_reads_events_as_with_buildbot_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, _with_rules(util.Authz())) as running:
        status, begin = await _ask(running, "sse/listen/builds/*/*")

        assert (status, begin.splitlines()[0]) == (200, "event: handshake")
        assert await _ask(running, "sse/add/x/builds") == (400, "unknown uuid")
        assert await _ask(running, "sse/listen/builds?a=b") == (400, "unknown argument")
