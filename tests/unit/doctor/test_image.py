# SPDX-License-Identifier: GPL-2.0-only
"""What is found about a label's image, beside whether it is there."""

from __future__ import annotations

from typing import Literal

import pytest

from latent_libvirt.config import LabelConfig
from latent_libvirt.doctor.finding import Status
from latent_libvirt.doctor.image import unsigned_kernel
from latent_libvirt.host.domains.domain_xml import DirectKernel
from latent_libvirt.host.volumes.base_image import BaseImage
from latent_libvirt.host.volumes.storage import Backing

KERNEL = DirectKernel(kernel="/k", initrd="/i", command_line="quiet")


@pytest.mark.parametrize(
    ("firmware", "boot", "warned"),
    [
        ("uefi-secure", KERNEL, True),
        ("uefi-secure", None, False),
        ("uefi", KERNEL, False),
        ("bios", KERNEL, False),
    ],
)
def test_a_kernel_that_secure_boot_refuses_is_warned_of(
    firmware: Literal["bios", "uefi", "uefi-secure"], boot: DirectKernel | None, *, warned: bool
) -> None:
    label = LabelConfig(image="debian-12", firmware=firmware)
    image = BaseImage("disk", boot, "abc", Backing("/disk", 1))

    found = unsigned_kernel("secure", label, image)

    assert [finding.status for finding in found] == [Status.WARNING] * warned
