# SPDX-License-Identifier: GPL-2.0-only
"""What KVM's defects and libvirt's slowness mean, and what to do about them."""

from __future__ import annotations

import pytest

from latent_libvirt.doctor.finding import Status, failed, fine
from latent_libvirt.doctor.kvm import answer_time, explained, verdict
from latent_libvirt.errors import HostError

DENIED = "Could not access KVM kernel module: Permission denied"


def test_kvm_that_boots_is_fine() -> None:
    assert verdict("", insisted=True).status is Status.FINE
    assert verdict("", insisted=False).status is Status.FINE


def test_emulation_is_a_warning_where_it_is_allowed_and_a_failure_where_it_is_not() -> None:
    allowed = verdict("libvirt finds none", insisted=False)
    assert (allowed.status, allowed.details) == (Status.WARNING, "libvirt finds none")
    assert str(allowed.resolution).endswith("accelerator: tcg.")
    refused = verdict("libvirt finds none", insisted=True)
    assert (refused.status, refused.details) == (Status.FAILED, "libvirt finds none")
    assert str(refused.resolution).endswith("accelerator: auto.")


@pytest.mark.parametrize("insisted", [True, False])
def test_a_device_that_may_not_be_opened_has_another_cure_than_missing_hardware(
    *, insisted: bool
) -> None:
    """Measured: /dev/kvm of mode 0600, and QEMU as libvirt-qemu."""
    assert "chmod 0660 /dev/kvm" in str(verdict(DENIED, insisted=insisted).resolution)
    spinning = verdict("a 64-bit kernel did not run within 20 s", insisted=insisted)
    assert "nested virtualisation" in str(spinning.resolution)


def test_a_libvirt_that_looks_qemu_over_each_time_is_told_with_the_time_it_took() -> None:
    assert answer_time(0.01).status is Status.FINE
    slow = answer_time(0.63)  # as measured, with /dev/kvm of mode 0600
    assert slow.status is Status.WARNING
    assert "0.63 s" in slow.brief
    assert "chmod 0660 /dev/kvm" in str(slow.resolution)
    assert "such a start may fail" in str(slow.details)


def test_a_start_without_an_answer_is_explained_by_slow_capabilities() -> None:
    """Measured: 60 to 90 s for each start, with /dev/kvm of mode 0600."""
    error = HostError("host vm could not start a domain", details="no answer within 60 s")
    of_vm = failed("VM of debian-12", error, resolution="build the image again")
    of_kvm = verdict(str(error), insisted=False)
    for found in (of_vm, of_kvm):
        told = explained(found, answer_time(3.96))
        assert told.status is found.status
        assert "no answer within 60 s\nThe probable cause is above" in str(told.details)
        assert "libvirt says in 3.96 s" in str(told.details)
        assert str(told.resolution).startswith("Let the user QEMU runs as open /dev/kvm")


def test_slow_capabilities_explain_nothing_else() -> None:
    silent = HostError("host vm could not start a domain", details="no answer within 60 s")
    dead = HostError("host vm could not start a domain", details="out of memory")
    of_silent = failed("VM", silent, resolution="r")
    for capabilities in (None, answer_time(0.01)):
        assert explained(of_silent, capabilities) == of_silent
    for found in (failed("VM", dead, resolution="r"), fine("VM", "no answer within 60 s")):
        assert explained(found, answer_time(3.96)) == found
