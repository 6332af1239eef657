# SPDX-License-Identifier: GPL-2.0-only
"""Checks whether two hosts of the file are one hypervisor."""

from __future__ import annotations

import libvirt

from latent_libvirt.doctor.finding import Finding, fine
from latent_libvirt.doctor.patient import Patient
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.identity import HostIdentity, identity_of, twice
from latent_libvirt.host.sweep import host_uuid_of

CHECK = "identity"

Known = dict[str, HostIdentity]
"""Who the hosts are that were asked before, by their names."""


async def check(patient: Patient, known: Known) -> list[Finding]:
    """Ask the host who it is.

    :raises ConfigurationError: if that is one of those that are *known*.
    """
    identity = await patient.host.connection.call("examine", "say who it is", _identity)
    for name, other in known.items():
        if identity.is_that_of(other):
            brief, advice = twice(patient.name, name, patient.pool.hosts[name].uri)
            raise ConfigurationError(brief, resolution=advice)
    known[patient.name] = identity
    return [fine(CHECK, f"{identity.hostname}, {identity.uuid}")]


def _identity(connection: libvirt.virConnect) -> HostIdentity:
    return identity_of(connection, host_uuid_of(connection))
