# SPDX-License-Identifier: GPL-2.0-only
"""The page of a build whose VM comes up, or not: what is written there, and when.

The step and the VMs are stand-ins: a build's own step needs a master that runs, as it does in
tests/integration/test_failing_guests.py.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_twisted
from buildbot.interfaces import LatentWorkerCannotSubstantiate
from buildbot.process.build import Build
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from latent_libvirt.errors import ConfigurationError, GuestError, LatentLibvirtError
from latent_libvirt.master.workers import preparation
from latent_libvirt.pool.lease import Lease
from latent_libvirt.pool.timeline import Timeline


class Step:
    """Takes what is written."""

    stepid = 7

    def __init__(self, *, is_broken: bool = False) -> None:
        self.is_broken = is_broken
        self.lines: list[str] = []
        self.summaries: list[str] = []
        self.is_finished = False
        self.master = SimpleNamespace(data=SimpleNamespace(updates=self))

    def addLog(self, _name: str, _kind: str) -> Deferred[Any]:  # noqa: N802 - Buildbot's
        return fail(OSError("the disk is full")) if self.is_broken else succeed(self)

    def addCompleteLog(self, _name: str, text: str) -> Deferred[None]:  # noqa: N802
        return self.addContent(text)

    def addContent(self, text: str) -> Deferred[None]:  # noqa: N802
        self.lines += text.splitlines()
        return succeed(None)

    def finish(self) -> Deferred[None]:
        self.is_finished = True
        return succeed(None)

    def setBuildProperties(self, _buildid: int, _build: Any) -> Deferred[None]:  # noqa: N802
        return succeed(None)

    def setStepStateString(self, _stepid: int, summary: str) -> Deferred[None]:  # noqa: N802
        self.summaries.append(summary)
        return succeed(None)

    @property
    def text(self) -> str:
        """All lines of its log."""
        return "\n".join(self.lines)


class Start:
    """A start of VMs, step by step."""

    def __init__(self, step: Step | None = None) -> None:
        self.clock = Clock()
        self.step = step or Step()
        self.lease = Lease("worker", self.vm("alpha"), "cold")
        self.lease.timeline = Timeline(self.clock.seconds)
        self.properties: dict[str, Any] = {}
        self.build = SimpleNamespace(
            _preparation_step=self.step, buildid=1, setProperty=self.set_property
        )

    def set_property(self, name: str, value: Any, _source: str) -> None:
        self.properties[name] = value

    def vm(self, host: str) -> Any:
        """Return a VM on *host*."""
        named = SimpleNamespace(name=host)
        vm = SimpleNamespace(host=named, timeline=Timeline(self.clock.seconds))
        return cast("Any", _Named(vm, f"ll-1 on host {host}"))

    def lose(self, reason: str, next_host: str) -> None:
        """Lose the VM, and get another one."""
        self.lease.lost.append(self.lease.vm)
        self.lease.reasons.append(reason)
        self.lease.use(self.vm(next_host), "cold")

    def wait(self, seconds: int) -> None:
        self.clock.pump([1.0] * seconds)

    def shown(self) -> Any:
        return preparation.shown(self.build, self.lease, self.clock)


class _Named:
    def __init__(self, vm: Any, name: str) -> None:
        self.host, self.timeline, self._name = vm.host, vm.timeline, name

    def __str__(self) -> str:
        return self._name


def test_phases_are_shown_as_they_pass_and_for_how_long() -> None:
    start = Start()
    with start.shown():
        start.lease.vm.timeline.enter("boot")
        start.wait(12)
        assert start.step.summaries[-1] == "booting (10 s) on host alpha"
        assert "VM ll-1 on host alpha: booting" in start.step.text
        start.lease.vm.timeline.finish()
        start.lease.timeline.enter("attach")
        start.wait(1)
        assert start.step.summaries[-1] == "waiting for the worker to attach on host alpha"
        start.lease.timeline.enter("build")

    assert start.step.lines[-1].strip() == "13.0 s  boot 12.0 s, attach 1.0 s"
    assert start.step.is_finished


def test_the_phases_so_far_are_a_property_of_the_build_with_the_time_of_vms_that_were_lost() -> (
    None
):
    start = Start()
    with start.shown():
        start.lease.vm.timeline.enter("boot")
        start.wait(3)
        assert start.properties == {"vm_phases": {"boot": 0.0}}
        start.lose("it died", "beta")
        start.lease.vm.timeline.enter("clone")
        start.wait(2)
        start.lease.vm.timeline.enter("boot")
        start.wait(1)

    assert start.properties == {"vm_phases": {"lost": 3.0, "clone": 2.0, "boot": 0.0}}
    start.lease.vm.timeline.finish()
    assert preparation.rounded(start.lease) == {"lost": 3.0, "clone": 2.0, "boot": 1.0}


def test_it_writes_seldom_while_nothing_changes() -> None:
    start = Start()
    with start.shown():
        start.lease.vm.timeline.enter("boot")
        start.wait(60)

    assert len(start.step.summaries) <= 15


def test_a_start_that_nobody_could_watch_costs_no_writes() -> None:
    start = Start()
    with start.shown():
        start.lease.timeline.enter("assign")
        start.clock.pump([0.4, 0.4])
        start.lease.timeline.enter("build")

    assert (start.step.lines, start.step.summaries) == ([], [])
    start.wait(9)
    assert (start.step.lines, start.step.summaries) == ([], [])


def test_lost_vms_are_told_with_their_reason_and_the_next_host() -> None:
    start = Start()
    with start.shown():
        start.lose("host alpha: it powered itself off", "beta")
        start.lose("it powered\nitself off, too", "gamma")
        start.lease.vm.timeline.enter("boot")
        start.wait(1)

    assert "VM 1 lost on host alpha: it powered itself off; trying host beta" in start.step.text
    assert r"VM 2 lost on host beta: it powered\nitself off, too; trying host gamma" in (
        start.step.text
    )
    assert start.step.summaries[-1] == "booting on host gamma, after 2 lost VMs"


def test_a_loss_is_told_before_what_the_next_vm_does() -> None:
    start = Start()
    with start.shown():
        start.clock.pump([1.0, 1.0, 0.5])
        start.lose("it powered itself off", "beta")
        start.clock.pump([0.25])
        start.lease.vm.timeline.enter("boot")
        start.clock.pump([0.25, 1.0])

    assert [line.split()[0] for line in start.step.lines] == ["0.0", "2.5", "2.8", "4.0"]


def test_the_last_vm_that_is_lost_is_told_once() -> None:
    start = Start()
    start.lose("it powered itself off", "beta")
    start.lease.lost.append(start.lease.vm)
    start.lease.reasons.append("it powered itself off, too")

    with pytest.raises(GuestError), start.shown():
        raise GuestError("it powered itself off, too")

    assert start.step.text.count("lost on host") == 1
    assert start.step.lines[-1] == "no VM: it powered itself off, too"


def test_the_phase_that_a_lost_vm_was_in_is_not_that_of_the_next() -> None:
    start = Start()
    start.lease.timeline.enter("attach")
    start.lose("it did not attach", "beta")

    start.lease.vm.timeline.enter("boot")

    assert start.lease.current_phase[0] == "boot"


def test_the_seconds_of_a_vm_are_not_those_of_one_that_was_lost() -> None:
    start = Start()
    start.lease.timeline.enter("attach")
    start.wait(60)
    start.lose("it did not attach", "beta")

    start.lease.timeline.enter("assign")
    start.wait(1)
    start.lease.timeline.enter("attach")
    start.wait(2)
    start.lease.timeline.enter("build")

    assert start.lease.phases == {"assign": 1.0, "attach": 2.0}


def test_a_phase_is_told_with_the_time_of_its_beginning() -> None:
    start = Start()
    with start.shown():
        start.wait(1)
        start.lease.vm.timeline.enter("boot")
        start.clock.pump([0.9, 0.4])
        assert start.step.lines[-1].strip() == "1.0 s  VM ll-1 on host alpha: booting"


def test_a_failure_is_told_with_the_phases_and_all_that_is_known() -> None:
    start = Start()
    start.lease.vm.timeline.enter("boot")
    start.wait(20)

    with pytest.raises(GuestError), start.shown():
        raise GuestError("it died", details="its console", resolution="look there")

    assert "boot 20.0 s (it did not end)" in start.step.text
    assert start.step.text.endswith("no VM: it died\nits console\nlook there")
    assert start.step.is_finished


def test_a_failure_leaves_the_seconds_of_its_phases_which_its_log_has() -> None:
    start = Start()
    start.lease.vm.timeline.enter("prepare")
    start.clock.advance(0.26)
    with pytest.raises(ConfigurationError), start.shown():
        raise ConfigurationError("there is no image")

    assert "prepare 0.3 s (it did not end)" in start.step.text
    assert start.properties == {preparation.PHASES: {"prepare": 0.26}}

    start = Start()
    with pytest.raises(ConfigurationError), start.shown():
        raise ConfigurationError("there is no image")
    assert start.properties == {preparation.PHASES: {"prepare": 0.01}}


def test_a_page_that_cannot_be_written_stops_no_vm() -> None:
    start = Start(Step(is_broken=True))
    with start.shown():
        start.wait(2)

    start = Start()
    start.build._preparation_step = cast("Any", None)
    with start.shown():
        pass


@pytest.fixture
def wrapped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Wrap methods that note how they are called; Buildbot's own are back after the test."""
    calls: list[tuple[Any, ...]] = []

    def note(*arguments: Any) -> Deferred[None]:
        calls.append(arguments[1:])
        return succeed(None)

    for name in preparation.RELIED_ON:
        monkeypatch.setattr(Build, name, note)
    monkeypatch.setattr(Build, "_latent_libvirt_pages", False, raising=False)
    preparation.install()
    preparation.install()
    return calls


