# SPDX-License-Identifier: GPL-2.0-only
"""What VMs take is added up, and compared with what a host has left."""

from __future__ import annotations

import math

import pytest

from latent_libvirt.pool.room.amounts import Left, Size


def test_what_one_vm_takes_is_given_back() -> None:
    assert Size(1, 2) + Size(3, 5) == Size(4, 7)
    assert Size(4, 7) - Size(3, 5) == Size(1, 2)


@pytest.mark.parametrize(
    ("left", "fits"),
    [
        (Left(1, 2, 3), True),
        (Left(1), True),
        (Left(0), False),
        (Left(1, 1, 3), False),
        (Left(1, 2, 2), False),
    ],
)
def test_a_vm_fits_where_a_slot_and_enough_of_all_else_is_left(left: Left, *, fits: bool) -> None:
    assert left.fits(Size(2, 3)) == fits


@pytest.mark.parametrize(
    ("left", "count"),
    [
        (Left(2, 9, 9), 2),
        (Left(9, 5, 9), 2),
        (Left(9, 9, 8), 2),
        (Left(3), 3),
        (Left(9, math.inf, 2), 0),
    ],
)
def test_as_many_vms_have_room_as_the_scarcest_amount_allows(left: Left, count: int) -> None:
    assert left.room_for(Size(2, 3)) == count
