# SPDX-License-Identifier: GPL-2.0-only
"""What took too long in a VM's life, and why that may be."""

from __future__ import annotations

from latent_libvirt.doctor.finding import Status
from latent_libvirt.doctor.vm import slowness

USUAL = {"prepare": 0.01, "clone": 0.01, "start": 0.4, "boot": 8.0, "destroy": 0.25}


def test_a_usual_life_is_not_worth_a_line() -> None:
    assert slowness("VM", USUAL) == []


def test_a_slow_destroy_is_measured_and_told_with_its_cure() -> None:
    """Measured: 1.6 to 2.1 s where PID 1 reaps orphans lazily."""
    (told,) = slowness("VM", USUAL | {"destroy": 1.6})
    assert told.status is Status.WARNING
    assert "1.6 s" in told.brief
    assert "PR_SET_CHILD_SUBREAPER" in str(told.resolution)


def test_a_slow_start_is_told_even_if_the_vm_boots() -> None:
    """Measured: 89 s for each createXML."""
    (told,) = slowness("VM", USUAL | {"start": 89.0})
    assert "89.0 s" in told.brief
    assert "/dev/kvm" in str(told.details)
