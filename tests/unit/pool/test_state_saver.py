# SPDX-License-Identifier: GPL-2.0-only
"""Which slots are saved in the background, and what of it goes; the hosts are on paper.

That a VM fails at a chosen moment cannot be had from real ones; saving itself is tested in
tests/integration.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import PoolConfig
from latent_libvirt.errors import ConfigurationError, GuestError
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.vm_spec import vm_spec
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states.saved_states import SavedState
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.saved_slots import sized
from latent_libvirt.pool.upkeep.state_saver import (
    AT_ONCE,
    BACKOFF,
)
from latent_libvirt.pool.vm import VM
from paper_pool import OWNER, PaperPool, config_of, host_of, machine_of
from synchronous import all_of

SIZE = 200 * 2**20


def a_state(config: PoolConfig, label: str, slot: int, *, vm_id: str) -> SavedState:
    record = VmRecord(
        OWNER.id,
        "master",
        "pool",
        vm_id,
        label,
        "",
        "newest",
        "now",
        spec_hash=vm_spec(config, label).hash,
    )
    name = OwnedVolume(OWNER.id, slot, vm_id, "0" * 24)
    return SavedState(name, record, "<domain/>", "/path", SIZE)


class Saving:
    """A pool whose VMs are saved as soon as they are up."""

    def __init__(self, config: PoolConfig) -> None:
        self.pool = PaperPool(config)

    @property
    def config(self) -> PoolConfig:
        return self.pool.config

    def tidy(self) -> list[VM]:
        """Return the VMs that are started to be saved."""
        before = set(self.pool.state_saver)
        all_of(self.pool.state_saver.tidy())
        return [vm for vm in self.pool.state_saver if vm not in before]

    def check_images(self) -> None:
        assert Deferred.fromCoroutine(self.pool.image_check.run()).called

    def give_space(self, size: int) -> None:
        """Let host ``alpha`` have that many bytes for saved states."""
        host = self.config.hosts["alpha"].model_copy(update={"saved_state_space": size})
        self.pool.configure(self.config.model_copy(update={"hosts": {"alpha": host}}))

    def save(self, vm: VM) -> SavedState:
        """Let *vm* be saved."""
        state = a_state(self.config, vm.allocation.label, vm.allocation.slot, vm_id=vm.vm_id)
        machine = machine_of(vm)
        assert machine.plan.start == "save"
        machine.is_to_be_saved = True
        while machine.is_busy and machine.step != "save":
            machine.goes_on()
        host_of(vm).saved.states.add(state)
        machine.goes_on()
        return state

    def save_all(self) -> list[tuple[str, str, int]]:
        """Save until nothing is missing; return label, host and slot of each, in order."""
        saved = []
        while vms := self.tidy():
            for vm in vms:
                saved.append((vm.allocation.label, vm.allocation.host, vm.allocation.slot))
                self.save(vm)
        return saved

    def states(self, host: str = "alpha") -> list[str]:
        return sorted(str(state) for state in self.pool.paper_hosts[host].saved.states)


def one_host(slots: int = 2, max_vms: int = 10, **labels: dict[str, object]) -> Saving:
    return Saving(config_of(hosts=("alpha",), slots=slots, max_vms=max_vms, **labels))


def test_each_host_saves_one_vm_at_a_time_until_all_slots_are_saved() -> None:
    saving = Saving(config_of(slots=3, one={}))

    assert sorted(vm.allocation.host for vm in saving.tidy()) == ["alpha", "beta"]
    assert saving.tidy() == []
    for vm in saving.pool.state_saver:
        saving.save(vm)
    saving.save_all()

    for host in ("alpha", "beta"):
        assert saving.states(host) == [
            f"saved state of slot {slot} for label one" for slot in (1, 2, 3)
        ]
    assert not saving.pool.capacity.taken


def test_the_label_that_has_least_is_saved_first_and_where_the_least_is() -> None:
    two: dict[str, object] = {"max_vms": 2, "memory": "1GiB"}
    saved = one_host(slots=4, one={"max_vms": 1}, two=two).save_all()

    assert saved[:3] == [("one", "alpha", 1), ("two", "alpha", 2), ("two", "alpha", 3)]
    assert len(set(saved)) == len(saved) == 8


def test_labels_that_ask_for_the_same_vm_share_its_state() -> None:
    assert len(one_host(slots=2, one={}, same={}).save_all()) == 2


def test_a_state_is_of_use_for_each_slot_and_each_kind_of_vm_that_is_resumed() -> None:
    two: dict[str, object] = {"memory": "1GiB"}
    three: dict[str, object] = {"memory": "2GiB", "hosts": ["beta"]}
    config = config_of(slots=3, one={}, same={}, two=two, three=three, boots={"start": "boot"})
    saving = Saving(config)

    assert saving.pool.state_saver.resumable() == {"alpha": 6, "beta": 9}
    saving.save_all()
    assert [len(saving.states(host)) for host in ("alpha", "beta")] == [6, 9]


def test_nothing_is_saved_for_labels_that_boot() -> None:
    assert one_host(one={"start": "boot"}).tidy() == []


def test_a_job_gets_the_room_of_a_vm_that_is_being_saved() -> None:
    saving = one_host(slots=1, one={}, other={})
    (vm,) = saving.tidy()

    saving.pool.allocator.make_room("other")

    assert machine_of(vm).is_over
    assert list(saving.pool.state_saver) == []
    assert saving.pool.allocator.has("other")


def test_jobs_that_wait_for_room_get_it_before_slots_are_saved() -> None:
    saving = Saving(config_of(slots=1, one={}, only={"hosts": ["beta"]}))
    saving.pool.waiting = {"only", "unknown"}

    assert [vm.allocation.host for vm in saving.tidy()] == ["alpha"]

    saving.pool.give("only")
    saving.pool.waiting = {"one"}
    assert saving.tidy() == []


def test_slots_are_saved_although_jobs_wait_that_can_have_no_room() -> None:
    saving = one_host(slots=3, one={"max_vms": 1}, two={})
    saving.pool.building("one")
    saving.pool.waiting = {"one"}

    (vm,) = saving.tidy()

    assert vm.allocation.label == "two"


def test_one_that_a_job_has_ended_is_not_held_against_its_label() -> None:
    saving = one_host(slots=1, one={}, other={})
    (vm,) = saving.tidy()
    saving.pool.allocator.make_room("other")
    machine_of(vm).dies()

    assert len(saving.tidy()) == 1


def test_nothing_is_saved_beyond_the_caps() -> None:
    saving = one_host(slots=2, max_vms=1, one={})
    saving.pool.give("one")

    assert saving.tidy() == []


def test_nothing_is_saved_on_a_host_that_cannot_be_used() -> None:
    saving = one_host(one={})
    saving.pool.paper_hosts["alpha"].usable = False

    assert saving.tidy() == []


def test_on_a_host_that_another_master_uses_only_jobs_take_slots_and_space() -> None:
    saving = one_host(one={})
    saving.pool.paper_hosts["alpha"].is_shared = True
    assert saving.tidy() == []

    saving.pool.paper_hosts["alpha"].is_shared = False
    assert saving.tidy() != []


def test_a_vm_that_starts_for_somebody_comes_first() -> None:
    saving = one_host(one={"spares": 1})
    saving.pool.tidy()
    (spare,) = saving.pool.spares
    assert saving.tidy() == []

    machine_of(spare).comes_up()

    assert len(saving.tidy()) == 1


def test_nothing_is_saved_while_a_job_is_saved_on_its_way() -> None:
    saving = one_host(one={})
    saving.pool.paper_hosts["alpha"].saved.states.begin("aa", "image")

    assert saving.tidy() == []


def test_a_label_that_cannot_be_saved_rests_longer_each_time() -> None:
    saving = one_host(one={})
    (vm,) = saving.tidy()
    machine_of(vm).fails(GuestError("no"))
    assert saving.tidy() == []

    saving.pool.clock.advance(BACKOFF.first + 1)
    (vm,) = saving.tidy()
    machine_of(vm).fails(GuestError("no"))
    saving.pool.clock.advance(BACKOFF.first + 1)
    assert saving.tidy() == []
    saving.pool.clock.advance(BACKOFF.longest)
    assert len(saving.tidy()) == 1


def test_a_label_is_saved_where_its_image_is_and_elsewhere_as_soon_as_it_comes() -> None:
    saving = Saving(config_of(slots=1, one={"image": "debian-13"}))
    alpha = saving.pool.paper_hosts["alpha"]
    alpha.lacks = {"debian-13"}
    saving.check_images()

    assert [host for _label, host, _slot in saving.save_all()] == ["beta"]
    assert saving.tidy() == []

    alpha.lacks = set()
    saving.check_images()
    assert [vm.allocation.host for vm in saving.tidy()] == ["alpha"]


def test_what_failed_before_its_image_was_known_to_be_missing_does_not_rest_once_it_comes() -> None:
    saving = one_host(one={"image": "debian-13"})
    for _ in range(9):
        for vm in saving.tidy():
            machine_of(vm).fails(ConfigurationError("image debian-13 is not published"))
        saving.pool.clock.advance(BACKOFF.longest)
    (failure,) = saving.pool.history.failures
    assert failure.when == saving.pool.now - BACKOFF.longest, "the newest"
    (vm,) = saving.tidy()
    machine_of(vm).fails(ConfigurationError("image debian-13 is not published"))
    saving.pool.paper_hosts["alpha"].lacks = {"debian-13"}
    saving.check_images()
    assert saving.tidy() == []

    saving.pool.paper_hosts["alpha"].lacks = set()
    saving.check_images()

    assert len(saving.tidy()) == 1


@pytest.mark.parametrize("published", ["newest", "newer"])
def test_another_version_of_an_image_that_cannot_be_saved_is_tried_at_once(published: str) -> None:
    saving = one_host(one={})
    (vm,) = saving.tidy()
    machine_of(vm).is_to_be_saved = True
    machine_of(vm).goes_on()
    machine_of(vm).fails(GuestError("no"))

    saving.pool.paper_hosts["alpha"].newest = published
    saving.check_images()

    assert len(saving.tidy()) == (published == "newer")


def test_a_label_that_was_changed_after_it_failed_is_saved_at_once() -> None:
    lost: dict[str, object] = {"network": {"network": "lost"}}
    saving = one_host(one=lost)
    (vm,) = saving.tidy()
    machine_of(vm).fails(ConfigurationError("there is no network lost"))
    saving.pool.configure(config_of(hosts=("alpha",), one=lost, other={"start": "boot"}))
    assert saving.tidy() == []

    saving.pool.configure(config_of(hosts=("alpha",), one={"network": {"network": "found"}}))
    saving.save_all()

    assert "saved state of slot 1 for label one" in saving.states()


def test_an_image_that_cannot_be_saved_is_not_booted_in_vain() -> None:
    saving = one_host(one={})
    saving.pool.paper_hosts["alpha"].saved.states.note_unfit("newest", "because")
    (vm,) = saving.tidy()
    machine_of(vm).goes_on()

    assert machine_of(vm).is_over
    assert not machine_of(vm).booted
    assert saving.tidy() == []


def test_one_that_came_second_is_tried_again_soon() -> None:
    saving = one_host(one={})
    (vm,) = saving.tidy()
    machine_of(vm).goes_on()

    assert machine_of(vm).is_over
    assert len(saving.tidy()) == 1


def test_states_that_no_label_asks_for_go() -> None:
    saving = one_host(slots=1, one={}, two={"memory": "1GiB"})
    saving.save_all()
    saving.pool.configure(config_of(hosts=("alpha",), slots=1, one={}, two={"memory": "2GiB"}))

    saving.tidy()

    assert saving.states() == ["saved state of slot 1 for label one"]


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
    saving = one_host(slots=2, one={})
    saving.save_all()
    saving.pool.configure(changed)

    saving.tidy()

    assert "saved state of slot 2 for label one" not in saving.states()


def test_when_the_space_is_used_up_those_go_that_were_not_used_for_the_longest() -> None:
    saving = one_host(slots=3, one={})
    states = saving.pool.paper_hosts["alpha"].saved.states
    for slot in (1, 2, 3):
        states.add(a_state(saving.config, "one", slot, vm_id=f"a{slot}"))
    states.claim(1, "0" * 24)
    saving.give_space(2 * SIZE)

    assert saving.tidy() == []

    (gone,) = saving.pool.paper_hosts["alpha"].saved.gone
    assert gone[0] == "a2"


@pytest.mark.parametrize(("space", "count"), [(SIZE - 1, 0), (2 * SIZE, 0), (3 * SIZE, 1)])
def test_nothing_is_saved_in_the_background_for_which_another_would_go(
    space: int, count: int
) -> None:
    saving = one_host(slots=4, one={})
    saving.give_space(space)
    if space > SIZE:
        for slot in (1, 2):
            state = a_state(saving.config, "one", slot, vm_id=f"a{slot}")
            saving.pool.paper_hosts["alpha"].saved.states.add(state)

    assert len(saving.tidy()) == count


def test_states_of_an_older_image_go() -> None:
    saving = one_host(slots=1, one={}, two={"memory": "1GiB"})
    saving.save_all()

    saving.pool.paper_hosts["alpha"].newest = "newer"
    check = saving.pool.image_check.run()
    with pytest.raises(StopIteration):
        check.send(None)

    assert saving.states() == []


def test_a_label_that_goes_while_images_are_checked_is_left_alone() -> None:
    saving = one_host(slots=1, one={}, two={"memory": "1GiB"})
    saving.save_all()
    host = saving.pool.paper_hosts["alpha"]
    host.newest, host.thinks = "newer", Deferred()

    check = Deferred.fromCoroutine(saving.pool.image_check.run())
    saving.pool.configure(config_of(hosts=("alpha",), slots=1, one={}))
    host.thinks.callback(None)

    assert check.called
    (kept,) = host.saved.states
    assert kept.record.label == "two"


def test_each_host_is_asked_once_about_all_images_and_all_hosts_at_the_same_time() -> None:
    saving = Saving(config_of(slots=1, one={}, two={"memory": "1GiB"}, three={"vcpus": 2}))
    saving.save_all()
    answers: list[Deferred[None]] = []
    for host in saving.pool.paper_hosts.values():
        host.thinks = Deferred()
        answers.append(host.thinks)

    check = Deferred.fromCoroutine(saving.pool.image_check.run())
    asked = [host.questions for host in saving.pool.paper_hosts.values()]

    assert asked == [[["one", "three", "two"]]] * 2
    for answer in answers:
        answer.callback(None)
    assert check.called


def test_a_host_that_goes_while_hosts_are_tidied_saves_nothing() -> None:
    pool = PaperPool(config_of(one={}))
    steps = pool.state_saver.tidy()
    next(steps)
    assert [vm.host.name for vm in pool.state_saver] == ["alpha"]

    pool.configure(config_of(hosts=("alpha",), one={}))
    all_of(steps)

    assert not pool.paper_hosts["beta"].machines


def test_the_slots_where_a_label_is_resumed_are_told() -> None:
    saving = Saving(config_of(slots=2, one={}, same={}, other={"memory": "1GiB"}))
    state = a_state(saving.config, "one", 2, vm_id="aa")
    saving.pool.paper_hosts["beta"].saved.states.add(state)

    found = saving.pool.state_saver.saved_slots()

    assert found["beta"] == {"one": frozenset({2}), "same": frozenset({2})}
    assert not any(found[host] for host in found.keys() - {"beta"})


def test_in_the_end_what_is_being_saved_goes_and_what_is_saved_stays() -> None:
    saving = one_host(slots=2, one={})
    (vm,) = saving.tidy()
    saving.save(vm)
    (vm,) = saving.tidy()

    stop = saving.pool.state_saver.stop()
    with pytest.raises(StopIteration):
        stop.send(None)

    assert machine_of(vm).is_over
    assert len(saving.states()) == 1
    end = saving.pool.state_saver.end()
    with pytest.raises(StopIteration):
        end.send(None)
    assert saving.states() == []


def chosen_state(
    config: PoolConfig, slot: int, *, vcpus: int, vm_id: str, label: str = "one"
) -> SavedState:
    """Return the state of a VM whose build has chosen so many vCPUs."""
    state = a_state(config, label, slot, vm_id=vm_id)
    memory = config.labels[label].memory
    spec_hash = vm_spec(config, label, vcpus=vcpus, memory=memory).hash
    record = replace(state.record, size=f"{vcpus}x{memory}", spec_hash=spec_hash)
    return replace(state, record=record)


CHOICE: dict[str, object] = {"vcpus": {"min": 1, "max": 4, "default": 2}}


def test_a_state_of_a_size_that_builds_may_choose_stays_and_is_of_use_for_that_size() -> None:
    saving = one_host(slots=3, one=CHOICE)
    states = saving.pool.paper_hosts["alpha"].saved.states
    states.add(chosen_state(saving.config, 3, vcpus=4, vm_id="large"))

    saving.tidy()

    assert [state.name.vm_id for state in states] == ["large"]
    size = Size(4, saving.config.labels["one"].memory)
    assert saving.pool.state_saver.saved_slots() == {"alpha": {sized("one", size): frozenset({3})}}


def test_a_state_of_a_chosen_size_goes_with_the_hardware_that_it_was_saved_with() -> None:
    saving = one_host(slots=3, one=CHOICE)
    host = saving.pool.paper_hosts["alpha"]
    host.saved.states.add(chosen_state(saving.config, 3, vcpus=4, vm_id="large"))

    saving.pool.configure(config_of(hosts=("alpha",), slots=3, one={**CHOICE, "machine": "pc"}))
    saving.tidy()

    assert host.saved.gone == [("large", "no label asks for such a VM any more")]


def test_a_newer_image_ends_states_of_chosen_sizes_and_none_of_other_labels() -> None:
    saving = one_host(slots=3, one=CHOICE, two={**CHOICE, "memory": "1GiB"})
    host = saving.pool.paper_hosts["alpha"]
    host.saved.states.add(chosen_state(saving.config, 3, vcpus=4, vm_id="large"))
    of_two = chosen_state(saving.config, 1, vcpus=3, vm_id="large two", label="two")
    host.saved.states.add(of_two)
    host.saved.states.add(a_state(saving.config, "one", 1, vm_id="usual"))
    host.saved.states.add(a_state(saving.config, "two", 2, vm_id="other"))

    saving.pool.state_saver.note_image(saving.pool.hosts["alpha"], "one", {"newest"})
    assert host.saved.gone == []
    saving.pool.state_saver.note_image(saving.pool.hosts["alpha"], "one", {"newer"})

    assert sorted(vm_id for vm_id, _why in host.saved.gone) == ["large", "usual"]


def test_a_host_where_nothing_has_changed_is_not_tidied_again() -> None:
    saving = one_host(one={"max_vms": 1})
    host = saving.pool.paper_hosts["alpha"]
    saving.save_all()
    looks: list[object] = []
    states = host.saved.states
    least_used_first = states.least_used_first

    def looked() -> object:
        looks.append(None)
        return least_used_first()

    states.least_used_first = looked  # type: ignore[method-assign, assignment]
    saving.tidy()
    saving.tidy()
    assert looks == []

    saving.pool.configure(saving.config.model_copy())
    saving.tidy()

    assert len(looks) == 1


def test_a_defect_while_a_vm_is_saved_is_logged_and_its_label_rests() -> None:
    saving = one_host(one={})
    (vm,) = saving.tidy()

    with capturedLogs() as events:
        machine_of(vm).fails(ZeroDivisionError("a defect"))

    assert [type(e["log_failure"].value) for e in events if "log_failure" in e] == [
        ZeroDivisionError
    ]
    texts = [formatEvent(event) for event in events]
    assert any("is tried again in" in text and "a defect" in text for text in texts)
    assert saving.tidy() == []


def test_a_failure_of_a_guest_is_a_warning_with_when_it_is_tried_again() -> None:
    saving = one_host(one={})
    (vm,) = saving.tidy()

    with capturedLogs() as events:
        machine_of(vm).fails(GuestError("it is silent"))

    assert not any("log_failure" in event for event in events)
    assert any("of label one was not saved" in formatEvent(event) for event in events)
    saving.pool.clock.advance(BACKOFF.longest)
    assert len(saving.tidy()) == 1


def test_a_vm_that_was_saved_ends_the_count_of_failures() -> None:
    saving = one_host(slots=4, one={})
    for fails in (True, False, True):
        (vm,) = saving.tidy()
        if fails:
            machine_of(vm).fails(GuestError("no"))
            saving.pool.clock.advance(BACKOFF.first + BACKOFF.first / 2)
        else:
            saving.save(vm)

    assert len(saving.tidy()) == 1, "it is the first failure in a row"


def test_a_vm_that_a_job_has_ended_is_not_logged() -> None:
    saving = one_host(slots=1, one={}, other={})
    (vm,) = saving.tidy()

    with capturedLogs() as events:
        saving.pool.allocator.make_room("other")
        saving.pool.clock.advance(0)

    assert machine_of(vm).is_over
    assert not any("was not saved" in formatEvent(event) for event in events)


def test_a_vm_that_came_up_and_was_not_saved_makes_its_label_rest() -> None:
    saving = one_host(one={})
    (vm,) = saving.tidy()
    machine = machine_of(vm)
    machine.is_to_be_saved = True

    while machine.is_busy:
        machine.goes_on()

    assert machine.is_over
    assert "boot" in vm.timeline.phases
    assert saving.tidy() == []
    saving.pool.clock.advance(BACKOFF.longest)
    assert len(saving.tidy()) == 1


def test_a_label_that_is_to_be_resumed_from_now_on_is_saved() -> None:
    saving = one_host(one={"start": "boot"})
    assert saving.tidy() == []

    saving.pool.configure(config_of(hosts=("alpha",), one={}))

    assert len(saving.tidy()) == 1


def test_a_state_of_no_use_goes_whenever_it_comes() -> None:
    saving = one_host(slots=1, one={})
    saving.save_all()
    host = saving.pool.paper_hosts["alpha"]
    other = config_of(hosts=("alpha",), one={"memory": "4GiB"})
    host.saved.states.add(a_state(other, "one", 1, vm_id="other"))

    saving.tidy()

    assert [vm_id for vm_id, _why in host.saved.gone] == ["other"]


def test_a_saved_slot_is_of_use_for_a_label_of_another_name_at_once() -> None:
    saving = one_host(slots=1, one={})
    saving.save_all()
    assert saving.pool.state_saver.saved_slots() == {"alpha": {"one": frozenset({1})}}

    saving.pool.configure(config_of(hosts=("alpha",), slots=1, other={}))

    assert saving.pool.state_saver.saved_slots() == {"alpha": {"other": frozenset({1})}}


@pytest.mark.parametrize("why", ["nothing to save", "shared", "busy", "full"])
def test_hosts_without_work_are_looked_at_several_at_a_time(why: str) -> None:
    names = tuple(f"host-{number}" for number in range(2 * AT_ONCE))
    start = "boot" if why == "nothing to save" else "resume"
    max_vms = 1 if why == "full" else 9
    pool = PaperPool(config_of(hosts=names, max_vms=max_vms, one={"start": start}))
    for host in pool.paper_hosts.values():
        host.is_shared = why == "shared"
        if why == "busy":
            host.saved.states.begin("aa", "image")
    if why == "full":
        pool.give()

    pauses = [len(list(pool.state_saver.tidy())) for _ in range(2)]

    assert pauses == [len(names), 2]


def test_a_state_of_a_chosen_size_goes_when_its_label_boots() -> None:
    saving = one_host(slots=3, one=CHOICE)
    host = saving.pool.paper_hosts["alpha"]
    host.saved.states.add(chosen_state(saving.config, 3, vcpus=4, vm_id="large"))

    saving.pool.configure(config_of(hosts=("alpha",), slots=3, one={**CHOICE, "start": "boot"}))
    saving.tidy()

    assert [vm_id for vm_id, _why in host.saved.gone] == ["large"]
