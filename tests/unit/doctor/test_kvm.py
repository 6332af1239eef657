# SPDX-License-Identifier: GPL-2.0-only
"""What KVM's defects and libvirt's slowness mean, and what to do about them."""

from __future__ import annotations

import pytest

from latent_libvirt.doctor.finding import Status
from latent_libvirt.doctor.kvm import answer_time, verdict

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
