# SPDX-License-Identifier: GPL-2.0-only
"""What an operator does with a running pool, whose VMs are on paper."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from latent_libvirt.control.commands import answer
from latent_libvirt.control.messages import (
    CancelThawRequest,
    ConsoleRequest,
    ControlError,
    EndRequest,
    ExportRequest,
    HoldRequest,
    ReleaseRequest,
    ThawRequest,
)
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import GuestError, HostError
from latent_libvirt.pool.holding.holds import Hold
from latent_libvirt.pool.lease import (
    Idle,
    Lease,
)
from latent_libvirt.status.answers import WillBeHeld
from latent_libvirt.status.names import BuildRef, Target, VmNames
from paper_pool import PaperPool, config_of, host_of, machine_of

ALPHA = Target("host", "alpha")


FACTS = Facts("host:/master", "", 1, 0.0)

T = TypeVar("T")


class Operated(PaperPool):
    """A pool, and what is in use again."""

    def __init__(self, **label: object) -> None:
        super().__init__(config_of(one={"max_vms": 4, **label}))
        self.undrained: list[Target] = []
        self.operations = Operations(self, facts=lambda: FACTS, undrained=self.undrained.append)

    def hold(self, name: str, seconds: float, user: str = "") -> WillBeHeld:
        return at_once(self.operations.holding.hold(name, seconds, user))

    def cancel_hold(self, name: str) -> VmNames:
        return at_once(self.operations.holding.cancel_hold(name))


def at_once(done: Coroutine[Any, Any, T]) -> T:
    """Return what that returns at once, since hosts on paper answer so."""
    found: list[T | Failure] = []
    Deferred.fromCoroutine(done).addBoth(found.append)
    (answer,) = found
    if isinstance(answer, Failure):
        answer.raiseException()
    assert not isinstance(answer, Failure)
    return answer


@pytest.fixture
def pool() -> Operated:
    return Operated()


@pytest.fixture
def lease(pool: Operated) -> Lease:
    lease = pool.building()
    lease.job = BuildRef("check", 7, "")
    return lease


def test_nothing_starts_on_a_host_that_is_drained_until_it_is_in_use_again(
    pool: Operated,
) -> None:
    before = pool.wakes
    pool.operations.drain(ALPHA)
    assert pool.wakes == before + 1
    hosts = [place.host for _ in range(4) if (place := pool.capacity.take("one")) is not None]
    assert hosts == ["beta", "beta"]

    pool.operations.undrain(ALPHA)

    assert pool.wakes > before + 1
    assert pool.undrained == [ALPHA]
    assert pool.capacity.room("one")


def test_what_runs_on_a_host_that_is_drained_goes_on(pool: Operated, lease: Lease) -> None:
    pool.operations.drain(Target("host", lease.vm.host.name))

    assert not host_of(lease.vm).discarded
    assert lease.vm.ending is None


def test_a_host_that_was_set_aside_is_tried_again_if_an_operator_says_so(pool: Operated) -> None:
    for _ in range(3):
        pool.host_backoff.note_failure("alpha", "one", HostError("it fails"))
    assert list(pool.host_backoff.hosts()) == ["alpha"]

    pool.operations.undrain(Target("label", "one"))
    assert pool.host_backoff.hosts(), "a label is no host"
    pool.operations.undrain(ALPHA)

    assert not pool.host_backoff.hosts()
    hosts = {place.host for _ in range(2) if (place := pool.capacity.take("one")) is not None}
    assert hosts == {"alpha", "beta"}


def test_a_label_in_use_again_forgives_no_host_of_the_same_name(pool: Operated) -> None:
    for _ in range(3):
        pool.host_backoff.note_failure("alpha", "one", HostError("it fails"))

    pool.operations.undrain(Target("label", "alpha"))

    assert list(pool.host_backoff.hosts()) == ["alpha"]


def test_all_vms_are_named_by_what_they_are_for(pool: Operated, lease: Lease) -> None:
    other = pool.building(worker="held")
    other.job, other.hold_for = BuildRef("docs", 1, ""), 60.0
    pool.given_back(other)
    pool.configure(config_of(one={"max_vms": 4, "spares": 1}))
    pool.tidy()

    names = {vm.names.vm_id: vm.names for vm in pool.operations.vms()}

    assert len(names) == 3
    assert (names[lease.vm.vm_id].worker, names[lease.vm.vm_id].job) == ("worker", lease.job)
    assert (names[other.vm.vm_id].worker, names[other.vm.vm_id].job) == ("held", other.job)
    (spare,) = pool.spares
    assert (names[spare.vm_id].worker, names[spare.vm_id].job) == ("", None)


def test_a_terminal_is_recorded_for_its_build_where_the_label_asks_for_it() -> None:
    pool = Operated(record_terminals=True)
    kept: list[tuple[BuildRef, bytes]] = []
    operations = Operations(
        pool,
        facts=lambda: FACTS,
        undrained=pool.undrained.append,
        recorded=lambda build, recording: kept.append((build, recording)),
    )
    lease = pool.building()
    assert [vm.recorded for vm in operations.vms()] == [None]  # there is no build yet
    lease.job = BuildRef("check", 7, "")
    (vm,) = operations.vms()
    assert vm.recorded is not None
    vm.recorded(b"what was seen")

    assert kept == [(lease.job, b"what was seen")]


def test_without_the_key_no_terminal_is_recorded(pool: Operated, lease: Lease) -> None:
    assert lease.job is not None
    assert [vm.recorded for vm in pool.operations.vms()] == [None]


@pytest.mark.parametrize("name", ["worker", "check/7"])
def test_a_vm_is_held_when_its_job_has_ended_by_any_of_its_names(
    pool: Operated, lease: Lease, name: str
) -> None:
    held = pool.hold(name, 60.0)
    assert (held.vm.worker, held.until) == ("worker", "")
    assert not list(pool.holds), "its job runs"

    pool.given_back(lease)

    (hold,) = pool.holds
    assert (hold.vm, hold.seconds_left) == (lease.vm, 60)


def test_a_hold_before_the_end_of_its_job_is_not_made_shorter(pool: Operated, lease: Lease) -> None:
    pool.hold("worker", 2 * 24 * 3600, "ann")
    with pytest.raises(ControlError, match=r"longer already, for 2d\n.*--cancel"):
        pool.hold("worker", 3600, "bob")
    assert lease.hold_for == 2 * 24 * 3600

    pool.hold("worker", 3 * 24 * 3600, "bob")
    assert lease.hold_for == 3 * 24 * 3600


def test_a_hold_is_shown_until_it_is_taken_back_and_the_vm_goes_with_its_job_then(
    pool: Operated, lease: Lease
) -> None:
    def shown() -> tuple[float | None, str]:
        (vm,) = pool.operations.status().leases
        return vm.hold_for, vm.hold_asked_by

    assert shown() == (None, "")
    pool.hold("worker", 60.0, "olga")
    pool.hold("check/7", 90.0, "otto")
    assert shown() == (90.0, "otto")

    names = pool.cancel_hold(lease.vm.vm_id)

    assert (names.worker, shown()) == ("worker", (None, ""))
    assert not host_of(lease.vm).discarded, "its job runs"
    pool.given_back(lease)
    assert list(pool.holds) == []
    assert host_of(lease.vm).discarded == [machine_of(lease.vm)]


def test_a_hold_that_nobody_has_asked_for_or_that_has_begun_cannot_be_taken_back(
    pool: Operated, lease: Lease
) -> None:
    with pytest.raises(ControlError, match="is not to be held"):
        pool.cancel_hold("worker")
    pool.hold("worker", 60.0)
    lease.rest(Idle(Deferred))
    with pytest.raises(ControlError, match="about to be held"):
        pool.cancel_hold("worker")
    assert lease.hold_for == 60.0

    pool.given_back(lease)

    with pytest.raises(ControlError, match="is held, and runs") as refused:
        pool.cancel_hold("worker")
    assert "'latent-libvirt release' deletes it." in str(refused.value)
    assert [hold.vm for hold in pool.holds] == [lease.vm]


@pytest_twisted.ensureDeferred
async def test_a_release_of_a_vm_that_will_be_held_says_how_to_take_that_back(
    pool: Operated, lease: Lease
) -> None:
    pool.hold("worker", 60.0)

    with pytest.raises(ControlError, match="runs for a job, and will be held") as refused:
        await pool.operations.holding.release("worker")

    assert "'latent-libvirt hold NAME --cancel'" in str(refused.value)
    assert not host_of(lease.vm).discarded


def test_a_vm_that_waits_for_another_job_is_held_at_once(pool: Operated, lease: Lease) -> None:
    ended: list[Lease] = []

    def end() -> Deferred[Any]:
        ended.append(lease)
        return pool.given_back(lease)

    lease.rest(Idle(end))

    pool.hold("worker", 60.0)

    assert ended == [lease]
    assert [hold.vm for hold in pool.holds] == [lease.vm]


@pytest_twisted.ensureDeferred
async def test_an_operator_who_names_no_vm_is_told_which_there_are(
    pool: Operated, lease: Lease
) -> None:
    with pytest.raises(ControlError, match="nobody"):
        pool.hold("nobody", 60.0)
    with pytest.raises(ControlError, match="worker"):
        await pool.operations.holding.release("worker")
    assert lease.hold_for is None


@pytest.fixture
def hold(pool: Operated, lease: Lease) -> Hold:
    """Give the hold of a VM whose job has ended, with a minute left."""
    lease.hold_for = 60.0
    pool.given_back(lease)
    (hold,) = pool.holds
    return hold


def test_a_held_vm_is_held_for_longer_from_then_on(pool: Operated, hold: Hold) -> None:
    pool.clock.advance(30)

    held = pool.hold("check/7", 3600.0)

    assert str(held) == (f"{held.vm} is held for 1h, until {hold.until:%Y-%m-%d %H:%M:%S} UTC.")
    assert hold.seconds_left == 3600
    assert machine_of(hold.vm).marks[-1] == {"until": hold.until.isoformat()}
    pool.clock.advance(3599)
    assert list(pool.holds) == [hold]
    pool.clock.advance(1)
    assert list(pool.holds) == []
    assert host_of(hold.vm).discarded == [machine_of(hold.vm)]


def test_a_held_vm_is_not_held_for_less_than_it_would_be(pool: Operated, hold: Hold) -> None:
    with pytest.raises(ControlError, match="is held for longer already, for 1m more") as refused:
        pool.hold("check/7", 60.0)

    assert "--for" in str(refused.value.resolution)
    assert hold.seconds_left == 60


def test_a_hold_whose_host_cannot_record_that_it_is_longer_keeps_its_deadline(
    pool: Operated, hold: Hold
) -> None:
    host_of(hold.vm).is_deaf = True

    with pytest.raises(HostError, match="does not answer"):
        pool.hold("check/7", 3600.0)

    assert hold.seconds_left == 60
    assert machine_of(hold.vm).record.until == hold.until.isoformat()


def test_a_hold_that_ends_while_its_host_is_asked_is_not_prolonged(
    pool: Operated, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def released(**_changes: str) -> None:
        await pool.holds.release(hold)

    monkeypatch.setattr(machine_of(hold.vm), "mark", released)

    with pytest.raises(ControlError, match="is not held any more"):
        pool.hold("check/7", 3600.0)

    pool.clock.advance(7200)
    assert list(pool.holds) == []


def test_a_vm_that_is_being_frozen_is_thawed_to_be_held_for_longer() -> None:
    pool = Operated(hold_on_failure="1h", freeze=True)
    lease = pool.building()
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))

    with pytest.raises(ControlError, match="is being frozen") as refused:
        pool.hold(lease.vm.vm_id, 7200.0)

    assert "latent-libvirt thaw NAME --for" in str(refused.value.resolution)


def test_a_held_vm_is_released_when_nothing_of_it_is_left(pool: Operated, lease: Lease) -> None:
    lease.hold_for = 60.0
    pool.given_back(lease)
    host_of(lease.vm).frees_at_once = False

    released = Deferred.fromCoroutine(pool.operations.holding.release("check/7"))
    assert pool.capacity.taken
    host_of(lease.vm).frees()

    assert released.called
    assert host_of(lease.vm).discarded == [machine_of(lease.vm)]
    assert not pool.capacity.taken


def test_a_vm_is_ended_whatever_it_does_and_its_build_loses_it(
    pool: Operated, lease: Lease
) -> None:
    loss = lease.ended()
    ended = Deferred.fromCoroutine(pool.operations.end("check/7"))

    assert ended.called
    failures: list[Failure] = []
    loss.addErrback(failures.append)
    assert "an operator has ended it" in str(failures[0].value)
    assert host_of(lease.vm).discarded == [machine_of(lease.vm)]
    assert not pool.capacity.taken


def test_a_vm_that_an_operator_ends_while_it_starts_counts_against_nobody() -> None:
    pool = Operated(launch_attempts=1)
    lease = pool.lease("worker", "one", (7,))
    lease.vm.is_ended_by_operator = True
    error = GuestError("an operator has ended it")

    pool.registry.note_failure(lease.vm, error)
    replaced = Deferred.fromCoroutine(pool.leases._replace(lease, error))

    assert replaced.called, "another VM, at once"
    pool.attempts.check((7,), allowed=1)
    assert pool.host_backoff.hosts() == {}
    (noted,) = pool.history.failures
    assert (noted.reason, noted.is_ended_by_operator) == (error.brief, True)


def test_a_held_vm_that_is_ended_is_held_no_longer(pool: Operated, lease: Lease) -> None:
    lease.hold_for = 60.0
    pool.given_back(lease)

    ended = Deferred.fromCoroutine(pool.operations.end(lease.vm.vm_id))

    assert ended.called
    assert list(pool.holds) == []
    assert not pool.capacity.taken


def test_a_spare_that_is_ended_is_no_spare_any_more() -> None:
    pool = Operated(spares=1)
    pool.tidy()
    (spare,) = pool.spares

    ended = Deferred.fromCoroutine(pool.operations.end(spare.vm_id))

    assert ended.called
    assert list(pool.spares) == []
    assert host_of(spare).discarded == [machine_of(spare)]


class _Noted:
    """Remembers what the audit log would have."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def __call__(self, facts: dict[str, Any], outcome: str) -> None:
        self.lines.append((facts["user"], facts["command"], outcome))


