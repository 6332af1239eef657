# SPDX-License-Identifier: GPL-2.0-only
"""A frozen VM comes back on another host, in the slot of the number that it had, within all caps.

The VMs are on paper; real ones are in tests/integration/host/test_moving.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from latent_libvirt.config import PoolConfig
from latent_libvirt.control.commands import answer
from latent_libvirt.control.messages import CancelThawRequest, ControlError, ThawRequest
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import ConfigurationError, HostError, LatentLibvirtError
from latent_libvirt.pool.holding.frozen import Frozen
from latent_libvirt.status.names import Target
from latent_libvirt.status.vms import FrozenStatus
from paper_pool import PaperMachine, PaperPool, config_of, machine_of

FREEZE = {"hold_on_failure": "1h", "freeze": True}


def config(**changes: dict[str, object]) -> PoolConfig:
    """Return a configuration of two hosts; *changes* are of the label and of beta."""
    plain = config_of(slots=1, one=FREEZE).model_dump(mode="json")
    plain["labels"]["one"].update(changes.get("label", {}))
    plain["hosts"]["beta"].update(changes.get("beta", {}))
    return PoolConfig.model_validate(plain)


class Pool(PaperPool):
    """A pool with a VM that is frozen on alpha."""

    def __init__(self) -> None:
        super().__init__(config(label={"hosts": ["alpha"]}))
        lease = self.building()
        Deferred.fromCoroutine(self.release(lease, graceful=True, failed=True))
        machine_of(lease.vm).goes_on()
        self.configure(config())
        (self.vm,) = self.frozen
        self.errors: list[LatentLibvirtError] = []
        self.results: list[object] = []

    def moves(self) -> None:
        """Ask for the VM to go on on beta."""
        beta: Any = self.paper_hosts["beta"]
        thawed = Deferred.fromCoroutine(self.thaws.thaw(self.vm, host=beta))
        thawed.addCallbacks(self.results.append, lambda failure: self.errors.append(failure.value))

    @property
    def machine(self) -> PaperMachine:
        """The newest VM of beta."""
        return self.paper_hosts["beta"].machines[-1]

    @property
    def status(self) -> tuple[FrozenStatus, ...]:
        return self.operations.status().frozen

    @property
    def operations(self) -> Operations:
        return Operations(self, facts=lambda: Facts("m", "", 1, 0.0), undrained=lambda _: None)

    def waits_for(self) -> str:
        """Return what the VM waits for, as status shows it."""
        (shown,) = self.status
        assert shown.is_waiting
        return shown.waits_for

    def taken(self) -> list[tuple[str, int]]:
        return [(each.host, each.slot) for each in self.capacity.taken]

    def frozen_on(self, host: str) -> list[str]:
        return [each.vm_id for each in self.paper_hosts[host].frozen]


@pytest.fixture
def pool() -> Pool:
    return Pool()


def test_it_takes_room_of_the_other_host_and_is_frozen_on_its_own_until_it_runs(
    pool: Pool,
) -> None:
    pool.moves()

    assert (pool.machine.step, pool.taken()) == ("copy", [("beta", 1)])
    assert pool.frozen_on("alpha") == [pool.vm.vm.vm_id]
    (shown,) = pool.status
    assert (shown.host, shown.target, shown.is_waiting) == ("alpha", "beta", False)
    pool.machine.goes_on()
    assert pool.machine.step == "thaw"
    assert pool.machine.record.saved == ""
    pool.machine.goes_on()

    (hold,) = pool.holds
    assert (hold.vm.host.name, hold.vm.vm_id) == ("beta", pool.vm.vm.vm_id)
    assert pool.results == [hold]
    assert pool.status == ()
    assert pool.taken() == [("beta", 1)]


def test_what_was_saved_on_one_host_is_on_no_other(pool: Pool) -> None:
    record = replace(pool.vm.vm.record, saved="the state")
    pool.vm = Frozen(pool.vm.host, replace(pool.vm.vm, record=record))

    pool.moves()

    assert pool.machine.record.saved == ""


def test_no_slot_waits_for_a_vm_whose_own_host_is_away(pool: Pool) -> None:
    alpha = pool.allocator.take("one", avoid=("beta",))
    assert alpha is not None
    pool.building(worker="other")
    pool.moves()
    assert pool.thaws.reserved() == {"beta": frozenset({1})}

    pool.paper_hosts["alpha"].usable = False

    assert pool.thaws.reserved() == {}
    (shown,) = pool.status
    assert shown.host == "alpha"


def test_its_own_host_may_be_drained(pool: Pool) -> None:
    pool.capacity.drained |= {Target("host", "alpha")}
    pool.hosts_changed()

    pool.moves()

    assert pool.machine.step == "copy"


def test_it_waits_for_the_slot_of_the_other_host_which_nothing_else_gets(pool: Pool) -> None:
    alpha = pool.allocator.take("one", avoid=("beta",))
    assert alpha is not None
    other = pool.building(worker="other")
    assert other.vm.host.name == "beta"

    pool.moves()

    assert pool.results == [None]
    assert pool.thaws.reserved() == {"beta": frozenset({1})}
    (shown,) = pool.status
    assert (shown.target, shown.is_waiting) == ("beta", True)
    pool.allocator.give_back(alpha)
    pool.given_back(other)
    assert (pool.machine.step, pool.machine.record.vm_id) == ("copy", pool.vm.vm.vm_id)


@pytest.mark.parametrize(
    ("hosts", "of_label", "why"),
    [
        (("alpha",), {}, "host beta is not in the pool's YAML file any more. Put the host back"),
        (("alpha", "beta"), {"hosts": ["alpha"]}, "does not use host beta. Put the host into"),
    ],
)
def test_it_waits_no_more_for_a_host_that_it_can_never_get(
    pool: Pool, hosts: tuple[str, ...], of_label: dict[str, object], why: str
) -> None:
    alpha = pool.allocator.take("one", avoid=("beta",))
    other = pool.building(worker="other")
    pool.moves()
    assert [vm.is_waiting for vm in pool.status] == [True]

    pool.configure(config_of(hosts=hosts, slots=1, one={**FREEZE, **of_label}))

    (shown,) = pool.status
    assert (shown.host, shown.is_waiting, shown.target, shown.trouble) == ("alpha", False, "", "")
    assert why in shown.given_up
    assert shown.given_up.endswith("Then thaw it again.")
    pool.configure(config())
    pool.given_back(other)
    assert alpha is not None
    assert pool.frozen_on("alpha") == [pool.vm.vm.vm_id]
    assert pool.paper_hosts["beta"].machines[-1].step != "copy"

    pool.moves()
    assert (pool.machine.step, [vm.given_up for vm in pool.status]) == ("copy", [""])


@pytest.mark.parametrize("step", ["copy", "thaw"])
def test_one_that_has_moved_is_no_frozen_vm_of_a_host_that_left_on_the_way(
    pool: Pool, step: str
) -> None:
    pool.frozen_notes.look()
    pool.moves()
    while pool.machine.step != step:
        pool.machine.goes_on()

    pool.configure(config_of(hosts=("beta",), slots=1, one=FREEZE))
    assert pool.status == ()
    while pool.machine.is_busy:
        pool.machine.goes_on()

    (hold,) = pool.holds
    assert hold.vm.host.name == "beta"
    assert pool.status == ()
    pool.holds.release(hold)
    pool.frozen_notes.look()
    assert (list(pool.holds), pool.status) == ([], ())
    assert json.loads(pool.notes.saved) == []


def test_one_that_has_not_moved_is_still_on_the_host_that_left_on_the_way(pool: Pool) -> None:
    pool.moves()
    pool.configure(config_of(hosts=("beta",), slots=1, one=FREEZE))
    pool.frozen_notes.look()

    pool.machine.fails(HostError("alpha is gone"))

    (shown,) = pool.status
    assert "Host alpha is not in the pool's YAML file any more" in shown.trouble


def test_one_that_goes_on_is_no_frozen_vm_of_a_host_that_its_next_master_does_not_have(
    pool: Pool,
) -> None:
    pool.frozen_notes.look()
    noted = pool.notes.saved
    pool.moves()
    pool.machine.goes_on()
    pool.machine.goes_on()
    assert json.loads(pool.notes.saved) == []
    pool.notes.saved = noted  # as a master leaves it that is killed now

    pool.configure(config_of(hosts=("beta",), slots=1, one=FREEZE))
    Deferred.fromCoroutine(pool.frozen_notes.load())
    assert pool.status == ()
    pool.frozen_notes.look()

    assert json.loads(pool.notes.saved) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"label": {"hosts": ["alpha"]}}, "does not use host beta"),
        ({"beta": {"memory": "1GiB"}}, "more than the host may give out"),
    ],
)
def test_it_goes_to_no_host_that_its_label_does_not_use_or_that_is_too_small(
    pool: Pool, changes: dict[str, dict[str, object]], why: str
) -> None:
    large: dict[str, dict[str, object]] = {"label": {"memory": "2GiB"}}
    pool.configure(config(**large | changes))
    if "beta" in changes:
        pool.vm = Frozen(pool.vm.host, _large(pool.vm))

    pool.moves()

    (error,) = pool.errors
    assert isinstance(error, ConfigurationError)
    assert why in str(error)
    assert pool.frozen_on("alpha") == [pool.vm.vm.vm_id]


def _large(frozen: Frozen) -> Any:
    return replace(frozen.vm, memory=8 << 30)


def test_it_goes_to_no_host_without_a_slot_of_its_number(pool: Pool) -> None:
    vm = replace(pool.vm.vm, name=replace(pool.vm.vm.name, slot=2))
    pool.vm = Frozen(pool.vm.host, vm)

    pool.moves()

    assert "host beta has no slot 2" in str(pool.errors[0])


class CutOff(Pool):
    """A pool with a VM that is frozen on alpha, and may run on beta.

    :param machine: the UUID of beta then.
    """

    def __init__(self, machine: str = "uuid-of-beta") -> None:
        super().__init__()
        record = replace(self.vm.vm.record, moved_to=f"{machine} beta")
        self.paper_hosts["alpha"].frozen.add(replace(self.vm.vm, record=record))
        (self.vm,) = self.frozen

    def asks_to_thaw(self) -> str:
        """Ask for it to go on on alpha; return why not, which status shows as well."""
        why: list[str] = []
        thawed: Deferred[object] = Deferred.fromCoroutine(self.thaws.thaw(self.vm))
        thawed.addErrback(lambda failure: why.append(str(failure.value)))
        if not why:
            return ""
        brief = why[0].partition("thawed: ")[2].split("\n")[0]
        assert [brief in vm.given_up for vm in self.status] == [True]
        return why[0]


def test_a_vm_that_may_run_elsewhere_is_not_thawed_before_that_host_was_asked() -> None:
    pool = CutOff()
    beta = pool.paper_hosts["beta"]
    beta.usable, beta.trouble = False, "no route to host"

    why = pool.asks_to_thaw()

    for part in ("may run on host beta", "no route to host", "See to host beta", "export"):
        assert part in why
    assert not pool.taken()
    beta.usable = True
    assert pool.asks_to_thaw() == ""
    machine = pool.paper_hosts["alpha"].machines[-1]
    assert (machine.step, machine.record.moved_to) == ("thaw", "")


def test_a_domain_that_nobody_has_adopted_may_be_it() -> None:
    pool = CutOff()
    pool.paper_hosts["beta"].blocked_slots = frozenset({1})

    assert "See what domain has slot 1 there" in pool.asks_to_thaw()


def test_a_host_that_is_another_machine_cannot_be_asked() -> None:
    why = CutOff("its-predecessor").asks_to_thaw()

    assert "host beta" in why
    assert "Give the machine with the UUID its-predecessor another name" in why


def test_a_host_that_left_cannot_be_asked() -> None:
    pool = CutOff()
    pool.configure(config_of(hosts=("alpha",), slots=1, one=FREEZE))

    assert "Put host beta back there" in pool.asks_to_thaw()


def test_it_is_said_where_its_files_are_if_its_own_host_cannot_be_asked(pool: Pool) -> None:
    alpha = pool.paper_hosts["alpha"]
    alpha.usable, alpha.trouble = False, "no route to host"

    pool.moves()

    for part in ("on host beta", "are on host alpha", "no route to host", "thaw FILE --uri"):
        assert part in str(pool.errors[0])
    assert not pool.taken()


@pytest.mark.parametrize("step", ["copy", "thaw"])
def test_what_fails_leaves_it_frozen_where_it_was_and_takes_no_room(pool: Pool, step: str) -> None:
    pool.moves()
    while pool.machine.step != step:
        pool.machine.goes_on()

    pool.machine.fails(HostError("the disk is full"))

    assert "the disk is full" in str(pool.errors[0])
    assert pool.frozen_on("alpha") == [pool.vm.vm.vm_id]
    assert pool.paper_hosts["beta"].left == [pool.machine]
    assert not pool.taken()
    assert [vm.target for vm in pool.status] == [""]


@pytest.mark.parametrize("step", ["copy", "thaw"])
def test_one_that_is_released_on_its_way_is_gone(pool: Pool, step: str) -> None:
    pool.moves()
    while pool.machine.step != step:
        pool.machine.goes_on()

    released = Deferred.fromCoroutine(pool.thaws.release(pool.vm))
    pool.clock.advance(0)

    assert released.called
    assert not pool.taken()
    assert pool.status == ()
    assert pool.frozen_on("alpha") == []
    (error,) = pool.errors
    assert ("the copying was given up" in str(error)) == (step == "copy")


@pytest.mark.parametrize("keep", [True, False])
def test_a_master_that_stops_copies_it_no_further(pool: Pool, *, keep: bool) -> None:
    pool.moves()

    stopped = Deferred.fromCoroutine(pool.stop(keep=keep))
    pool.clock.advance(0)

    assert stopped.called
    assert "was given up" in str(pool.errors[0])
    assert pool.frozen_on("alpha") == ([pool.vm.vm.vm_id] if keep else [])
    assert not pool.taken()


def test_what_it_has_left_on_its_own_host_is_no_frozen_vm(pool: Pool) -> None:
    left = pool.vm.vm
    pool.moves()
    pool.machine.goes_on()
    pool.machine.goes_on()

    pool.paper_hosts["alpha"].frozen.add(left)  # as a master sees it that was killed before

    assert pool.status == ()


def test_it_says_what_it_waits_for(pool: Pool) -> None:
    beta = pool.paper_hosts["beta"]
    beta.usable, beta.trouble = False, "no route to host"
    pool.moves()
    whys = [pool.waits_for()]
    beta.usable = True
    beta.blocked_slots = frozenset({1})
    whys.append(pool.waits_for())
    pool.capacity.drained |= {Target("host", "beta")}
    whys.append(pool.waits_for())

    assert whys == [
        "host beta is not usable: no route to host",
        "a domain that is no VM of the pool has slot 1 of host beta",
        "host beta is drained ('latent-libvirt undrain' ends that)",
    ]
    assert pool.waits_for() in _asked(pool, ThawRequest(pool.vm.vm.vm_id, None, "beta")).waits_for


def test_one_that_waits_for_a_slot_says_which(pool: Pool) -> None:
    alpha = pool.allocator.take("one", avoid=("beta",))
    assert alpha is not None
    pool.building(worker="other")
    pool.moves()

    assert pool.waits_for() == "another VM has slot 1 of host beta"


def test_one_that_waits_can_be_cancelled(pool: Pool) -> None:
    pool.capacity.drained |= {Target("host", "beta")}
    pool.moves()

    _asked(pool, CancelThawRequest(pool.vm.vm.vm_id))

    assert [(vm.is_waiting, vm.waits_for) for vm in pool.status] == [(False, "")]
    pool.capacity.drained -= {Target("host", "beta")}
    pool.hosts_changed()
    assert not pool.taken()
    with pytest.raises(ControlError, match="does not wait to be thawed"):
        _asked(pool, CancelThawRequest(pool.vm.vm.vm_id))


def test_one_that_waits_for_a_host_does_so_after_a_thaw_elsewhere_has_failed(pool: Pool) -> None:
    pool.capacity.drained |= {Target("host", "beta")}
    pool.moves()
    thawed: Deferred[object] = Deferred.fromCoroutine(pool.thaws.thaw(pool.vm))
    thawed.addCallbacks(pool.results.append, lambda failure: pool.errors.append(failure.value))

    pool.paper_hosts["alpha"].machines[-1].fails(HostError("QEMU refuses"))

    assert "QEMU refuses" in str(pool.errors[0])
    assert [(vm.is_waiting, vm.target) for vm in pool.status] == [(True, "beta")]
    pool.capacity.drained -= {Target("host", "beta")}
    pool.hosts_changed()
    assert pool.machine.step == "copy"


def _is_gone(pool: Pool) -> None:
    pool.paper_hosts["alpha"].frozen.remove(pool.vm.vm.vm_id)


def _is_left_by_its_master(pool: Pool) -> None:
    Deferred.fromCoroutine(pool.thaws.stop(keep=True))


@pytest.mark.parametrize("what_happens", [_is_gone, _is_left_by_its_master])
def test_one_that_is_not_there_any_more_waits_for_nothing_after_a_thaw_has_failed(
    pool: Pool, what_happens: Callable[[Pool], None]
) -> None:
    pool.capacity.drained |= {Target("host", "beta")}
    pool.moves()
    thawed: Deferred[object] = Deferred.fromCoroutine(pool.thaws.thaw(pool.vm))
    thawed.addCallbacks(pool.results.append, lambda failure: pool.errors.append(failure.value))
    what_happens(pool)

    pool.paper_hosts["alpha"].machines[-1].fails(HostError("QEMU refuses"))

    assert len(pool.errors) == 1
    assert not pool.thaws.is_waiting(pool.vm)
    assert pool.thaws.reserved() == {}


def test_one_that_waits_does_so_after_a_thaw_was_refused(pool: Pool) -> None:
    pool.capacity.drained |= {Target("host", "alpha")}
    Deferred.fromCoroutine(pool.thaws.thaw(pool.vm))
    plain = config(label={"hosts": ["alpha"]})
    pool.configure(plain)

    pool.moves()

    assert "does not use host beta" in str(pool.errors[0])
    assert [vm.is_waiting for vm in pool.status] == [True]


def test_an_operator_names_a_host_of_the_pool(pool: Pool) -> None:
    request = ThawRequest(pool.vm.vm.vm_id, None, "bta")
    with pytest.raises(ControlError, match="no host called 'bta'"):
        _asked(pool, request)

    _asked(pool, ThawRequest(pool.vm.vm.vm_id, None, "beta"))

    assert pool.machine.step == "copy"


def test_an_operator_is_referred_to_exports_if_the_own_host_is_gone(pool: Pool) -> None:
    pool.frozen_notes.look()
    vm_id = pool.vm.vm.vm_id
    pool.configure(config_of(hosts=("beta",), slots=1, one=FREEZE))

    with pytest.raises(ControlError) as refused:
        _asked(pool, ThawRequest(vm_id, None, "beta"))

    assert "Host alpha is not in the pool's YAML file any more" in str(refused.value)
    assert "latent-libvirt thaw FILE --uri" in str(refused.value)


def _asked(pool: Pool, request: ThawRequest | CancelThawRequest) -> Any:
    """Ask; return or raise what is answered at once."""
    failures: list[Failure] = []
    answers: list[object] = []
    asked: Deferred[object] = Deferred.fromCoroutine(answer(pool.operations, request))
    asked.addCallbacks(answers.append, failures.append)
    if failures:
        failures[0].raiseException()
    return answers[0] if answers else None
