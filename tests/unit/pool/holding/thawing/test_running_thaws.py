# SPDX-License-Identifier: GPL-2.0-only
"""A VM that is thawed is restored in its slot and held there, or is left frozen.

The VMs are on paper; real ones are in tests/integration/host/test_freezing.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred

from frozen_vms import a_pool, frozen, thawed
from latent_libvirt.config.units import GIB
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import (
    HostError,
    LatentLibvirtError,
)
from latent_libvirt.pool.holding.frozen import Frozen
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.status.names import BuildRef
from paper_pool import config_of, machine_of


@pytest.mark.parametrize("keep", [True, False])
def test_a_master_that_stops_while_a_vm_is_thawed_holds_it_no_more(*, keep: bool) -> None:
    pool = a_pool()
    errors: list[object] = []
    thawed(pool, frozen(pool)).addErrback(lambda failure: errors.append(failure.value))
    host = pool.paper_hosts["alpha"]
    machine = host.machines[-1]

    Deferred.fromCoroutine(pool.stop(keep=keep))
    if keep:
        machine.goes_on()
    pool.clock.advance(0)

    assert (host.left if keep else host.discarded) == [machine]
    assert isinstance(errors[0], LatentLibvirtError)
    assert not list(pool.holds)
    assert not list(pool.registry)
    assert not pool.clock.getDelayedCalls()


def test_a_vm_that_is_released_while_it_is_thawed_is_gone() -> None:
    pool = a_pool()
    vm = frozen(pool)
    errors: list[object] = []
    thawed(pool, vm).addErrback(lambda failure: errors.append(failure.value))
    host = pool.paper_hosts["alpha"]

    Deferred.fromCoroutine(pool.thaws.release(vm))
    pool.clock.advance(0)

    assert host.discarded == [host.machines[-1]]
    assert not list(pool.holds)
    assert not pool.capacity.taken
    assert isinstance(errors[0], LatentLibvirtError)
    assert not list(pool.frozen)


def test_a_thawed_vm_counts_as_large_as_it_is_although_its_label_got_smaller() -> None:
    pool = a_pool(vcpus=4, memory="4GiB")
    vm = frozen(pool)
    smaller = {"hold_on_failure": "1h", "freeze": True, "vcpus": 1, "memory": "1GiB"}
    pool.configure(config_of(hosts=("alpha",), slots=1, one=smaller))

    thawed(pool, vm)
    pool.paper_hosts["alpha"].machines[-1].goes_on()

    (hold,) = pool.holds
    assert hold.vm.allocation.size == Size(4, 4 * GIB)
    assert pool.capacity.given("alpha") == Size(4, 4 * GIB)


def test_a_vm_whose_size_its_host_does_not_know_is_as_large_as_its_label_says() -> None:
    pool = a_pool(vcpus=2, memory="1GiB")
    vm = frozen(pool)

    thawed(pool, Frozen(vm.host, replace(vm.vm, vcpus=0, memory=0)))

    assert pool.capacity.given("alpha") == Size(2, GIB)


def test_a_thawed_vm_belongs_to_its_build_again_whose_terminals_are_recorded() -> None:
    pool = a_pool(record_terminals=True)
    lease = pool.building()
    lease.job = BuildRef("check", 7, "")
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    machine_of(lease.vm).goes_on()
    (vm,) = pool.frozen

    thawed(pool, vm)
    pool.paper_hosts["alpha"].machines[-1].goes_on()

    (hold,) = pool.holds
    assert hold.job == lease.job
    operations = Operations(pool, facts=lambda: Facts("", "", 0, 0.0), undrained=lambda _: None)
    (shown,) = operations.vms()
    assert shown.recorded is not None


def test_a_record_says_since_when_and_from_what_a_thawed_vm_runs() -> None:
    pool = a_pool()
    vm = frozen(pool)
    record = replace(vm.vm.record, state="freezing", saved="the state")
    pool.clock.advance(0.5)

    thawed(pool, Frozen(vm.host, replace(vm.vm, record=record)), 7200)

    thawing = pool.paper_hosts["alpha"].machines[-1].record
    assert (thawing.state, thawing.saved) == ("held", "the state")
    assert thawing.until == "1970-01-12T15:46:40+00:00"


def test_a_vm_that_cannot_be_thawed_stays_frozen_and_takes_no_room() -> None:
    pool = a_pool()
    vm = frozen(pool)
    errors: list[object] = []
    thawed(pool, vm).addErrback(lambda failure: errors.append(failure.value))

    pool.paper_hosts["alpha"].machines[-1].fails(HostError("QEMU is another one"))

    (error,) = errors
    assert isinstance(error, LatentLibvirtError)
    assert [found.vm for found in pool.frozen] == [vm.vm]
    assert not pool.capacity.taken
    assert not list(pool.holds)
