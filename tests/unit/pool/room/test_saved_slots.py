# SPDX-License-Identifier: GPL-2.0-only
"""Saved slots are known by host and label, and only what has changed is looked at again."""

from __future__ import annotations

from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.saved_slots import SavedSlots, sized

FIRST = frozenset({1})


def test_saved_slots_are_those_of_a_label_on_a_host() -> None:
    saved = SavedSlots()
    saved.update({"one": {"small": FIRST}})

    assert saved.of("small", "one") == FIRST
    assert saved.of("large", "one") == saved.of("small", "two") == frozenset()
    assert list(saved.labels("one")) == ["small"]
    assert not saved.labels("two")


def test_a_change_is_that_of_a_host_with_the_labels_that_it_had() -> None:
    saved = SavedSlots()

    assert saved.update({"one": {}}) == {}
    assert saved.update({}) == {}
    assert saved.update({"one": {"small": FIRST}, "two": {"small": FIRST}}) == {
        "one": (),
        "two": (),
    }
    assert saved.update({"one": {"small": FIRST}, "two": {"large": FIRST}}) == {"two": ("small",)}
    assert saved.update({}) == {"one": ("small",), "two": ("large",)}


def test_vms_of_a_chosen_size_have_a_name_of_label_and_size() -> None:
    assert sized("small", Size(2, 4)) != sized("small", Size(4, 2))
    assert sized("small", Size(2, 4)) == "small 2 4"
