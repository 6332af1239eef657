# SPDX-License-Identifier: GPL-2.0-only
"""Inspection of a host: blocking questions whose answers a doctor judges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host import inventory
from latent_libvirt.host.domains import slot_domains
from latent_libvirt.host.identity import identity_of
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.networks import bridges, ports
from latent_libvirt.host.sweep import host_uuid_of
from latent_libvirt.host.volumes import base_image, storage

if TYPE_CHECKING:
    from latent_libvirt.config.sections.image import ImageConfig
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.host.domains.vm_spec import Network
    from latent_libvirt.host.identity import HostIdentity
    from latent_libvirt.host.volumes.base_image import BaseImage


@dataclass(frozen=True)
class SeenNetwork:
    """What the host says of a network.

    :param known: whether it is known to be there.
    :param silence: seconds for which a new guest is not heard.
    :param leads_outside: whether other machines are on it.
    """

    known: bool
    fitting: ports.Fitting
    silence: float
    leads_outside: bool


def look_at_network(connection: libvirt.virConnect, network: Network) -> SeenNetwork:
    """Return what is known of a network.

    :raises ConfigurationError: if it is known not to be there, or not to have the label's filter.
    """
    known, leads_outside = True, False
    if network.kind == "network":
        found = inventory.active_network(connection, str(network.source))
        leads_outside = ports.leads_outside(parsed(found.XMLDesc(), str(network)))
    if network.kind == "bridge":
        known, leads_outside = inventory.has_interface(connection, str(network.source)), True
    fitting, silence = ports.fitting(connection, network), bridges.silence(connection, network)
    return SeenNetwork(known, fitting, silence, leads_outside)


def free_space(connection: libvirt.virConnect, name: str) -> tuple[int, bool]:
    """Return how many bytes are free, and whether those are all for QEMU."""
    pool = storage.storage_pool(connection, name)
    kind = inventory.pool_type(pool)
    if kind not in inventory.FILE_POOLS:
        raise ConfigurationError(
            f"storage pool {name!r} is of the type {kind!r}, which holds no qcow2 files",
            resolution=f"Use one of the type {', '.join(inventory.FILE_POOLS)}.",
        )
    storage.refresh(pool)
    return inventory.free_space(pool), inventory.kept_for_root(pool) is not None


def versions(connection: libvirt.virConnect) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the versions of libvirt and of QEMU."""
    return _parts(connection.getLibVersion()), _parts(connection.getVersion())


def _parts(version: int) -> tuple[int, ...]:
    """Split a version as libvirt packs it: ``major * 1,000,000 + minor * 1,000 + release``."""
    return version // 1_000_000, version // 1_000 % 1_000, version % 1_000


def identity(connection: libvirt.virConnect) -> HostIdentity:
    """Return who the host says that it is."""
    return identity_of(connection, host_uuid_of(connection))


def slot_holders(connection: libvirt.virConnect) -> str:
    """Return which slots have a domain, and whose each is, in a line each."""
    found = sorted(slot_domains.slot_domains(connection), key=lambda domain: domain.slot)
    return "\n".join(f"{domain.slot}: {domain}" for domain in found)


def image(
    connection: libvirt.virConnect, pool: str, wanted: ImageConfig, label: LabelConfig
) -> BaseImage:
    """Return what *wanted* stands for in that storage pool.

    :param label: of the VMs that it is to be for.
    :raises ConfigurationError: if it is not there, or for others.
    """
    found = base_image.resolve(storage.storage_pool(connection, pool), wanted)
    base_image.refuse_foreign(found, name=wanted.name or found.volume, label=label)
    return found


def library_version(connection: libvirt.virConnect) -> int:
    """Return the version of libvirt as it packs it; the quickest of all questions."""
    return int(connection.getLibVersion())
