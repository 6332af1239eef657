# SPDX-License-Identifier: GPL-2.0-only
"""The rules by which spares are kept; real ones are in tests/integration/test_spares.py."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import PoolConfig
from latent_libvirt.errors import GuestError
from latent_libvirt.pool.spares import (
    AT_ONCE,
    BACKOFF,
)
from latent_libvirt.pool.vm import VM
from latent_libvirt.status.names import Target
from paper_pool import PaperMachine, PaperPool, config_of, host_of, machine_of
from synchronous import all_of


class Shelf(PaperPool):
    """A pool of which only the spares are asked for anything."""

    @property
    def all_started(self) -> list[PaperMachine]:
        """The machine of each spare that was ever started."""
        return [machine for host in self.paper_hosts.values() for machine in host.machines]

    @property
    def gone(self) -> list[PaperMachine]:
        """Those that have been discarded."""
        return [machine for host in self.paper_hosts.values() for machine in host.discarded]

    def all_up(self) -> None:
        """Let all spares that start come up."""
        for vm in self.spares:
            machine_of(vm).comes_up()

    def labels(self) -> list[str]:
        return sorted(vm.allocation.label for vm in self.spares)


def shelf_with(config: PoolConfig) -> Shelf:
    """Return a pool whose spares have been started."""
    shelf = Shelf(config)
    shelf.tidy()
    return shelf


def test_as_many_are_started_as_the_label_says() -> None:
    shelf = shelf_with(config_of(one={"spares": 2}, none={}))

    assert shelf.labels() == ["one", "one"]


def test_a_spare_rehearses_as_soon_as_it_is_up_but_one_that_a_job_has_does_not() -> None:
    shelf = shelf_with(config_of(one={"spares": 2}))
    claimed = shelf.spares.claim("one")
    assert claimed is not None

    machine_of(claimed).comes_up()
    shelf.all_up()

    assert machine_of(claimed).rehearsals == 0
    assert [machine_of(vm).rehearsals for vm in shelf.spares] == [1]


def test_labels_share_what_room_there_is() -> None:
    shelf = shelf_with(config_of(slots=2, one={"spares": 4}, two={"spares": 4}))

    assert shelf.labels() == ["one", "one", "two", "two"]


def test_what_a_job_has_taken_is_replaced() -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    shelf.all_up()

    claimed = shelf.spares.claim("one")
    shelf.tidy()

    assert claimed is not None
    assert claimed not in list(shelf.spares)
    assert len(shelf.all_started) == 2


def test_a_job_gets_one_that_waits_before_one_that_is_on_its_way() -> None:
    shelf = shelf_with(config_of(one={"spares": 2}))
    _on_its_way, waiting = shelf.spares
    machine_of(waiting).comes_up()

    assert shelf.spares.claim("one") is waiting


def test_a_job_gets_one_that_is_on_its_way_before_it_gets_none() -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    (vm,) = shelf.spares

    assert shelf.spares.has("one")
    assert shelf.spares.claim("one") is vm
    assert not shelf.spares.has("one")


def test_none_is_given_out_from_a_host_that_cannot_be_used() -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    (vm,) = shelf.spares
    host_of(vm).usable = False

    assert not shelf.spares.has("one")
    assert shelf.spares.claim("one") is None


@pytest.mark.parametrize("target", [Target("host", "alpha"), Target("label", "one")])
def test_none_is_given_out_whose_host_or_label_is_drained(target: Target) -> None:
    shelf = shelf_with(config_of(hosts=("alpha",), one={"spares": 1}))

    shelf.capacity.drained = frozenset({target})

    assert not shelf.spares.has("one")
    assert shelf.spares.claim("one") is None


def test_hosts_to_avoid_are_avoided() -> None:
    shelf = shelf_with(config_of(one={"spares": 2}))
    other = next(vm for vm in shelf.spares if vm.host.name == "beta")

    assert shelf.spares.claim("one", avoid={"alpha"}) is other
    assert shelf.spares.claim("one", avoid={"alpha"}) is None


def test_one_that_is_too_old_is_replaced() -> None:
    shelf = shelf_with(config_of(one={"spares": 1, "spare_max_age": "1h"}))
    shelf.all_up()
    (vm,) = shelf.spares
    shelf.clock.advance(3600)
    shelf.tidy()
    assert not shelf.gone

    shelf.clock.advance(2)
    shelf.tidy()

    assert shelf.gone == [machine_of(vm)]
    assert len(shelf.all_started) == 2


@pytest.mark.parametrize("change", [{"memory": "1GiB"}, {"vcpus": 2}, {"image": "other"}])
def test_one_that_was_made_for_another_label_is_replaced(change: dict[str, object]) -> None:
    before = config_of(one={"spares": 1})
    after = before.model_dump(mode="json")
    after["labels"]["one"].update(change)
    after["images"] = {"other": {}}
    shelf = shelf_with(before)
    shelf.all_up()
    (vm,) = shelf.spares

    shelf.configure(PoolConfig.model_validate(after))
    shelf.tidy()

    assert shelf.gone == [machine_of(vm)]
    assert len(shelf.all_started) == 2


def test_a_change_that_does_not_concern_the_vm_replaces_nothing() -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    shelf.all_up()

    shelf.configure(config_of(one={"spares": 1, "attach_timeout": "5m", "max_vms": 3}))
    shelf.tidy()

    assert not shelf.gone


def test_those_of_a_label_that_is_not_configured_any_more_end() -> None:
    shelf = shelf_with(config_of(one={"spares": 1}, two={}))

    shelf.configure(config_of(two={}))
    shelf.tidy()

    assert not list(shelf.spares)
    assert not shelf.capacity.taken


def test_those_of_a_drained_host_end_and_start_elsewhere() -> None:
    shelf = shelf_with(config_of(one={"spares": 2}))
    shelf.capacity.drained = frozenset([Target("host", "alpha")])

    shelf.tidy()

    assert [vm.host.name for vm in shelf.spares] == ["beta", "beta"]


def test_their_number_follows_the_clock() -> None:
    periods = [{"when": "* 8-17 * * *", "count": 3}]
    spares = {"count": 1, "periods": periods, "time_zone": "Etc/GMT-2"}
    shelf = Shelf(config_of(one={"spares": spares}))
    midnight = 12 * 24 * 3600  # after the beginning of the test's clock
    counts = []
    for hour in (5, 6, 15, 16):  # 8 o'clock there is 6 o'clock in UTC, the clock's
        shelf.clock.advance(midnight + hour * 3600 - shelf.clock.seconds())
        shelf.tidy()
        counts.append(len(list(shelf.spares)))

    assert counts == [1, 3, 3, 1]


def test_their_number_changes_with_the_minute_and_is_worked_out_once_for_each() -> None:
    periods = [{"when": "* 8-17 * * *", "count": 3}]
    shelf = Shelf(config_of(one={"spares": {"count": 1, "periods": periods, "time_zone": "UTC"}}))
    eight_o_clock = (12 * 24 + 8) * 3600

    shelf.clock.advance(eight_o_clock - 1 - shelf.clock.seconds())
    before = shelf.spares.wanted()
    assert before == {"one": 1}
    assert shelf.spares.wanted() is before
    shelf.clock.advance(1)

    assert shelf.spares.wanted() == {"one": 3}


def test_where_there_are_too_many_the_oldest_stay() -> None:
    shelf = shelf_with(config_of(one={"spares": 4}))
    oldest, second, *others = shelf.spares
    shelf.configure(config_of(one={"spares": 2}))

    shelf.tidy()

    assert list(shelf.spares) == [oldest, second]
    assert len(shelf.gone) == len(others)


def test_one_that_dies_is_replaced_after_a_rest() -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    shelf.all_up()
    (vm,) = shelf.spares

    machine_of(vm).dies()
    shelf.tidy()
    assert not list(shelf.spares)

    shelf.clock.advance(BACKOFF.first)
    shelf.tidy()
    assert len(list(shelf.spares)) == 1


def test_one_that_an_operator_has_ended_is_replaced_at_once_and_is_no_failure() -> None:
    shelf = shelf_with(config_of(hosts=("alpha",), slots=3, one={"spares": 3}))
    shelf.all_up()
    ended = list(shelf.spares)

    with capturedLogs() as logged:
        for vm in ended:
            vm.is_ended_by_operator = True
            machine_of(vm).dies("an operator has ended it")
        shelf.tidy()

    assert len(list(shelf.spares)) == 3
    assert shelf.gone == [machine_of(vm) for vm in ended]
    assert not any("is lost" in formatEvent(event) for event in logged)


def test_those_that_never_come_up_are_tried_less_and_less_often() -> None:
    shelf = Shelf(config_of(one={"spares": 1}))
    for _second in range(3600):
        shelf.tidy()
        for vm in tuple(shelf.spares):
            machine_of(vm).fails(GuestError("silent"))
        shelf.clock.advance(1)

    assert 5 <= len(shelf.all_started) <= 12


@pytest.mark.parametrize(
    ("error", "tracebacks"), [(GuestError("silent"), 0), (ZeroDivisionError("oops"), 1)]
)
def test_the_log_says_which_one_is_lost_and_shows_where_a_defect_is(
    error: Exception, tracebacks: int
) -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    (vm,) = shelf.spares

    with capturedLogs() as logged:
        machine_of(vm).fails(error)

    lost = f"spare {vm} of label one is lost, the next one starts in 10.0 s: {error}"
    assert lost in map(formatEvent, logged)
    assert sum("log_failure" in event for event in logged) == tracebacks
    assert shelf.gone == [machine_of(vm)]


def test_one_that_a_job_has_taken_may_die_without_being_missed() -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    shelf.all_up()
    claimed = shelf.spares.claim("one")
    assert claimed is not None

    machine_of(claimed).dies()
    shelf.tidy()

    assert not shelf.gone
    assert len(list(shelf.spares)) == 1


@pytest_twisted.ensureDeferred
async def test_those_with_an_older_image_are_replaced() -> None:
    shelf = shelf_with(config_of(one={"spares": 2}))
    shelf.all_up()
    await shelf.image_check.run()
    assert not shelf.gone

    shelf.paper_hosts["beta"].newest = "newer"
    await shelf.image_check.run()

    assert [machine.host.name for machine in shelf.gone] == ["beta"]


@pytest_twisted.ensureDeferred
async def test_the_next_master_goes_on_with_them() -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    shelf.all_up()
    (vm,) = shelf.spares
    await shelf.spares.leave_running()
    assert host_of(vm).left == [machine_of(vm)]

    shelf.begin()

    assert adopts(shelf, vm)
    assert [(v.host.name, v.allocation.slot) for v in shelf.spares] == [
        (vm.host.name, vm.allocation.slot)
    ]
    assert not adopts(shelf, vm), "one is enough"


def test_one_of_the_last_master_counts_as_up_when_it_answers_and_is_replaced_when_it_dies() -> None:
    (vm,) = shelf_with(config_of(one={"spares": 1})).spares
    shelf = Shelf(config_of(one={"spares": 1}))
    assert adopts(shelf, vm)
    (adopted,) = shelf.spares
    before = adopted.is_waiting

    machine_of(adopted).comes_up()
    assert (before, adopted.is_waiting) == (False, True)
    machine_of(adopted).dies()

    assert not list(shelf.spares)
    assert shelf.gone == [machine_of(adopted)]


def adopts(shelf: Shelf, vm: VM) -> bool:
    """Return whether *shelf* goes on with the spare *vm* of another master."""
    return shelf.spares.adopt(vm.host.name, vm.allocation.slot, vm.machine.record)


@pytest.mark.parametrize(
    "config",
    [
        config_of(one={"spares": 0}),
        config_of(one={"spares": 1, "memory": "2GiB"}),
        config_of(one={"spares": 1, "drain": True}),
        config_of(other={"spares": 1}),
        config_of(slots=0, one={"spares": 1}),
    ],
    ids=["not wanted", "another label", "drained", "no label", "no slot"],
)
def test_the_next_master_does_not_go_on_with_what_it_would_not_start(config: PoolConfig) -> None:
    (vm,) = shelf_with(config_of(one={"spares": 1})).spares
    after = Shelf(config)

    assert not adopts(after, vm)
    assert not after.capacity.taken


def test_the_next_master_does_not_go_on_with_one_if_other_vms_are_as_many_as_it_may_have() -> None:
    (vm,) = shelf_with(config_of(one={"spares": 1})).spares
    after = Shelf(config_of(max_vms=1, one={"spares": 1}))
    lease = after.give()

    assert not adopts(after, vm)
    assert after.capacity.taken == {lease.vm.allocation}


def test_one_that_comes_up_is_forgiven_those_that_did_not() -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    for _ in range(2):
        (vm,) = shelf.spares
        machine_of(vm).fails(GuestError("silent"))
        shelf.clock.advance(2 * BACKOFF.first)
        shelf.tidy()
    (vm,) = shelf.spares
    machine_of(vm).comes_up()

    machine_of(vm).dies()
    shelf.clock.advance(BACKOFF.first)
    shelf.tidy()

    assert len(list(shelf.spares)) == 1


def test_one_that_a_job_takes_while_others_are_ended_is_left_to_the_job() -> None:
    shelf = shelf_with(config_of(hosts=("alpha",), one={"spares": 2}))
    first, second = shelf.spares
    shelf.configure(config_of(hosts=("alpha",), one={"memory": "1GiB"}))

    tidying = shelf.spares.tidy()
    next(tidying)
    assert shelf.spares.claim("one") is second
    all_of(tidying)

    assert shelf.gone == [machine_of(first)]


def test_one_that_a_job_has_taken_since_is_not_evicted_any_more() -> None:
    shelf = shelf_with(config_of(hosts=("alpha",), one={"spares": 2}))
    victims = shelf.spares.evictable()
    claimed = shelf.spares.claim("one")
    assert claimed is not None

    for victim in victims:
        victim.evict()

    assert not machine_of(claimed).is_over
    assert not list(shelf.spares)
    assert shelf.capacity.taken == {claimed.allocation}


def test_many_are_looked_at_in_several_turns_of_the_reactor() -> None:
    shelf = shelf_with(config_of(slots=AT_ONCE, max_vms=99, one={"spares": 2 * AT_ONCE}))

    assert len(list(shelf.spares.tidy())) == 2
    assert not shelf.gone


@pytest_twisted.ensureDeferred
async def test_one_that_is_on_its_way_stays_when_a_newer_image_is_found() -> None:
    shelf = shelf_with(config_of(hosts=("alpha",), one={"spares": 2}))
    on_its_way, waiting = shelf.spares
    machine_of(waiting).comes_up()
    shelf.paper_hosts["alpha"].newest = "newer"

    await shelf.image_check.run()

    assert shelf.gone == [machine_of(waiting)]
    assert list(shelf.spares) == [on_its_way]


def test_one_that_cannot_rehearse_is_lost() -> None:
    shelf = shelf_with(config_of(hosts=("alpha",), one={"spares": 1}))
    (vm,) = shelf.spares
    shelf.paper_hosts["alpha"].is_deaf = True

    machine_of(vm).comes_up()

    assert shelf.gone == [machine_of(vm)]
    assert not list(shelf.spares)


@pytest_twisted.ensureDeferred
async def test_only_those_of_the_image_that_is_newer_are_replaced() -> None:
    document = config_of(hosts=("alpha",), one={"spares": 1}, other={"spares": 1}).model_dump(
        mode="json"
    )
    document["images"] = {"another": {}}
    document["labels"]["other"]["image"] = "another"
    config = PoolConfig.model_validate(document)
    shelf = shelf_with(config)
    shelf.all_up()
    shelf.paper_hosts["alpha"].newest_of["another"] = "newer"

    await shelf.image_check.run()

    assert [machine.record.label for machine in shelf.gone] == ["other"]


@pytest_twisted.ensureDeferred
async def test_a_host_that_does_not_answer_keeps_its_spares_and_the_log_says_so() -> None:
    shelf = shelf_with(config_of(one={"spares": 2}))
    shelf.all_up()
    for host in shelf.paper_hosts.values():
        host.newest = "newer"
    shelf.paper_hosts["alpha"].is_deaf = True

    with capturedLogs() as logged:
        await shelf.image_check.run()

    assert [machine.host.name for machine in shelf.gone] == ["beta"]
    assert "host alpha: host alpha does not answer" in map(formatEvent, logged)


@pytest_twisted.ensureDeferred
async def test_those_that_are_not_up_yet_are_not_left_to_the_next_master() -> None:
    shelf = shelf_with(config_of(one={"spares": 2}))
    on_its_way, waiting = shelf.spares
    machine_of(waiting).comes_up()

    await shelf.spares.leave_running()

    assert host_of(waiting).left == [machine_of(waiting)]
    assert shelf.gone == [machine_of(on_its_way)]
    assert not list(shelf.spares)
    assert not shelf.capacity.taken


def test_they_are_left_to_the_next_master_once_their_host_has_released_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = shelf_with(config_of(hosts=("alpha",), one={"spares": 2}))
    _on_its_way, waiting = shelf.spares
    machine_of(waiting).comes_up()
    gone: Deferred[None] = Deferred()

    async def leave_running(_machine: PaperMachine) -> None:
        await gone

    monkeypatch.setattr(shelf.paper_hosts["alpha"], "leave_running", leave_running)
    left = Deferred.fromCoroutine(shelf.spares.leave_running())
    assert not left.called

    gone.callback(None)

    assert left.called


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (config_of(other={}), "its label is not configured any more"),
        (config_of(one={"spares": 1, "vcpus": 2}), "its label has changed"),
        (config_of(one={"spares": 1, "drain": True}), "its host or label is drained"),
        (config_of(one={"spares": 1, "hosts": ["beta"]}), "its label has left the host"),
    ],
)
def test_the_log_says_why_one_ends(after: PoolConfig, why: str) -> None:
    shelf = shelf_with(config_of(one={"spares": 1}))
    (vm,) = shelf.spares
    assert vm.host.name == "alpha"
    shelf.configure(after)

    with capturedLogs() as logged:
        shelf.tidy()

    assert f"spare {vm} ends: {why}" in map(formatEvent, logged)


def test_a_spare_that_a_job_has_claimed_in_between_is_not_evicted() -> None:
    pool = PaperPool(config_of(one={"spares": 1}))
    pool.tidy()
    (spare,) = pool.spares
    machine_of(spare).comes_up()
    (evictable,) = pool.spares.evictable()
    lease = pool.give()

    assert evictable.evict().called

    assert lease.vm is spare
    assert host_of(spare).discarded == []
