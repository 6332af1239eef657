# SPDX-License-Identifier: GPL-2.0-only
"""The commands that ask a running master, against one that answers what the test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from click.testing import CliRunner, Result
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from latent_libvirt.cli import drain as drain_module
from latent_libvirt.cli import main
from latent_libvirt.cli import status as status_module
from latent_libvirt.control.messages import (
    CancelHoldRequest,
    ControlError,
    DrainRequest,
    HoldRequest,
    Request,
    StatusRequest,
    SweepRequest,
    UndrainRequest,
)
from latent_libvirt.control.server import ControlServer
from latent_libvirt.status.answers import HostSweep, WillBeHeld
from latent_libvirt.status.hosts import HostStatus
from latent_libvirt.status.names import Target, VmNames
from latent_libvirt.status.pool import PoolStatus
from statuses import lease as a_lease

DEADLINE = 60.0

LEASE = a_lease(phase="boot", seconds_in_phase=2.0, seconds=3.0)
ALPHA = HostStatus("alpha", True, "", True, 4, 1, (), True)
POOL = PoolStatus("alpha:/srv/master", "pool", 3, 1, "", (ALPHA,), (), (LEASE,), (), 1, 0.0)
EMPTY = replace(POOL, hosts=(replace(ALPHA, used=0),), leases=())


class Master:
    """Answers the requests that come with the answers it was given, the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[Request] = []
        self._answers = list(answers)

    async def answer(self, request: Request) -> Any:
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


Serve = Callable[..., Any]


@pytest_twisted.async_yield_fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    servers = []

    async def start(*answers: Any) -> Master:
        master = Master(*answers)
        server = ControlServer(tmp_path / "pool.sock", master.answer, reactor=reactor)
        await server.start()
        servers.append(server)
        return master

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Deferred[Result]]:
    def run(*arguments: str) -> Deferred[Result]:
        command = [*arguments, "--socket", str(tmp_path)]
        return deferToThread(CliRunner().invoke, main, command).addTimeout(DEADLINE, reactor)

    return run


Run = Callable[..., Deferred[Result]]


class CtrlC:
    """Takes the place of a module's clock: the user looks so often, then interrupts."""

    def __init__(self, looks: int = 2) -> None:
        self.slept = 0
        self._looks = looks

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        if self.slept == self._looks:
            raise KeyboardInterrupt


@pytest_twisted.ensureDeferred
async def test_the_status_is_a_document_for_programs(serve: Serve, run: Run) -> None:
    master = await serve(POOL)

    result = await run("status", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads(json.dumps(asdict(POOL)))
    assert master.asked == [StatusRequest()]


@pytest_twisted.ensureDeferred
async def test_it_is_watched_until_ctrl_c(
    serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serve(POOL, EMPTY)
    monkeypatch.setattr(status_module, "time", CtrlC())

    result = await run("status", "--watch", "--json")

    assert result.exit_code == 0
    assert [json.loads(line)["leases"] == [] for line in result.stdout.splitlines()] == [
        False,
        True,
    ]


@pytest_twisted.ensureDeferred
async def test_a_watch_goes_on_with_the_master_that_comes_after(
    serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serve(POOL, ControlError("the master did not answer"), EMPTY)
    monkeypatch.setattr(status_module, "time", CtrlC(looks=4))

    result = await run("status", "--watch", "--json")

    shown = [json.loads(line) for line in result.stdout.splitlines()]
    assert [look.get("error", look.get("used")) for look in shown] == [
        1,
        "the master did not answer",
        1,
    ]


@pytest_twisted.ensureDeferred
async def test_what_is_watched_is_left_on_the_screen(
    serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serve(POOL, EMPTY)
    monkeypatch.setattr(status_module, "time", CtrlC())

    result = await run("status", "--watch")

    assert result.exit_code == 0
    assert "No VM." in result.stdout


@pytest_twisted.ensureDeferred
async def test_a_drain_is_waited_for_and_says_what_it_waits_for(
    serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "REFRESH", 0.01)
    master = await serve(Target("host", "alpha"), POOL, POOL, EMPTY)

    result = await run("drain", "alpha", "--wait")

    assert result.stdout == (
        "host alpha is drained: no new VM starts.\n"
        "1 VM to go:\n"
        "  debian-12-1: boot for 2 s\n"
        "host alpha is empty.\n"
    )
    assert master.asked[0] == DrainRequest("alpha")


@pytest.mark.parametrize("kind", ["host", "label"])
@pytest_twisted.ensureDeferred
async def test_a_drain_is_ended_where_it_is_said(serve: Serve, run: Run, kind: Any) -> None:
    master = await serve(Target(kind, "same"))

    result = await run("undrain", "same", f"--{kind}")

    assert result.stdout == f"{kind} same is not drained: VMs may start.\n"
    assert master.asked == [UndrainRequest("same", kind)]


@pytest_twisted.ensureDeferred
async def test_a_sweep_that_a_host_prevents_tells_the_rest_and_fails(
    serve: Serve, run: Run
) -> None:
    swept = (HostSweep("alpha", ("overlay a", "overlay b"), ""), HostSweep("beta", (), "down"))
    master = await serve(swept)

    result = await run("sweep", "--dry-run")

    assert result.exit_code == 1
    assert result.stdout == (
        "host alpha: would free overlay a\n"
        "host alpha: would free overlay b\n"
        "host beta: could not be swept: down\n"
    )
    assert master.asked == [SweepRequest(dry_run=True)]


@pytest_twisted.ensureDeferred
async def test_a_hold_says_who_asks_and_is_taken_back_by_the_same_command(
    serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "olga")
    names = VmNames("d", "alpha", "aa", "w")
    master = await serve(
        WillBeHeld(names, after_job="2h"), WillBeHeld(names, "for 3h, until then"), names
    )

    held = await run("hold", "w")
    for_long = await run("hold", "w", "--for", "3h")
    cancelled = await run("hold", "w", "--cancel")
    both = await run("hold", "w", "--cancel", "--for", "1h")

    assert master.asked == [
        HoldRequest("w", 7200.0, "olga"),
        HoldRequest("w", 10800.0, "olga"),
        CancelHoldRequest("w"),
    ]
    vm = "d@alpha (worker w, id aa)"
    assert held.stdout == f"{vm} will be held for 2h when its job has ended.\n"
    assert for_long.stdout == f"{vm} is held for 3h, until then.\n"
    assert cancelled.stdout == f"{vm} will not be held when its job has ended.\n"
    assert (both.exit_code, "--for has no meaning with --cancel" in both.stderr) == (2, True)


def test_without_a_master_there_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["status", "--socket", str(tmp_path)])

    assert result.exit_code == 1
    assert f"Error: no master with a pool runs in {tmp_path}" in result.stderr
    assert "name its base directory with --socket" in result.stderr