def a_build(step: Step, *, stopped: bool = False, pool: str | None = "pool") -> Any:
    worker = SimpleNamespace() if pool is None else SimpleNamespace(pool_name=pool)
    build = Build.__new__(Build)
    build.__dict__ |= {
        "_preparation_step": step,
        "master": step.master,
        "stopped": stopped,
        "workerforbuilder": SimpleNamespace(worker=worker),
    }
    return build


def cannot_substantiate(error: LatentLibvirtError) -> Failure:
    raised = LatentWorkerCannotSubstantiate(str(error))
    raised.__cause__ = error
    return Failure(raised)  # type: ignore[no-untyped-call]


@pytest_twisted.ensureDeferred
async def test_the_reason_is_the_summary_of_step_and_build_and_there_is_no_traceback(
    wrapped: list[tuple[Any, ...]],
) -> None:
    step = Step()
    build = a_build(step)
    why = cannot_substantiate(ConfigurationError("the build\nhas no label", resolution="Set it."))

    await build.buildPreparationFailure(why, "worker_prepare")
    build.buildFinished(["worker", "cannot", "substantiate"], 4)

    summary = r"no VM: the build\nhas no label"
    assert wrapped == [(summary, "worker_prepare"), ([summary], 4)]
    assert step.summaries == [summary]
    assert step.lines == ["no VM: the build", "has no label", "Set it."]


