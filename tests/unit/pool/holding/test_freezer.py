# SPDX-License-Identifier: GPL-2.0-only
"""A held VM leaves its slot, or is held in it.

The VMs are on paper; real ones are in tests/integration/host/test_freezing.py.
"""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from frozen_vms import a_pool, failed, frozen
from latent_libvirt.config.units import GIB
from latent_libvirt.errors import (
    CapacityError,
    HostError,
)
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError
from paper_pool import config_of, host_of, machine_of


def test_a_vm_that_is_frozen_takes_no_room_and_is_held_no_more() -> None:
    pool = a_pool()

    vm = frozen(pool)

    assert vm.vm.record.worker == "worker"
    assert not pool.capacity.taken
    assert not list(pool.holds)
    assert not list(pool.registry)
    assert pool.capacity.room("one")


def test_its_slot_is_taken_until_it_is_frozen() -> None:
    pool = a_pool()
    lease = failed(pool)

    assert machine_of(lease.vm).step == "freeze"
    assert [hold.vm for hold in pool.holds] == [lease.vm]
    assert not pool.capacity.room("one")


def test_the_space_is_what_others_have_left() -> None:
    pool = a_pool()
    host = pool.paper_hosts["alpha"]
    host.size_of_frozen = 5 * GIB

    frozen(pool)
    machine_of(failed(pool, "next").vm).goes_on()

    assert host.spaces == [20 * GIB, 15 * GIB]


def test_vms_of_one_host_are_frozen_one_after_the_other() -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    assert machine_of(second.vm).step != "freeze"

    machine_of(first.vm).goes_on()

    assert machine_of(second.vm).step == "freeze"


@pytest.mark.parametrize("most", [0, 1])
def test_a_vm_that_cannot_be_frozen_is_held_in_its_slot_within_max_held(most: int) -> None:
    pool = a_pool(max_held=most)
    lease = failed(pool)

    machine_of(lease.vm).fails(CannotBeFrozenError("there is no space"))

    assert len(list(pool.holds)) == most
    assert len(pool.capacity.taken) == most


def test_a_vm_of_which_only_its_host_knows_is_left_to_it() -> None:
    pool = a_pool()
    lease = failed(pool)

    machine_of(lease.vm).fails(HostError("the connection is lost"))

    assert host_of(lease.vm).left == [machine_of(lease.vm)]
    assert not host_of(lease.vm).discarded
    assert not pool.capacity.taken
    assert not list(pool.holds)


def test_a_vm_that_is_released_while_it_is_frozen_is_gone() -> None:
    pool = a_pool()
    lease = failed(pool)
    (hold,) = pool.holds

    pool.holds.release(hold)
    pool.clock.advance(0)

    assert host_of(lease.vm).discarded == [machine_of(lease.vm)]
    assert not pool.capacity.taken
    assert not list(pool.frozen)


def test_a_label_that_does_not_ask_for_it_freezes_nothing() -> None:
    pool = a_pool(freeze=False)
    lease = failed(pool)

    assert not machine_of(lease.vm).is_busy
    assert not list(pool.frozen)


def test_a_master_that_stops_in_the_middle_leaves_the_vm_to_the_next_one() -> None:
    pool = a_pool()
    lease = failed(pool)

    Deferred.fromCoroutine(pool.stop(keep=True))
    machine_of(lease.vm).goes_on()

    assert host_of(lease.vm).left == [machine_of(lease.vm)]
    assert not host_of(lease.vm).discarded
    assert not pool.capacity.taken


def test_a_vm_that_leaves_its_slot_soon_is_none_of_those_that_a_label_holds() -> None:
    pool = a_pool(slots=2, max_held=1)
    first, second = failed(pool, "first"), failed(pool, "second")
    assert (pool.holds.count("one"), pool.freezer.held_in_slots("one")) == (2, 0)
    assert pool.freezer.held_in_slots("two") == 0

    machine_of(first.vm).fails(CannotBeFrozenError("there is no space"))
    assert (pool.holds.count("one"), pool.freezer.held_in_slots("one")) == (2, 1)
    machine_of(second.vm).goes_on()

    assert [hold.vm for hold in pool.holds] == [first.vm]
    assert (pool.holds.count("one"), pool.freezer.held_in_slots("one")) == (1, 1)


def test_only_a_held_vm_that_stays_in_its_slot_is_to_be_released_for_others() -> None:
    pool = a_pool()
    lease = failed(pool)
    assert pool.held_places() == {}

    machine_of(lease.vm).fails(CannotBeFrozenError("there is no space"))

    assert pool.held_places() == {lease.vm.allocation: lease.vm.vm_id}
    with pytest.raises(CapacityError) as caught:
        pool.lease("next", "one")
    command = f"latent-libvirt release {lease.vm.vm_id} frees its place."
    assert f"VM {lease.vm.vm_id} is held: {command}" in str(caught.value.details)


def test_a_vm_that_is_released_before_its_turn_is_not_frozen() -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    host = host_of(first.vm)

    pool.holds.release(next(hold for hold in pool.holds if hold.vm is second.vm))
    machine_of(first.vm).goes_on()

    assert len(host.spaces) == 1
    assert [vm.vm.vm_id for vm in pool.frozen] == [first.vm.vm_id]


def test_a_host_that_has_left_the_file_has_no_space_for_the_next_vm() -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    host = host_of(first.vm)
    pool.configure(config_of(hosts=("beta",), one={"hold_on_failure": "1h", "freeze": True}))

    machine_of(first.vm).goes_on()
    machine_of(second.vm).fails(CannotBeFrozenError("there is no space"))

    assert host.spaces[1:] == [0]


def test_vms_on_their_way_out_of_their_slots_leave_room_within_max_held() -> None:
    pool = a_pool(slots=3, max_held=1)
    failed(pool, "first")
    failed(pool, "second")
    changed = {"hold_on_failure": "1h", "max_held": 1}
    pool.configure(config_of(hosts=("alpha",), slots=3, one=changed))

    third = failed(pool, "third")

    assert (third.why_not_held, third.is_to_be_frozen) == ("", False)
    assert third.vm in [hold.vm for hold in pool.holds]
