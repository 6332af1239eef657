# SPDX-License-Identifier: GPL-2.0-only
"""Names of everything that outlives a process, and who owns it.

A domain, an overlay and a saved state are named before they exist, so that whoever finds one after
a crash reads from the name (and, for a domain, from its metadata) exactly whose it is. Owners are
compared whole, never by prefix (buildbot #3800: cleaning up after ``worker-1`` also killed
``worker-11``).

A slot's domain has a fixed name, UUID and MAC address. libvirt refuses a second active domain of
the same name or UUID, atomically, which keeps a host within its slots even if several masters use
it.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass

DOMAIN_PREFIX = "latent-libvirt"
OWNER_DIGITS = 12

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:latent-libvirt:slot")
_DOMAIN = re.compile(rf"{DOMAIN_PREFIX}-([1-9][0-9]{{0,5}})")
_SAVED = re.compile(
    rf"{DOMAIN_PREFIX}\.saved\.(?P<owner>[0-9a-f]{{{OWNER_DIGITS}}})"
    r"\.(?P<slot>[1-9][0-9]{0,5})\.(?P<key>[0-9a-f]{24})\.(?P<lease>[0-9a-f]+)\.(?:qcow2|state)"
)
_OVERLAY = re.compile(
    rf"{DOMAIN_PREFIX}\.overlay\.(?P<owner>[0-9a-f]{{{OWNER_DIGITS}}})"
    r"\.(?P<slot>[1-9][0-9]{0,5})\.(?P<lease>[0-9a-f]+)\.qcow2"
)

CHANNEL_NAME = "org.latent_libvirt.0"
"""The virtio-serial port that the guest's launcher opens."""


@dataclass(frozen=True)
class Owner:
    """The pool of one Buildbot master: what every domain and overlay belongs to.

    :param master: the master's name in Buildbot's database, ``hostname:basedir``.
    :param pool: the name of the pool's service in that master.
    """

    master: str
    pool: str

    @property
    def id(self) -> str:
        """A short form for names of volumes: the same for the same master and pool, always."""
        text = json.dumps([self.master, self.pool])
        return hashlib.sha256(text.encode()).hexdigest()[:OWNER_DIGITS]


@dataclass(frozen=True)
class OverlayName:
    """What the name of an overlay says."""

    owner_id: str
    slot: int
    lease: str

    def __str__(self) -> str:
        return f"{DOMAIN_PREFIX}.overlay.{self.owner_id}.{self.slot}.{self.lease}.qcow2"

    @classmethod
    def parse(cls, name: str) -> OverlayName | None:
        """Return what *name* says, or ``None`` if it is not an overlay of any latent_libvirt."""
        match = _OVERLAY.fullmatch(name)
        if match is None:
            return None
        return cls(match["owner"], int(match["slot"]), match["lease"])


@dataclass(frozen=True)
class SavedStateName:
    """What the names of the two volumes of a saved state say: its disk, and the memory saved.

    :param key: tells what can be resumed from it (see ``states/saved_states.py``).
    :param lease: that of the VM which was saved.
    """

    owner_id: str
    slot: int
    key: str
    lease: str

    @property
    def disk(self) -> str:
        """The name of the disk as it was when the memory was saved."""
        return f"{self}.qcow2"

    @property
    def state(self) -> str:
        """The name of the file that libvirt saves the memory to."""
        return f"{self}.state"

    def __str__(self) -> str:
        return f"{DOMAIN_PREFIX}.saved.{self.owner_id}.{self.slot}.{self.key}.{self.lease}"

    @classmethod
    def parse(cls, name: str) -> SavedStateName | None:
        """Return what the name of either volume says, or ``None`` if it is that of neither."""
        match = _SAVED.fullmatch(name)
        if match is None:
            return None
        return cls(match["owner"], int(match["slot"]), match["key"], match["lease"])


def domain_name(slot: int) -> str:
    """Return the name of the domain of *slot* (1, 2, ...)."""
    return f"{DOMAIN_PREFIX}-{slot}"


def slot_of(name: str) -> int | None:
    """Return the slot whose domain is called *name*, or ``None`` for any other domain."""
    match = _DOMAIN.fullmatch(name)
    return int(match[1]) if match else None


def slot_uuid(host_uuid: str, slot: int) -> str:
    """Return the UUID of the domain of *slot* on the host whose own UUID is *host_uuid*."""
    return str(uuid.uuid5(_NAMESPACE, f"{host_uuid}/{slot}"))


def slot_mac(host_uuid: str, slot: int) -> str:
    """Return the MAC address of *slot*: locally administered, and other than on any other host.

    The first octet ``02`` marks a unicast address of local administration (IEEE 802); the other 40
    bits come from a hash, since hosts may share a bridged network.
    """
    digest = hashlib.sha256(f"{host_uuid}/{slot}".encode()).digest()
    return ":".join(["02", *(f"{octet:02x}" for octet in digest[:5])])