def _with_a_frozen_vm(*, export: bool = False) -> tuple[Operations, _Noted, str]:
    label = {"hold_on_failure": "1h", "freeze": True, "export": export}
    pool = PaperPool(config_of(hosts=("alpha",), one=label))
    lease = pool.building()
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    machine_of(lease.vm).goes_on()
    noted = _Noted()
    operations = Operations(pool, facts=lambda: FACTS, undrained=lambda _target: None, audit=noted)
    return operations, noted, lease.vm.vm_id


def _answer(operations: Operations, request: Any) -> None:
    failures: list[Failure] = []
    answered: Deferred[object] = Deferred.fromCoroutine(answer(operations, request))
    answered.addErrback(failures.append)
    failures[0].raiseException()


@pytest.mark.parametrize("ask", [EndRequest, ConsoleRequest, partial(HoldRequest, seconds=1.0)])
def test_a_frozen_vm_is_thawed_before_anything_else_is_done_with_it(
    ask: Callable[[str], Any],
) -> None:
    operations, _, vm_id = _with_a_frozen_vm()

    with pytest.raises(ControlError, match=f"{vm_id}.* is frozen") as refused:
        _answer(operations, ask(vm_id))

    assert "latent-libvirt thaw" in str(refused.value.resolution)


@pytest.mark.parametrize(
    "ask",
    [
        *(ConsoleRequest, EndRequest, ReleaseRequest, ThawRequest, CancelThawRequest),
        *(partial(ExportRequest, user="me"), partial(HoldRequest, seconds=1.0)),
    ],
)
@pytest.mark.parametrize("kind", ["runs", "held"])
def test_no_command_guesses_whether_a_frozen_or_another_vm_of_a_worker_is_meant(
    ask: Callable[[str], Any], kind: str
) -> None:
    label = {"max_vms": 4, "hold_on_failure": "1h"}
    pool = Operated(**label, freeze=True)
    frozen = pool.building(worker="w")
    Deferred.fromCoroutine(pool.release(frozen, graceful=True, failed=True))
    machine_of(frozen.vm).goes_on()
    other = pool.building(worker="w")
    other.job = BuildRef("check", 7, "")
    if kind == "held":
        pool.configure(config_of(one=label))
        other.hold_for = 60.0
        pool.given_back(other)
    before = len(host_of(other.vm).machines), other.hold_for

    with pytest.raises(ControlError, match="there are several VMs called 'w'") as refused:
        _answer(pool.operations, ask("w"))

    assert f"id {frozen.vm.vm_id}" in str(refused.value.details)
    assert f"id {other.vm.vm_id}" in str(refused.value.details)
    assert [vm.vm.vm_id for vm in pool.frozen] == [frozen.vm.vm_id]
    assert other.vm in pool.registry
    assert not host_of(other.vm).discarded
    assert (len(host_of(other.vm).machines), other.hold_for) == before


