# SPDX-License-Identifier: GPL-2.0-only
"""What operators and hosts say is kept, and a change is seen."""

from __future__ import annotations

from latent_libvirt.pool.room.caps import Caps, LabelCap
from latent_libvirt.pool.room.limits import Limits
from latent_libvirt.status.names import Target

HOST, OTHER = Target("host", "one"), Target("host", "two")
LABEL = Target("label", "small")


def limits(drained: frozenset[Target] = frozenset()) -> Limits:
    labels = {"small": LabelCap(9, ("one", "two"))}
    return Limits(Caps(9, {"one": 2, "two": 2}, labels, drained=drained))


def test_operators_drain_beside_the_caps() -> None:
    found = limits(frozenset({HOST}))

    assert sorted(found.drain(frozenset({HOST, OTHER, LABEL}))) == ["one", "two"]
    assert all(map(found.is_drained, (HOST, OTHER, LABEL)))
    assert found.drain(frozenset({OTHER})) == ["one"], "a label is none of the hosts"
    assert [found.is_drained(target) for target in (HOST, OTHER, LABEL)] == [True, True, False]
    assert found.drained == {OTHER}


def test_new_caps_drain_beside_what_operators_drain_already() -> None:
    found = limits(frozenset({HOST}))
    assert [found.is_drained(target) for target in (HOST, OTHER, LABEL)] == [True, False, False]
    found.drain(frozenset({OTHER}))

    found.configure(Caps(9, {"one": 2}, {}, drained=frozenset({LABEL})))

    assert [found.is_drained(target) for target in (HOST, OTHER, LABEL)] == [False, True, True]


def test_slots_are_unusable_until_they_are_said_to_be_usable() -> None:
    found = limits()

    assert found.unusable_slots("one") == frozenset()
    assert found.set_unusable({"one": None, "two": frozenset()}) == ["one"]
    assert found.unusable_slots("one") is None
    assert found.set_unusable({"one": frozenset({2})}) == ["one"]
    assert found.unusable_slots("one") == frozenset({2})
    assert found.set_unusable({"one": frozenset({2})}) == []
    assert found.set_unusable({}) == ["one"]
    assert found.unusable_slots("one") == frozenset()


def test_a_label_can_use_its_hosts_but_those_that_are_unfit_for_it() -> None:
    found = limits()

    assert found.hosts_for("small") == ("one", "two")
    assert found.set_unfit({"small": ["one"], "other": []})
    assert found.hosts_for("small") == ("two",)
    assert not found.set_unfit({"small": ("one",)})
    assert found.set_unfit({"large": ["two"]})
    assert found.hosts_for("small") == ("one", "two")
