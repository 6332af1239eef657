# SPDX-License-Identifier: GPL-2.0-only
"""Functions of a master.cfg that never answer, or that would end the program; a real master."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from latent_libvirt import Pool
from latent_libvirt.master import deadlines
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import Running, master_running, reactor

POOL: dict[str, Any] = {
    "master": {"max_vms": 8, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 8, "storage_pool": "default-pool"}},
    "labels": {"a": {"image": "debian-12"}, "b": {"image": "debian-12"}},
}
WORKERS = ["any-1", "any-2"]
STOPS_IN = 60.0


def never(*_args: object) -> Deferred[Any]:
    return Deferred()


def _raises(error: BaseException) -> Callable[..., Any]:
    def function(*_args: object) -> Any:
        raise error

    return function


FAULTS: dict[str, dict[str, Any]] = {
    f"{what} that {how}": {what: function}
    for what in ("canStartBuild", "nextWorker", "nextBuild")
    for how, function in (
        ("never answers", never),
        ("exits", _raises(SystemExit(3))),
        ("is cancelled", _raises(asyncio.CancelledError())),
    )
} | {
    "locks that never come": {"locks": util.renderer(never)},
    "locks that exit": {"locks": util.renderer(_raises(SystemExit(3)))},
    "locks that are none": {"locks": util.renderer(lambda _props: ["no lock"])},
}


def _label(properties: Any) -> Any:
    return never() if properties.getProperty("label") == "never" else properties["label"]


def _configuration(pool: Pool, sorter: Any = None) -> dict[str, Any]:
    common: dict[str, Any] = {
        "workernames": WORKERS,
        "factory": util.BuildFactory(),
        "collapseRequests": False,
    }
    faulty = [util.BuilderConfig(name, **common, **how) for name, how in FAULTS.items()]
    label = util.renderer(_label)
    return {
        "workers": [LibvirtLatentWorker(name, label=label) for name in WORKERS],
        "prioritizeBuilders": sorter or pool.prioritize_builders,
        "builders": [*faulty, util.BuilderConfig("good", **common)],
    }


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "DEADLINE", 0.3)
    monkeypatch.setattr(deadlines, "REST", 2.0)


async def _fail_to_start(running: Running) -> None:
    for builder in FAULTS:
        await running.request(builder, label="a")
    await running.request("good", label="never")
    await running.tried()


@pytest.mark.usefixtures("_impatient")
@pytest_twisted.ensureDeferred
async def test_functions_that_never_answer_or_exit_stop_no_other_builder_and_not_the_master(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, _configuration) as running:
        await _fail_to_start(running)
        await running.request("good", label="b", priority=1)
        await running.until(lambda: running.started)

        assert running.started == ["b"]
        stopping = reactor.seconds()
    assert reactor.seconds() - stopping < STOPS_IN


@pytest.mark.usefixtures("_impatient")
@pytest_twisted.ensureDeferred
async def test_a_builder_whose_function_is_too_late_is_not_asked_again_and_its_requests_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, _configuration) as running:
        monkeypatch.setattr(deadlines, "REST", 600.0)
        faulty = "canStartBuild that never answers"
        await running.request(faulty, label="a")
        await running.tried()
        asked = running.questions
        await running.tried()
        await running.pool.waiting.refresh()

        assert running.questions == asked
        (explanation,) = running.pool.waiting.explanations
        assert explanation.reason.text.startswith(f"canStartBuild of builder {faulty} has not")


def _breaks(how: str) -> Any:
    return {"never": never, "nothing": lambda *_: None, "exit": _raises(SystemExit(3))}[how]


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("how", ["never", "nothing", "exit"])
@pytest_twisted.ensureDeferred
async def test_builders_are_tried_in_any_order_if_nobody_sorts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with master_running(
        tmp_path, monkeypatch, POOL, lambda pool: _configuration(pool, _breaks(how))
    ) as running:
        await running.request("good", label="b")
        await running.until(lambda: running.started)


@pytest_twisted.ensureDeferred
async def test_an_answer_that_takes_a_moment_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def configure(pool: Pool) -> dict[str, Any]:
        configuration = _configuration(pool)
        configuration["builders"][-1].canStartBuild = lambda *_: deferLater(reactor, 0.2, bool, 1)
        return configuration

    async with master_running(tmp_path, monkeypatch, POOL, configure) as running:
        await running.request("good", label="b")
        await running.until(lambda: running.started)
