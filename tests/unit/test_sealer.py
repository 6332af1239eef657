# SPDX-License-Identifier: GPL-2.0-only
"""Which slots are sealed in the background, and what of it goes; the hosts are on paper.

That a VM fails at a chosen moment cannot be had from real ones; sealing itself is tested in
tests/integration.
"""

from __future__ import annotations

import pytest

from latent_libvirt.config import PoolConfig
from latent_libvirt.errors import GuestError
from latent_libvirt.host.domain_xml import LeaseRecord
from latent_libvirt.host.names import SealedName
from latent_libvirt.host.sealed import SealedState
from latent_libvirt.plan import wishes
from latent_libvirt.sealer import FIRST_REST, LONGEST_REST
from latent_libvirt.vm import VM
from paper_pool import PaperPool, config_of, host_of, machine_of
from paper_stock import OWNER
from synchronous import all_of

SIZE = 200 * 2**20


def a_state(config: PoolConfig, label: str, slot: int, *, lease: str) -> SealedState:
    record = LeaseRecord(
        OWNER.id,
        "master",
        "pool",
        lease,
        label,
        "",
        "newest",
        "now",
        made_for=wishes(config, label),
    )
    name = SealedName(OWNER.id, slot, "0" * 24, lease)
    return SealedState(name, record, "<domain/>", "/path", SIZE)


class Sealing:
    """A pool whose VMs are sealed as soon as they are up."""

    def __init__(self, config: PoolConfig) -> None:
        self.pool = PaperPool(config)
        self.config = config

    def tidy(self) -> list[VM]:
        """Return the VMs that are started to be sealed."""
        before = set(self.pool.sealer)
        all_of(self.pool.sealer.tidy(self.config))
        return [vm for vm in self.pool.sealer if vm not in before]

    def seal(self, vm: VM) -> SealedState:
        """Let *vm* be sealed."""
        state = a_state(self.config, vm.place.label, vm.place.slot, lease=vm.lease)
        machine = machine_of(vm)
        assert machine.plan.start == "seal"
        machine.is_to_be_sealed = True
        while machine.is_busy and machine.step != "seal":
            machine.goes_on()
        host_of(vm).sealed.states.add(state)
        machine.goes_on()
        return state

    def seal_all(self) -> list[tuple[str, str, int]]:
        """Seal until nothing is missing; return label, host and slot of each, in order."""
        sealed = []
        while vms := self.tidy():
            for vm in vms:
                sealed.append((vm.place.label, vm.place.host, vm.place.slot))
                self.seal(vm)
        return sealed

    def states(self, host: str = "alpha") -> list[str]:
        return sorted(str(state) for state in self.pool.hosts[host].sealed.states)


def one_host(slots: int = 2, max_vms: int = 10, **labels: dict[str, object]) -> Sealing:
    return Sealing(config_of(hosts=("alpha",), slots=slots, max_vms=max_vms, **labels))


def test_each_host_seals_one_vm_at_a_time_until_all_slots_are_sealed() -> None:
    sealing = Sealing(config_of(slots=3, one={}))

    assert sorted(vm.place.host for vm in sealing.tidy()) == ["alpha", "beta"]
    assert sealing.tidy() == []
    for vm in sealing.pool.sealer:
        sealing.seal(vm)
    sealing.seal_all()

    for host in ("alpha", "beta"):
        assert sealing.states(host) == [
            f"sealed state of slot {slot} for label one" for slot in (1, 2, 3)
        ]
    assert not sealing.pool.ledger.taken


def test_the_label_that_has_least_is_sealed_first_and_where_the_least_is() -> None:
    two: dict[str, object] = {"max_vms": 2, "memory": "1GiB"}
    sealed = one_host(slots=4, one={"max_vms": 1}, two=two).seal_all()

    assert sealed[:3] == [("one", "alpha", 1), ("two", "alpha", 2), ("two", "alpha", 3)]
    assert len(set(sealed)) == len(sealed) == 8


def test_labels_that_ask_for_the_same_vm_share_its_state() -> None:
    assert len(one_host(slots=2, one={}, same={}).seal_all()) == 2


def test_nothing_is_sealed_for_labels_that_boot() -> None:
    assert one_host(one={"start": "boot"}).tidy() == []


def test_a_job_gets_the_room_of_a_vm_that_is_being_sealed() -> None:
    sealing = one_host(slots=1, one={}, other={})
    (vm,) = sealing.tidy()

    sealing.pool.supply.make_room("other")

    assert machine_of(vm).is_over
    assert list(sealing.pool.sealer) == []
    assert sealing.pool.supply.has("other")


def test_one_that_a_job_has_ended_is_not_held_against_its_label() -> None:
    sealing = one_host(slots=1, one={}, other={})
    (vm,) = sealing.tidy()
    sealing.pool.supply.make_room("other")
    machine_of(vm).dies()

    assert len(sealing.tidy()) == 1


def test_nothing_is_sealed_beyond_the_caps() -> None:
    sealing = one_host(slots=2, max_vms=1, one={})
    sealing.pool.give("one")

    assert sealing.tidy() == []


def test_nothing_is_sealed_on_a_host_that_cannot_be_used() -> None:
    sealing = one_host(one={})
    sealing.pool.hosts["alpha"].usable = False

    assert sealing.tidy() == []


def test_on_a_host_that_another_master_uses_only_jobs_take_slots_and_space() -> None:
    sealing = one_host(one={})
    sealing.pool.hosts["alpha"].is_shared = True
    assert sealing.tidy() == []

    sealing.pool.hosts["alpha"].is_shared = False
    assert sealing.tidy() != []


