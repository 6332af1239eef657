# SPDX-License-Identifier: GPL-2.0-only
"""The address at which guests find the machine that hosts them.

Right for masters on the host itself; a master elsewhere has to be named in the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.libvirtd.answers import parsed

if TYPE_CHECKING:
    from latent_libvirt.host.domains.vm_spec import Network

USER_NETWORK_HOST = "10.0.2.2"
"""What QEMU's user-mode network calls its host (QEMU documentation, "Network emulation")."""


def host_address(connection: libvirt.virConnect, network: Network) -> str:
    """Return the host's address in *network*. Blocks.

    :raises ConfigurationError: if the host's own address in it is not known to libvirt.
    """
    if network.kind == "user":
        return USER_NETWORK_HOST
    if network.kind == "network":
        xml = connection.networkLookupByName(network.source).XMLDesc()
        ip = parsed(xml, f"network {network.source}").find("ip[@address]")
        if ip is not None:
            return str(ip.get("address"))
    raise ConfigurationError(
        f"guests of {network.kind} {network.source!r} do not know where to find the master",
        resolution="Set the label's address in the pool's YAML file; or the host's, or "
        "master.address, where guests of all other networks find the master there, too.",
    )
