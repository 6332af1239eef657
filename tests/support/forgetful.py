# SPDX-License-Identifier: GPL-2.0-only
"""A memory of KVM probes that has none: hosts whose accelerator is given are not probed."""

from __future__ import annotations

from latent_libvirt.host.kvm.accelerator import ProbeResult


class Forgetful:
    """In the place of a master's database."""

    async def load(self, host_uuid: str) -> ProbeResult | None:
        """Return nothing."""
        del host_uuid
        return None

    async def save(self, host_uuid: str, result: ProbeResult) -> None:
        """Fail: nothing is to be probed."""
        raise NotImplementedError
