# SPDX-License-Identifier: GPL-2.0-only
"""List of the architectures whose guests the host runs, with KVM or emulated, as libvirt says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latent_libvirt.doctor.finding import fine
from latent_libvirt.host.architectures import architectures

if TYPE_CHECKING:
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import HostUnderTest

CHECK = "architectures"


async def check(tested: HostUnderTest) -> list[Finding]:
    """Say which there are. Whether KVM works is another check."""
    found = await tested.host.connection.call(
        "examine", "say which architectures it runs", architectures
    )
    return [fine(CHECK, str(found) or "libvirt does not say which it runs")]
