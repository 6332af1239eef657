# SPDX-License-Identifier: GPL-2.0-only
"""Check that no two hosts of the file lead to one libvirt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latent_libvirt.doctor.finding import fine
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host import inspection
from latent_libvirt.host.identity import HostIdentity, twice

if TYPE_CHECKING:
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import HostUnderTest

CHECK = "identity"

Known = dict[str, HostIdentity]
"""Who the hosts are that were asked before, by their names."""


async def check(tested: HostUnderTest, known: Known) -> list[Finding]:
    """Ask the host who it is.

    :raises ConfigurationError: if that is one of those that are *known*.
    """
    identity = await tested.host.connection.call("examine", "say who it is", inspection.identity)
    for name, other in known.items():
        if identity.is_that_of(other):
            brief, advice = twice(tested.name, name, tested.pool.hosts[name].uri)
            raise ConfigurationError(brief, resolution=advice)
    known[tested.name] = identity
    return [fine(CHECK, f"{identity.hostname}, {identity.uuid}")]
