# SPDX-License-Identifier: GPL-2.0-only
"""Identity of a host: what its libvirt says of itself, whatever URI leads there.

A host's UUID comes from its firmware, and some vendors give many machines the same one. The UUIDs
of storage pools are random, made when a pool is defined, and each libvirtd has its own: so
``qemu:///session`` and ``qemu:///system`` of one machine, which share nothing, are distinguished,
and ``qemu:///system`` and ``qemu+ssh://localhost/system`` are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import libvirt


@dataclass(frozen=True)
class HostIdentity:
    """What a host's libvirt says of itself.

    :param driver: of libvirt, such as ``QEMU``.
    :param pools: the UUIDs of its storage pools, active or not.
    """

    uuid: str
    hostname: str
    driver: str
    pools: frozenset[str]

    def is_that_of(self, other: HostIdentity) -> bool:
        """Whether both are of the same host; pools may have come and gone in between."""
        mine = (self.uuid, self.hostname, self.driver)
        return mine == (other.uuid, other.hostname, other.driver) and bool(self.pools & other.pools)


def identity_of(connection: libvirt.virConnect, uuid: str) -> HostIdentity:
    """Return who the host is. Blocks.

    :param uuid: what its capabilities call its UUID.
    """
    return HostIdentity(
        uuid=uuid,
        hostname=str(connection.getHostname()),
        driver=str(connection.getType()),
        pools=frozenset(pool.UUIDString() for pool in connection.listAllStoragePools()),
    )


def twice(name: str, other: str, other_uri: str) -> tuple[str, str]:
    """Return what is wrong if host *name* leads to the same libvirt as *other*, and what to do."""
    brief = f"host {name} leads to the same libvirt as host {other} ({other_uri})"
    advice = (
        f"Take host {name} out of the pool's YAML file, and give {other} the slots of both: slots "
        "have fixed names, and would be counted twice."
    )
    return brief, advice
