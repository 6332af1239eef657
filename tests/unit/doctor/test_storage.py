# SPDX-License-Identifier: GPL-2.0-only
"""Whether free space is enough for the slots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.doctor.finding import Status
from latent_libvirt.doctor.storage import LEAST_PER_VM, room
from latent_libvirt.errors import ConfigurationError


def test_room_for_every_slot_is_fine() -> None:
    told = room("builds", free=8 * GIB, slots=4)
    assert (told.status, told.brief) == (
        Status.FINE,
        "builds is active, 8.0 GiB free for 4 slots",
    )


def test_no_room_for_one_vm_is_a_failure() -> None:
    with pytest.raises(ConfigurationError, match="'builds' is full: 500 MiB are free"):
        room("builds", free=500 * MIB, slots=1)


@given(st.integers(LEAST_PER_VM, 2**45), st.integers(0, 10_000))
def test_a_warning_names_the_number_of_slots_that_would_be_fine(free: int, slots: int) -> None:
    told = room("builds", free=free, slots=slots)
    assert (told.status is Status.FINE) == (free >= slots * LEAST_PER_VM)
    if told.status is Status.WARNING:
        fewer = int(str(told.resolution).rstrip(".").rpartition(" ")[2])
        assert 0 < fewer < slots
        assert room("builds", free=free, slots=fewer).status is Status.FINE
