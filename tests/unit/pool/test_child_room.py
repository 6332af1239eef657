# SPDX-License-Identifier: GPL-2.0-only
"""Room that is kept for children, within the cap of a label, the master's and the slots."""

from __future__ import annotations

import pytest

from latent_libvirt.pool import child_room
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.caps import Caps
from paper_pool import config_of


def vms(label: str, count: int) -> list[Allocation]:
    return [Allocation(label, "alpha", slot + 1, Size(1, 1)) for slot in range(count)]


@pytest.mark.parametrize(
    ("own", "others", "children", "may_take"),
    [
        (1, 0, 0, True),
        (2, 0, 0, False),  # one of the label's three VMs is kept
        (2, 0, 1, True),  # a child has it already
        (0, 5, 0, True),
        (0, 6, 0, False),  # one of the master's seven VMs is kept
        (1, 5, 0, False),
        (0, 6, 1, True),
    ],
)
def test_what_is_kept_counts_within_the_label_and_within_all(
    own: int, others: int, children: int, *, may_take: bool
) -> None:
    one: dict[str, object] = {"max_vms": 3, "reserve_for_children": 1}
    config = config_of(slots=10, max_vms=7, one=one, two={"max_vms": 7})
    busy = [*vms("one", own), *vms("two", others)]

    found = child_room.may_take("one", Caps.of(config), busy, vms("one", children))

    assert found is may_take


def test_no_more_is_kept_than_there_are_slots() -> None:
    config = config_of(slots=2, max_vms=9, one={"max_vms": 9, "reserve_for_children": 1})

    assert child_room.may_take("one", Caps.of(config), vms("one", 2), ())
    assert not child_room.may_take("one", Caps.of(config), vms("one", 3), ())
