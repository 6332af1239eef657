# SPDX-License-Identifier: GPL-2.0-only
"""VMs of a size that their build has chosen: what counts, and what they are resumed from."""

from __future__ import annotations

from dataclasses import replace

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.errors import HostError
from latent_libvirt.host.domains.vm_spec import vm_spec
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states.saved_states import SavedState
from latent_libvirt.pool.plan import machine_plan, size_of
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from paper_pool import OWNER, PaperPool, config_of, machine_of

LARGE = Size(6, 2 * GIB)
USUAL = Size(2, GIB)
CHOICE = {
    "vcpus": {"min": 1, "max": 6, "default": 2},
    "memory": {"min": "512MiB", "max": "2GiB", "default": "1GiB"},
}


def config(**label: object) -> PoolConfig:
    """Return one with a host that has 8 vCPUs, and a label whose builds choose a size."""
    made = config_of(hosts=("alpha",), slots=4, one={**CHOICE, **label}, two={})
    host = made.hosts["alpha"].model_copy(update={"vcpus": 8})
    return made.model_copy(update={"hosts": {"alpha": host}})


def test_what_counts_of_a_vm_is_the_size_that_its_build_has_chosen() -> None:
    pool = PaperPool(config())
    assert pool.chosen_size("one", {"vcpus": 6, "memory_mib": "2048"}) == LARGE
    assert pool.admission.reserve("w", "one", size=LARGE)
    pool.admission.confirm_reservation("w")

    assert pool.capacity.given("alpha") == LARGE
    assert not pool.capacity.room("one", LARGE)
    assert pool.capacity.room("one", USUAL)
    assert not pool.admission.reserve("v", "one", size=Size(3, GIB))
    lease = pool.lease("w", "one", (1,), LARGE)

    label = machine_of(lease.vm).plan.vm.label
    assert (label.vcpus, label.memory, lease.chosen_size) == (6, 2 * GIB, LARGE)


def test_a_build_whose_label_has_one_size_or_is_not_configured_chooses_none() -> None:
    pool = PaperPool(config())

    assert pool.chosen_size("two", {"vcpus": 6}) is None
    assert pool.chosen_size("unknown", {"vcpus": 6}) is None


def test_a_build_that_may_be_small_is_asked_about_although_the_usual_size_has_no_room() -> None:
    pool = PaperPool(config(vcpus={"min": 1, "max": 8, "default": 7}))
    pool.give("two")
    pool.give("two")

    assert not pool.capacity.room("one")
    assert pool.admission.may_have_room("one")
    assert pool.admission.reserve("w", "one", size=Size(1, GIB))


def test_room_that_was_kept_for_another_size_is_given_back() -> None:
    pool = PaperPool(config())
    assert pool.admission.reserve("w", "one", size=LARGE)

    assert pool.admission.reserved("w", "one", USUAL) is None
    assert not pool.capacity.taken


def test_a_spare_is_for_builds_that_choose_its_size() -> None:
    pool = PaperPool(config(spares=1))
    pool.tidy()
    (spare,) = pool.spares
    machine_of(spare).comes_up()

    assert pool.lease("w", "one", (1,), Size(1, GIB)).vm is not spare
    assert pool.lease("v", "one", (2,), USUAL).vm is spare


def test_a_vm_that_is_lost_is_replaced_by_one_of_its_size() -> None:
    pool = PaperPool(config())
    lease = pool.lease("w", "one", (1,), Size(5, GIB))
    done = pool.brought_up(lease)
    first = lease.vm
    machine_of(first).fails(HostError("it fails"))

    assert lease.vm is not first
    assert lease.vm.allocation.size == Size(5, GIB)
    assert not done.called


def saved(pool: PaperPool, size: Size, *, slot: int) -> SavedState:
    """Return what a VM of that size was saved as."""
    allocation = Allocation("one", "alpha", slot, size)
    plan = machine_plan(pool.config, allocation, worker="", owner=OWNER, now=0.0)
    record = replace(plan.record, vm_id="aa", image="newest")
    assert record.spec_hash != vm_spec(pool.config, "one").hash
    name = OwnedVolume(OWNER.id, slot, "aa", "0" * 24)
    return SavedState(name, record, "<domain/>", "/", 1)


def test_a_vm_starts_in_a_slot_that_was_saved_with_its_size() -> None:
    pool = PaperPool(config())
    states = pool.paper_hosts["alpha"].saved.states
    states.add(saved(pool, LARGE, slot=3))

    pool.hosts_changed()

    assert pool.lease("u", "one", (2,), USUAL).vm.allocation.slot == 1
    assert pool.lease("v", "one", (3,), LARGE).vm.allocation.slot == 3
    list(pool.state_saver.tidy())
    assert states.vm_ids == {"aa"}, "a build may ask for it again"


def test_what_was_saved_with_one_size_is_nothing_to_a_build_of_another() -> None:
    pool = PaperPool(config())
    pool.paper_hosts["alpha"].saved.states.add(saved(pool, LARGE, slot=3))

    pool.hosts_changed()

    assert pool.lease("w", "one", (1,), Size(3, GIB)).vm.allocation.slot == 1


def test_what_no_build_may_choose_any_more_is_deleted() -> None:
    pool = PaperPool(config())
    states = pool.paper_hosts["alpha"].saved.states
    states.add(saved(pool, LARGE, slot=3))
    pool.configure(config(vcpus={"min": 1, "max": 4, "default": 2}))

    list(pool.state_saver.tidy())

    assert states.vm_ids == frozenset()


def test_the_size_in_a_record_counts_if_a_build_may_choose_it() -> None:
    pool = PaperPool(config())
    record = machine_of(pool.lease("w", "one", (1,), LARGE).vm).record
    assert record.size == f"6x{2048 * MIB}"

    assert size_of(pool.config, record) == LARGE
    for text in ("", "7x1073741824", "6", "6x", "x6", "-6x1", "6x" + "9" * 99, "</vm>"):
        assert size_of(pool.config, replace(record, size=text)) is None
    assert "size" not in machine_of(pool.give("two").vm).record.attributes
