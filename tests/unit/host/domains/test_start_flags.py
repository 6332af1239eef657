# SPDX-License-Identifier: GPL-2.0-only
"""Flags of a start: a VM with a UEFI has none of the variables of the VM before it."""

from __future__ import annotations

import libvirt
import pytest

from latent_libvirt.host.domains.domain_calls import start_flags


@pytest.mark.parametrize(
    ("os", "is_reset"),
    [
        ("<os><type>hvm</type></os>", False),
        ("<os firmware='bios'><type>hvm</type></os>", True),
        ("<os firmware='efi'><type>hvm</type></os>", True),
        ("<os><loader type='pflash'>/x.fd</loader></os>", True),
        ("<os><nvram/></os>", True),
        ("", False),
    ],
)
def test_variables_are_new_for_whatever_gives_the_domain_its_firmware(
    os: str,
    is_reset: bool,  # noqa: FBT001
) -> None:
    flags = start_flags(f"<domain>{os}</domain>")

    assert bool(flags & libvirt.VIR_DOMAIN_START_RESET_NVRAM) == is_reset