@pytest.mark.parametrize(
    "ask",
    [ThawRequest, partial(ExportRequest, user="me")],
)
def test_a_vm_that_is_held_is_said_to_be_held(ask: Callable[[str], Any]) -> None:
    pool = Operated()
    lease = pool.building()
    lease.hold_for = 60.0
    Deferred.fromCoroutine(pool.release(lease, graceful=True))
    assert [hold.vm for hold in pool.holds] == [lease.vm]

    with pytest.raises(ControlError, match=r"is held, and runs") as refused:
        _answer(pool.operations, ask(lease.vm.vm_id))

    assert "latent-libvirt shell" in str(refused.value.resolution)


@pytest.mark.parametrize("ask", [ThawRequest, ReleaseRequest])
def test_a_vm_of_a_job_is_said_to_be_one(ask: Callable[[str], Any]) -> None:
    pool = Operated()
    lease = pool.building()

    with pytest.raises(ControlError, match=r"runs for a job") as refused:
        _answer(pool.operations, ask(lease.vm.vm_id))

    assert "latent-libvirt hold" in str(refused.value.resolution)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_frozen_vm_is_exported_if_its_label_says_so_and_each_wish_is_noted(
    *, allowed: bool
) -> None:
    operations, noted, vm_id = _with_a_frozen_vm(export=allowed)

    if not allowed:
        with pytest.raises(ControlError, match="may not be exported"):
            operations.exports.begin(vm_id, "me")
    else:
        assert vm_id in operations.exports.begin(vm_id, "me").vm
    assert noted.lines == [("me", "export", "allowed" if allowed else "refused")]


@pytest.mark.parametrize("is_done", [True, False])
def test_the_audit_log_has_what_came_of_an_export(*, is_done: bool) -> None:
    operations, noted, vm_id = _with_a_frozen_vm(export=True)

    export = operations.exports.begin(vm_id, "me").export
    assert vm_id in operations.exports.end(export, is_done=is_done)

    outcome = "done" if is_done else "failed"
    assert noted.lines == [("me", "export", "allowed"), ("me", "export", outcome)]
    with pytest.raises(ControlError, match="does not know of the export"):
        operations.exports.end(export, is_done=True)