def test_a_vm_that_starts_for_somebody_comes_first() -> None:
    sealing = one_host(one={"spares": 1})
    sealing.pool.tidy()
    (spare,) = sealing.pool.spares
    assert sealing.tidy() == []

    machine_of(spare).comes_up()

    assert len(sealing.tidy()) == 1


def test_nothing_is_sealed_while_a_job_is_sealed_on_its_way() -> None:
    sealing = one_host(one={})
    sealing.pool.hosts["alpha"].sealed.states.begin("aa", "image")

    assert sealing.tidy() == []


def test_a_label_that_cannot_be_sealed_rests_longer_each_time() -> None:
    sealing = one_host(one={})
    (vm,) = sealing.tidy()
    machine_of(vm).fails(GuestError("no"))
    assert sealing.tidy() == []

    sealing.pool.clock.advance(FIRST_REST + 1)
    (vm,) = sealing.tidy()
    machine_of(vm).fails(GuestError("no"))
    sealing.pool.clock.advance(FIRST_REST + 1)
    assert sealing.tidy() == []
    sealing.pool.clock.advance(LONGEST_REST)
    assert len(sealing.tidy()) == 1


def test_an_image_that_cannot_be_sealed_is_not_booted_in_vain() -> None:
    sealing = one_host(one={})
    sealing.pool.hosts["alpha"].sealed.states.note_unfit("newest", "because")
    (vm,) = sealing.tidy()
    machine_of(vm).goes_on()

    assert machine_of(vm).is_over
    assert not machine_of(vm).booted
    assert sealing.tidy() == []


def test_one_that_came_second_is_tried_again_soon() -> None:
    sealing = one_host(one={})
    (vm,) = sealing.tidy()
    machine_of(vm).goes_on()

    assert machine_of(vm).is_over
    assert len(sealing.tidy()) == 1


def test_states_that_no_label_asks_for_go() -> None:
    sealing = one_host(slots=1, one={}, two={"memory": "1GiB"})
    sealing.seal_all()
    sealing.config = config_of(hosts=("alpha",), slots=1, one={}, two={"memory": "2GiB"})

    sealing.tidy()

    assert sealing.states() == ["sealed state of slot 1 for label one"]


@pytest.mark.parametrize(
    "changed",
    [
        config_of(hosts=("alpha",), slots=1, one={}),
        config_of(hosts=("alpha",), slots=2, one={"start": "boot"}),
    ],
)
def test_states_go_with_their_slot_and_with_their_labels_wish_to_resume(
    changed: PoolConfig,
) -> None:
    sealing = one_host(slots=2, one={})
    sealing.seal_all()
    sealing.config = changed

    sealing.tidy()

    assert "sealed state of slot 2 for label one" not in sealing.states()


def test_when_the_space_is_used_up_those_go_that_were_not_used_for_the_longest() -> None:
    sealing = one_host(slots=3, one={})
    states = sealing.pool.hosts["alpha"].sealed.states
    for slot in (1, 2, 3):
        states.add(a_state(sealing.config, "one", slot, lease=f"a{slot}"))
    states.claim(1, "0" * 24)
    host = sealing.config.hosts["alpha"].model_copy(update={"sealed_space": 2 * SIZE})
    sealing.config = sealing.config.model_copy(update={"hosts": {"alpha": host}})

    assert sealing.tidy() == []

    (gone,) = sealing.pool.hosts["alpha"].sealed.gone
    assert gone[0] == "a2"


@pytest.mark.parametrize(("space", "count"), [(SIZE - 1, 0), (2 * SIZE, 0), (3 * SIZE, 1)])
def test_nothing_is_sealed_in_the_background_for_which_another_would_go(
    space: int, count: int
) -> None:
    sealing = one_host(slots=4, one={})
    host = sealing.config.hosts["alpha"].model_copy(update={"sealed_space": space})
    sealing.config = sealing.config.model_copy(update={"hosts": {"alpha": host}})
    if space > SIZE:
        for slot in (1, 2):
            state = a_state(sealing.config, "one", slot, lease=f"a{slot}")
            sealing.pool.hosts["alpha"].sealed.states.add(state)

    assert len(sealing.tidy()) == count


def test_states_of_an_older_image_go() -> None:
    sealing = one_host(slots=1, one={}, two={"memory": "1GiB"})
    sealing.seal_all()

    sealing.pool.hosts["alpha"].newest = "newer"
    check = sealing.pool.sealer.check_images(sealing.config)
    with pytest.raises(StopIteration):
        check.send(None)

    assert sealing.states() == []


def test_the_slots_where_a_label_is_resumed_are_told() -> None:
    sealing = Sealing(config_of(slots=2, one={}, same={}, other={"memory": "1GiB"}))
    state = a_state(sealing.config, "one", 2, lease="aa")
    sealing.pool.hosts["beta"].sealed.states.add(state)

    found = sealing.pool.sealer.sealed_slots(sealing.config)

    assert found["beta"] == {"one": frozenset({2}), "same": frozenset({2})}
    assert not any(found[host] for host in found.keys() - {"beta"})


def test_in_the_end_what_is_being_sealed_goes_and_what_is_sealed_stays() -> None:
    sealing = one_host(slots=2, one={})
    (vm,) = sealing.tidy()
    sealing.seal(vm)
    (vm,) = sealing.tidy()

    stop = sealing.pool.sealer.stop()
    with pytest.raises(StopIteration):
        stop.send(None)

    assert machine_of(vm).is_over
    assert len(sealing.states()) == 1
    end = sealing.pool.sealer.end()
    with pytest.raises(StopIteration):
        end.send(None)
    assert sealing.states() == []