@pytest_twisted.ensureDeferred
async def test_a_worker_that_is_lost_before_the_first_step_is_told_without_a_traceback(
    wrapped: list[tuple[Any, ...]],
) -> None:
    step = Step()

    await a_build(step).buildPreparationFailure(False, "worker_ping")

    assert wrapped == [("no VM: the VM was lost before the first step", "worker_ping")]


@pytest_twisted.ensureDeferred
async def test_a_cancelled_start_says_what_it_was_at(wrapped: list[tuple[Any, ...]]) -> None:
    start = Start()
    build = a_build(start.step, stopped=True)
    start.lease.vm.timeline.enter("boot")

    with pytest.raises(CancelledError), preparation.shown(build, start.lease, start.clock):
        raise CancelledError
    start.lease.timeline.enter("tear-down")

    await build.buildPreparationFailure(Failure(CancelledError()), "worker_prepare")  # type: ignore[no-untyped-call]

    assert len(wrapped) == 1, "Buildbot ends the step"
    assert start.step.summaries[-1] == "cancelled while booting on host alpha"


@pytest.mark.parametrize(
    ("stopped", "pool", "state"),
    [(True, "pool", "worker_prepare"), (False, None, "worker_ping"), (False, "pool", "setupBuild")],
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_about_a_vm_of_ours_is_left_to_buildbot(
    wrapped: list[tuple[Any, ...]], *, stopped: bool, pool: str | None, state: str
) -> None:
    step = Step()
    why = Failure(RuntimeError("a mistake"))  # type: ignore[no-untyped-call]
    build = a_build(step, stopped=stopped, pool=pool)

    await build.buildPreparationFailure(why, state)
    build.buildFinished(["as", "ever"], 4)

    assert wrapped == [(why, state), (["as", "ever"], 4)]
    assert step.lines == []
