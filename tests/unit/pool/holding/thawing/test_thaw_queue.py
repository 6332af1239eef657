# SPDX-License-Identifier: GPL-2.0-only
"""A VM that waits for its slot keeps it from others, as long as it can be thawed there.

The VMs are on paper; real ones are in tests/integration/host/test_freezing.py.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from frozen_vms import (
    a_pool,
    failed,
    frozen,
    thawed,
    waits_although_its_slot_is_free,
    waits_for_its_slot,
)
from latent_libvirt.errors import (
    HostError,
)
from latent_libvirt.pool.reasons import RoomFacts
from latent_libvirt.status.names import Target
from paper_pool import PaperHost, config_of, machine_of


def test_a_vm_that_waits_is_thawed_although_its_host_was_configured_again() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    pool.configure(config_of(hosts=("beta",), slots=1, one={}))
    pool.paper_hosts["alpha"].usable = False  # it is closed
    again = pool.paper_hosts["alpha"] = PaperHost("alpha", pool.clock)
    again.usable = False  # it is not swept yet
    pool.configure(config_of(hosts=("alpha",), slots=1, one={}))
    again.frozen.add(vm.vm)
    again.usable = True

    pool.given_back(other)

    assert again.machines[-1].step == "thaw"


def test_a_vm_that_is_gone_keeps_its_slot_from_nobody() -> None:
    pool = a_pool()
    vm, host = waits_although_its_slot_is_free(pool)
    host.frozen.remove(vm.vm.vm_id)  # as its deadline does
    pool.hosts_changed()

    assert not pool.thaws.is_waiting(vm)
    assert pool.thaws.reserved() == {}
    assert pool.capacity.room("one")


def test_a_vm_whose_label_is_gone_keeps_its_slot_from_nobody_and_waits_no_more() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    with_label = pool.config

    pool.configure(config_of(hosts=("alpha",), slots=1, other={}))
    assert pool.thaws.reserved() == {}
    assert "label 'one' is not configured any more" in pool.thaws.given_up(vm)
    pool.configure(with_label)
    pool.given_back(other)
    assert [each.vm for each in pool.frozen] == [vm.vm]

    thawed(pool, vm)
    assert pool.thaws.given_up(vm) == ""
    assert pool.paper_hosts["alpha"].machines[-1].record.vm_id == vm.vm.vm_id


def test_a_slot_is_for_all_again_as_soon_as_no_vm_waits_for_it() -> None:
    pool = a_pool()
    _, other = waits_for_its_slot(pool)
    pool.given_back(other)

    pool.paper_hosts["alpha"].machines[-1].fails(HostError("QEMU is another one"))

    assert pool.capacity.room("one")


def test_a_vm_of_a_drained_label_keeps_its_slot_from_nobody() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    pool.capacity.drained |= {Target("label", "one")}
    pool.hosts_changed()
    pool.given_back(other)
    assert pool.thaws.is_waiting(vm)

    assert pool.thaws.reserved() == {}
    pool.capacity.drained = frozenset()
    pool.hosts_changed()

    assert pool.paper_hosts["alpha"].machines[-1].step == "thaw"


def test_a_build_that_has_to_wait_for_the_slot_of_a_frozen_vm_is_said_why() -> None:
    pool = a_pool()
    frozen_vm, other = waits_for_its_slot(pool)
    pool.paper_hosts["alpha"].usable = False
    pool.given_back(other)
    assert pool.thaws.is_waiting(frozen_vm)
    pool.hosts_changed()

    facts = RoomFacts(pool.config, pool.capacity, {}, {}, (), pool.thaws.reserved())
    why = facts.why_no_room("one")

    assert why is not None
    assert "about to be thawed in its slots 1" in why.reason.text


def test_the_slot_that_a_vm_waits_for_is_given_to_nobody() -> None:
    pool = a_pool(slots=2, max_vms=1)
    vm = frozen(pool)
    other = pool.allocator.take("one", (), {("alpha", 1)})
    assert other is not None
    assert other.allocation.slot == 2

    thawed(pool, vm)

    assert pool.thaws.reserved() == {"alpha": frozenset({1})}
    assert pool.thaws.is_waiting(vm), "its label has max_vms"
    pool.allocator.give_back(other)
    pool.room_changed()
    assert not pool.thaws.is_waiting(vm)
    assert pool.thaws.reserved() == {}


def test_nothing_else_gets_the_slot_as_soon_as_a_vm_waits_for_it() -> None:
    pool = a_pool(slots=2, max_vms=1)
    vm = frozen(pool)
    other = pool.allocator.take("one", (), {("alpha", 1)})
    assert other is not None
    thawed(pool, vm)
    pool.configure(config_of(hosts=("alpha",), slots=2, one={"max_vms": 2}, two={}))
    pool.paper_hosts["alpha"].blocked_slots = frozenset({1})

    assert not pool.thaws.go_on()
    assert not pool.capacity.room("two")


def test_why_a_thaw_was_given_up_is_known_as_long_as_the_vm_is_there() -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    machine_of(first.vm).goes_on()
    machine_of(second.vm).goes_on()
    given_up, waiting = pool.frozen
    with_label = pool.config
    others = [pool.building(worker="a"), pool.building(worker="b")]
    thawed(pool, given_up)
    pool.configure(config_of(hosts=("alpha",), slots=2, other={}))
    pool.configure(with_label)
    thawed(pool, waiting)
    assert pool.thaws.is_waiting(waiting)
    pool.room_changed()
    assert "label 'one'" in pool.thaws.given_up(given_up)
    Deferred.fromCoroutine(pool.thaws.release(given_up))
    pool.room_changed()

    assert pool.thaws.given_up(given_up) == ""
    assert len(others) == 2
