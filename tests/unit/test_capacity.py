# SPDX-License-Identifier: GPL-2.0-only
"""The arithmetic of caps, against a model that counts the plain way."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from latent_libvirt.capacity import Caps, LabelCap, Ledger, Place, Target

HOSTS = ("one", "two")
LABELS = ("small", "large")

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
        ),
    ),
    starting=st.dictionaries(st.sampled_from(HOSTS), st.integers(1, 3)),
)
unusable = st.dictionaries(
    st.sampled_from(HOSTS), st.none() | st.frozensets(st.integers(1, 3), max_size=3)
)

targets = st.builds(Target, st.just("host"), st.sampled_from(HOSTS)) | st.builds(
    Target, st.just("label"), st.sampled_from(LABELS)
)


class LedgerMachine(RuleBasedStateMachine):
    """Takes and gives back in any order while caps and hosts change."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(Caps(3, {"one": 2, "two": 2}, {"small": LabelCap(3, HOSTS)}))
        self.unusable: dict[str, frozenset[int] | None] = {}
        self.drained: dict[str, bool] = {}
        self.held: list[Place] = []
        self.starting: list[Place] = []

    @rule(label=st.sampled_from(LABELS))
    def take(self, label: str) -> None:
        expected = self.model_room(label)
        assert self.ledger.room(label) == expected
        place = self.ledger.take(label)
        assert (place is not None) == expected
        if place is not None:
            assert self.is_free(label, place.host, place.slot)
            self.held.append(place)
            self.starting.append(place)

    @precondition(lambda self: self.starting)
    @rule(data=st.data())
    def note_started(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.starting))
        self.starting.remove(place)
        self.ledger.note_started(place)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(self.held))
        self.held.remove(place)
        if place in self.starting:
            self.starting.remove(place)
        self.ledger.give_back(place)

    @rule(new=caps)
    def reconfigure(self, new: Caps) -> None:
        self.ledger.caps = new

    @rule(slots=unusable)
    def hosts_change(self, slots: dict[str, frozenset[int] | None]) -> None:
        self.unusable = slots
        self.ledger.set_unusable(slots)

    @rule(what=targets)
    def drain(self, what: Target) -> None:
        self.drained[what.name] = True
        self.ledger.drained |= {what}

    @rule(what=targets)
    def undrain(self, what: Target) -> None:
        self.drained[what.name] = False
        self.ledger.drained -= {what}

    @invariant()
    def a_slot_is_held_once(self) -> None:
        counts = Counter((place.host, place.slot) for place in self.held)
        assert all(count == 1 for count in counts.values())

    @invariant()
    def the_ledger_knows_what_is_held(self) -> None:
        assert self.ledger.taken == frozenset(self.held)

    def model_room(self, label: str) -> bool:
        caps = self.ledger.caps
        cap = caps.labels.get(label)
        return (
            cap is not None
            and not self.drained.get(label)
            and len(self.held) < caps.max_vms
            and sum(place.label == label for place in self.held) < cap.max_vms
            and any(self.is_free(label, host, slot) for host in HOSTS for slot in (1, 2, 3))
        )

    def is_free(self, label: str, host: str, slot: int) -> bool:
        caps = self.ledger.caps
        blocked = self.unusable.get(host, frozenset())
        held = [place.slot for place in self.held if place.host == host]
        starting = sum(place.host == host for place in self.starting)
        return (
            host in caps.labels[label].hosts
            and not self.drained.get(host)
            and slot <= caps.slots[host]
            and len(held) < caps.slots[host]
            and slot not in held
            and starting < caps.starting.get(host, starting + 1)
            and blocked is not None
            and slot not in blocked
        )


TestLedger = LedgerMachine.TestCase


def test_the_next_vm_goes_to_the_host_with_the_most_free_slots() -> None:
    ledger = Ledger(Caps(9, {"one": 1, "two": 3}, {"small": LabelCap(9, HOSTS)}))

    places = [ledger.take("small") for _ in range(3)]

    assert [place.host for place in places if place] == ["two", "two", "one"]


def test_a_place_cannot_be_given_back_twice() -> None:
    ledger = Ledger(Caps(1, {"one": 1}, {"small": LabelCap(1, ("one",))}))
    place = ledger.take("small")
    assert place is not None
    ledger.give_back(place)

    with pytest.raises(KeyError):
        ledger.give_back(place)


def test_a_host_and_a_label_of_one_name_are_drained_apart() -> None:
    ledger = Ledger(Caps(9, {"same": 1, "other": 1}, {"same": LabelCap(9, ("same", "other"))}))

    ledger.drained = frozenset({Target("host", "same")})
    place = ledger.take("same")

    assert place is not None
    assert place.host == "other"
    assert not ledger.room("same")
