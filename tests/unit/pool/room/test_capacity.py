# SPDX-License-Identifier: GPL-2.0-only
"""The arithmetic of caps, against a model that counts the plain way."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.capacity import Capacity
from latent_libvirt.pool.room.caps import Budget, Caps, LabelCap
from latent_libvirt.status.names import Target

HOSTS = ("one", "two")
LABELS = ("small", "large")

targets = st.builds(Target, st.just("host"), st.sampled_from(HOSTS)) | st.builds(
    Target, st.just("label"), st.sampled_from(LABELS)
)
amounts = st.integers(0, 8) | st.just(math.inf)
caps = st.builds(
    Caps,
    max_vms=st.integers(0, 5),
    slots=st.fixed_dictionaries({host: st.integers(0, 3) for host in HOSTS}),
    labels=st.dictionaries(
        st.sampled_from(LABELS),
        st.builds(
            LabelCap,
            max_vms=st.integers(0, 4),
            hosts=st.lists(st.sampled_from(HOSTS), unique=True).map(tuple),
            size=st.builds(Size, st.integers(0, 3), st.integers(0, 3)),
        ),
    ),
    starting=st.dictionaries(st.sampled_from(HOSTS), st.integers(1, 3)),
    budgets=st.dictionaries(st.sampled_from(HOSTS), st.builds(Budget, amounts, amounts)),
    placement=st.sampled_from(["spread", "pack"]),
    drained=st.frozensets(targets, max_size=2),
)
unusable = st.dictionaries(
    st.sampled_from(HOSTS), st.none() | st.frozensets(st.integers(1, 3), max_size=3)
)

saved_slots = st.dictionaries(
    st.sampled_from(HOSTS),
    st.dictionaries(st.sampled_from(LABELS), st.frozensets(st.integers(1, 3), max_size=3)),
)


class CapacityMachine(RuleBasedStateMachine):
    """Takes and gives back in any order while caps and hosts change."""

    def __init__(self) -> None:
        super().__init__()
        self.capacity = Capacity(Caps(3, {"one": 2, "two": 2}, {"small": LabelCap(3, HOSTS)}))
        self.unusable: dict[str, frozenset[int] | None] = {}
        self.drained: set[Target] = set()
        self.held: list[Allocation] = []
        self.starting: list[Allocation] = []
        self.saved: dict[str, dict[str, frozenset[int]]] = {}

    @rule(label=st.sampled_from(LABELS), avoid=st.sets(st.sampled_from(HOSTS)))
    def take(self, label: str, avoid: set[str]) -> None:
        expected = self.model_room(label)
        best = self.model_best(label, avoid) if expected else None
        assert self.capacity.room(label) == expected
        allocation = self.capacity.take(label, avoid)
        assert (allocation is not None) == expected
        if allocation is not None:
            assert allocation.host == best
            assert self.is_free(label, allocation.host, allocation.slot)
            ready = self.ready_slots(label, allocation.host)
            assert allocation.slot in ready or not ready
            assert allocation.size == self.capacity.caps.labels[label].size
            self.held.append(allocation)
            self.starting.append(allocation)

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def note_started(self, data: st.DataObject) -> None:
        allocation = data.draw(st.sampled_from(self.starting))
        self.starting.remove(allocation)
        self.capacity.note_started(allocation)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        allocation = data.draw(st.sampled_from(self.held))
        self.held.remove(allocation)
        if allocation in self.starting:
            self.starting.remove(allocation)
        self.capacity.give_back(allocation)

    @rule(new=caps)
    def reconfigure(self, new: Caps) -> None:
        self.capacity.caps = new

    @rule(slots=unusable)
    def hosts_change(self, slots: dict[str, frozenset[int] | None]) -> None:
        self.unusable = slots
        self.capacity.set_unusable(slots)

    @rule(slots=saved_slots)
    def save(self, slots: dict[str, dict[str, frozenset[int]]]) -> None:
        self.saved = slots
        self.capacity.set_saved(slots)

    @rule(label=st.sampled_from(LABELS), host=st.sampled_from(HOSTS), slot=st.integers(1, 3))
    def take_at(self, label: str, host: str, slot: int) -> None:
        expected = self.model_room(label) and self.is_free(label, host, slot)
        allocation = self.capacity.take_at(label, host, slot)
        assert (allocation is not None) == expected
        if allocation is not None:
            assert (allocation.label, allocation.host, allocation.slot) == (label, host, slot)
            self.held.append(allocation)
            self.starting.append(allocation)

    @rule(what=targets)
    def drain(self, what: Target) -> None:
        self.drained |= {what}
        self.capacity.drained |= {what}

    @rule(what=targets)
    def undrain(self, what: Target) -> None:
        self.drained -= {what}
        self.capacity.drained -= {what}

    @invariant()
    def a_slot_is_held_once(self) -> None:
        counts = Counter((allocation.host, allocation.slot) for allocation in self.held)
        assert all(count == 1 for count in counts.values())

    @invariant()
    def the_capacity_knows_what_is_held(self) -> None:
        assert self.capacity.taken == frozenset(self.held)

    @invariant()
    def the_capacity_knows_what_each_host_has_given(self) -> None:
        for host in HOSTS:
            sizes = [allocation.size for allocation in self.held if allocation.host == host]
            assert self.capacity.given(host) == sum(sizes, Size())

    def model_room(self, label: str) -> bool:
        caps = self.capacity.caps
        cap = caps.labels.get(label)
        return (
            cap is not None
            and not self.is_drained(Target("label", label))
            and len(self.held) < caps.max_vms
            and sum(allocation.label == label for allocation in self.held) < cap.max_vms
            and any(self.is_free(label, host, slot) for host in HOSTS for slot in (1, 2, 3))
        )

    def is_drained(self, target: Target) -> bool:
        return target in self.drained or target in self.capacity.caps.drained

    def fitting(self, label: str, host: str) -> int:
        """Count how many VMs of *label* the budget of *host* has room for, of 3 slots at most."""
        size = self.capacity.caps.labels[label].size
        budget = self.capacity.caps.budgets.get(host, Budget())
        vcpus = sum(allocation.size.vcpus for allocation in self.held if allocation.host == host)
        memory = sum(allocation.size.memory for allocation in self.held if allocation.host == host)
        return sum(
            vcpus + count * size.vcpus <= budget.vcpus
            and memory + count * size.memory <= budget.memory
            for count in (1, 2, 3)
        )

    def model_best(self, label: str, avoid: set[str]) -> str:
        """Return where a VM of *label* should go; there is room."""
        caps = self.capacity.caps
        room = {
            host: min(
                self.fitting(label, host),
                caps.slots[host] - sum(allocation.host == host for allocation in self.held),
                sum(self.is_free(label, host, slot) for slot in (1, 2, 3)),
            )
            for host in caps.slots
        }
        roomy = [host for host in caps.slots if room[host] > 0]
        roomy = [host for host in roomy if host not in avoid] or roomy
        ready = [h for h in roomy if h not in avoid and self.ready_slots(label, h)]
        roomy = ready or roomy
        pick = min if caps.placement == "pack" else max
        return pick(roomy, key=lambda host: room[host])

    def ready_slots(self, label: str, host: str) -> list[int]:
        slots = self.saved.get(host, {}).get(label, frozenset())
        return [slot for slot in slots if self.is_free(label, host, slot)]

    def is_free(self, label: str, host: str, slot: int) -> bool:
        caps = self.capacity.caps
        if label not in caps.labels or host not in caps.slots:
            return False
        blocked = self.unusable.get(host, frozenset())
        held = [allocation.slot for allocation in self.held if allocation.host == host]
        starting = sum(allocation.host == host for allocation in self.starting)
        return (
            host in caps.labels[label].hosts
            and not self.is_drained(Target("host", host))
            and self.fitting(label, host) > 0
            and slot <= caps.slots[host]
            and len(held) < caps.slots[host]
            and slot not in held
            and starting < caps.starting.get(host, starting + 1)
            and blocked is not None
            and slot not in blocked
        )


def test_whatever_is_taken_and_given_back_is_what_the_model_counts() -> None:
    run_state_machine_as_test(CapacityMachine, settings=settings())


def test_a_place_cannot_be_given_back_twice() -> None:
    capacity = Capacity(Caps(1, {"one": 1}, {"small": LabelCap(1, ("one",))}))
    allocation = capacity.take("small")
    assert allocation is not None
    capacity.give_back(allocation)

    with pytest.raises(KeyError):
        capacity.give_back(allocation)


def test_a_host_and_a_label_of_one_name_are_drained_apart() -> None:
    capacity = Capacity(Caps(9, {"same": 1, "other": 1}, {"same": LabelCap(9, ("same", "other"))}))

    capacity.drained = frozenset({Target("host", "same")})
    allocation = capacity.take("same")

    assert allocation is not None
    assert allocation.host == "other"
    assert not capacity.room("same")


def test_a_vm_counts_as_large_as_it_was_made() -> None:
    def caps(memory: int) -> Caps:
        labels = {"small": LabelCap(9, ("one",), Size(1, memory))}
        return Caps(9, {"one": 9}, labels, budgets={"one": Budget(memory=4)})

    capacity = Capacity(caps(3))
    allocation = capacity.take("small")
    assert allocation is not None
    capacity.caps = caps(1)
    assert capacity.take("small") is not None
    assert not capacity.room("small")

    capacity.give_back(allocation)

    assert [capacity.take("small") is not None for _ in range(4)] == [True, True, True, False]


def test_what_the_caps_drain_stays_drained_whatever_the_operator_says() -> None:
    drained = frozenset({Target("host", "one")})
    capacity = Capacity(Caps(9, {"one": 1}, {"small": LabelCap(9, ("one",))}, drained=drained))

    capacity.drained = drained
    capacity.drained = frozenset()

    assert capacity.is_drained(Target("host", "one"))
    assert not capacity.room("small")


def test_asking_what_room_there_would_be_changes_nothing_of_what_is_taken() -> None:
    labels = {"small": LabelCap(9, ("one",))}
    capacity = Capacity(Caps(9, {"one": 2}, labels, starting={"one": 1}))
    up = capacity.take("small")
    assert up is not None
    capacity.note_started(up)
    starting = capacity.take("small")
    assert starting is not None

    assert capacity.room_without("small", [up, starting])

    assert capacity.taken == {up, starting}
    assert capacity.starting("one") == 1
    capacity.give_back(starting)
    assert capacity.starting("one") == 0


def test_a_vm_that_starts_takes_the_room_of_the_only_one_that_may() -> None:
    labels = {"small": LabelCap(9, ("one",))}
    capacity = Capacity(Caps(9, {"one": 3}, labels, starting={"one": 1}))
    first = capacity.take("small")
    assert first is not None

    assert not capacity.room("small")
    assert capacity.room_without("small", [first])
    assert not capacity.room("small")


def test_a_vm_that_is_there_already_does_not_count_as_starting() -> None:
    labels = {"small": LabelCap(9, ("one",))}
    capacity = Capacity(Caps(9, {"one": 2}, labels, starting={"one": 1}))

    assert capacity.take_slot("small", "one", 2) is not None

    assert capacity.starting("one") == 0
    assert capacity.room("small")


SMALL = LabelCap(9, ("one",), Size(2, 4))
IN_THE_WAY: dict[str, tuple[Caps, bool]] = {
    "its label has left the host": (
        Caps(9, {"one": 3, "two": 3}, {"small": LabelCap(9, ("two",))}),
        False,
    ),
    "its host is drained": (
        Caps(9, {"one": 3}, {"small": SMALL}, drained=frozenset({Target("host", "one")})),
        False,
    ),
    "its label is drained": (
        Caps(9, {"one": 3}, {"small": SMALL}, drained=frozenset({Target("label", "small")})),
        False,
    ),
    "the host has fewer slots": (Caps(9, {"one": 0}, {"small": SMALL}), False),
    "a label with devices has fewer slots": (
        Caps(9, {"one": 3}, {"small": replace(SMALL, last_slots={"one": 0})}),
        False,
    ),
    "the master has as many VMs as it may": (Caps(1, {"one": 3}, {"small": SMALL}), True),
    "its label has as many VMs as it may": (
        Caps(9, {"one": 3}, {"small": replace(SMALL, max_vms=1)}),
        True,
    ),
    "the host has as many VMs as slots": (Caps(9, {"one": 1}, {"small": SMALL}), True),
    "the host's vCPUs are given out": (
        Caps(9, {"one": 3}, {"small": SMALL}, budgets={"one": Budget(vcpus=3)}),
        True,
    ),
    "the host's memory is given out": (
        Caps(9, {"one": 3}, {"small": SMALL}, budgets={"one": Budget(memory=7)}),
        True,
    ),
}


@pytest.mark.parametrize(("caps", "has_another"), IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_a_vm_that_is_there_already_stays_within_the_caps_unless_it_is_said_to_count_more(
    *, caps: Caps, has_another: bool
) -> None:
    capacity = Capacity(caps)
    if has_another:
        assert capacity.take_slot("small", "one", 2, although_full=True) is not None

    assert not capacity.has_slot("small", "one", 1)
    assert capacity.take_slot("small", "one", 1) is None
    assert capacity.take_slot("small", "one", 1, although_full=True) is not None
    assert capacity.take_slot("small", "one", 1, although_full=True) is None, "it is taken"
    assert not capacity.has_slot("small", "one", 1)


def test_a_vm_that_is_there_already_stays_if_all_caps_have_just_room_for_it() -> None:
    labels = {"small": replace(SMALL, max_vms=2, last_slots={"one": 1})}
    capacity = Capacity(Caps(2, {"one": 2}, labels, budgets={"one": Budget(4, 8)}))
    assert capacity.take_slot("small", "one", 2, although_full=True) is not None

    assert capacity.has_slot("small", "one", 1)
    assert capacity.take_slot("small", "one", 1) is not None


def test_a_vm_that_is_there_already_stays_on_a_host_that_takes_no_new_one_now() -> None:
    capacity = Capacity(Caps(9, {"one": 2}, {"small": SMALL}, starting={"one": 1}))
    assert capacity.take("small") is not None
    capacity.set_unusable({"one": None})

    assert capacity.take_slot("small", "one", 2) is not None


def test_a_vm_that_is_there_already_does_not_stay_on_a_host_that_is_unfit_for_it() -> None:
    capacity = Capacity(Caps(9, {"one": 2}, {"small": SMALL, "other": SMALL}))
    capacity.set_unfit({"small": {"one": "too small"}})

    assert capacity.take_slot("small", "one", 1) is None
    assert capacity.take_slot("other", "one", 1) is not None


def test_no_vm_starts_where_its_image_is_missing_and_one_that_is_there_stays() -> None:
    capacity = Capacity(Caps(9, {"one": 2}, {"small": SMALL, "other": SMALL}))

    assert capacity.set_unfit({}, without_image={"small": {"one": "not published"}})

    assert not capacity.room("small")
    assert capacity.take_at("small", "one", 1) is None
    assert capacity.has_slot("small", "one", 1)
    assert capacity.take_slot("small", "one", 1) is not None
    assert capacity.take("other") is not None
    assert not capacity.set_unfit({}, without_image={"small": ["one"], "other": []})
    assert capacity.set_unfit({})
    assert not capacity.room("small"), "there is no slot"


def test_what_is_said_of_hosts_is_a_change_only_if_it_was_not_known() -> None:
    capacity = Capacity(Caps(9, {"one": 2}, {"small": SMALL}))
    slot = frozenset({1})

    unusable: list[dict[str, frozenset[int] | None]]
    unusable = [{}, {"one": frozenset()}, {"one": None}, {"one": None}, {"one": slot}, {}]
    assert [capacity.set_unusable(each) for each in unusable] == [
        *(False, False, True, False, True, True)
    ]
    unfit: list[dict[str, list[str]]]
    unfit = [{"small": []}, {"small": ["one"]}, {"small": ["one"], "x": []}, {}, {}]
    assert [capacity.set_unfit(each) for each in unfit] == [False, True, False, True, False]
    saved: list[dict[str, dict[str, frozenset[int]]]]
    saved = [{"one": {}}, {}, {"one": {"small": slot}}, {"one": {"small": slot}}, {}, {}]
    assert [capacity.set_saved(each) for each in saved] == [
        *(False, False, True, False, True, False)
    ]


def test_a_label_gets_as_many_vms_as_it_may_and_none_while_it_is_drained() -> None:
    labels = {"small": LabelCap(2, ("one",)), "large": LabelCap(9, ("one",))}
    capacity = Capacity(Caps(9, {"one": 9}, labels))

    first, *others = [capacity.take("small") for _ in range(3)]
    assert first is not None
    assert [other is not None for other in others] == [True, False]
    capacity.give_back(first)
    assert [capacity.take("small") is not None for _ in range(2)] == [True, False]
    assert capacity.room("large")
    capacity.drained = frozenset({Target("label", "large")})
    assert not capacity.room("large")


def test_all_labels_together_get_as_many_vms_as_the_master_may_have() -> None:
    labels = {name: LabelCap(9, ("one",)) for name in LABELS}
    capacity = Capacity(Caps(2, {"one": 9}, labels))

    assert [capacity.take(name) is not None for name in (*LABELS, *LABELS)] == [
        *(True, True, False, False)
    ]
    assert capacity.is_full


def test_no_vm_can_be_started_in_a_certain_slot_that_cannot_be_used_or_of_no_known_label() -> None:
    capacity = Capacity(Caps(9, {"one": 3}, {"small": SMALL}))
    capacity.set_unusable({"one": frozenset({1})})

    assert capacity.take_at("small", "one", 1) is None
    assert capacity.take_at("unknown", "one", 2) is None
    assert capacity.take_at("small", "one", 2) is not None
    assert capacity.starting("one") == 1


def test_a_vm_whose_host_or_label_is_not_configured_cannot_stay() -> None:
    capacity = Capacity(Caps(9, {"one": 2}, {"small": LabelCap(9, ("one",))}))

    assert capacity.take_slot("small", "gone", 1) is None
    assert capacity.take_slot("gone", "one", 1, although_full=True) is None
    assert not capacity.taken


def test_what_is_taken_is_drained_with_its_host_or_its_label() -> None:
    capacity = Capacity(Caps(9, {"one": 2}, {"small": SMALL}))
    allocation = capacity.take("small")
    assert allocation is not None

    def drained(*targets: Target) -> bool:
        capacity.drained = frozenset(targets)
        return capacity.is_allocation_drained(allocation)

    assert not drained(Target("host", "two"), Target("label", "large"))
    assert drained(Target("host", "one"))
    assert drained(Target("label", "small"))


def test_a_host_has_room_only_while_it_can_be_used() -> None:
    capacity = Capacity(Caps(9, {"one": 2}, {"small": SMALL}))

    capacity.set_unusable({"one": None, "unknown": None})
    assert not capacity.room("small")
    capacity.set_unusable({})
    assert capacity.room("small")


def test_the_room_of_a_host_that_is_not_configured_any_more_is_given_back() -> None:
    capacity = Capacity(Caps(9, {"one": 2, "two": 1}, {"small": replace(SMALL, hosts=HOSTS)}))
    allocation = capacity.take("small")
    assert allocation is not None
    capacity.caps = Caps(9, {"two": 1}, {"small": replace(SMALL, hosts=("two",))})

    capacity.note_started(allocation)
    capacity.give_back(allocation)

    assert allocation.host == "one"
    assert not capacity.taken


def test_a_vm_that_is_there_already_counts_as_large_as_it_is() -> None:
    capacity = Capacity(Caps(9, {"one": 2}, {"small": SMALL}, budgets={"one": Budget(4, 8)}))

    assert not capacity.has_slot("small", "one", 1, Size(5, 4))
    assert capacity.take_slot("small", "one", 1, size=Size(3, 4)) is not None
    assert capacity.given("one") == Size(3, 4)
