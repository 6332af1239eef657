# SPDX-License-Identifier: GPL-2.0-only
"""Names of everything that outlives a process, and who owns it.

A domain, an overlay, a saved state and a frozen memory are named before they exist, so that a sweep
after a crash reads from the name (and, for a domain, from its metadata) exactly whose it is. Owners
are compared whole, never by prefix (buildbot #3800: cleaning up after ``worker-1`` also killed
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
from dataclasses import dataclass, replace
from typing import Literal

DOMAIN_PREFIX = "latent-libvirt"
OWNER_DIGITS = 12

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:latent-libvirt:slot")
_DOMAIN = re.compile(rf"{DOMAIN_PREFIX}-([1-9][0-9]{{0,5}})")
_NUMBER = r"(?:\.(?P<number>[1-9][0-9]?))?"
_SAVED = re.compile(
    rf"{DOMAIN_PREFIX}\.saved\.(?P<owner>[0-9a-f]{{{OWNER_DIGITS}}})"
    r"\.(?P<slot>[1-9][0-9]{0,5})\.(?P<key>[0-9a-f]{24})\.(?P<vm_id>[0-9a-f]+)"
    rf"(?:\.state|{_NUMBER}\.qcow2)"
)
_FROZEN = re.compile(
    rf"{DOMAIN_PREFIX}\.frozen\.(?P<owner>[0-9a-f]{{{OWNER_DIGITS}}})"
    r"\.(?P<slot>[1-9][0-9]{0,5})\.(?P<vm_id>[0-9a-f]+)\.state"
)
_OVERLAY = re.compile(
    rf"{DOMAIN_PREFIX}\.overlay\.(?P<owner>[0-9a-f]{{{OWNER_DIGITS}}})"
    r"\.(?P<slot>[1-9][0-9]{0,5})\.(?P<vm_id>[0-9a-f]+)"
    rf"{_NUMBER}\.qcow2"
)

CHANNEL_NAME = "org.latent_libvirt.0"
"""The virtio-serial port that the guest's launcher opens."""

WORKER_CHANNEL_NAME = "org.latent_libvirt.worker.0"
"""The virtio-serial port for the worker's connection."""

NETWORK_CHANNEL_NAME = "org.latent_libvirt.network.0"
"""The virtio-serial port for what builds fetch through the master."""


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


Kind = Literal["domain", "overlay", "saved", "frozen"]
"""What a sweep frees: a domain, its overlay, a saved state, or the memory of a frozen VM."""


@dataclass(frozen=True)
class OwnedVolume:
    """An overlay, a saved state or a frozen memory, as the names of its volumes have it.

    :param vm_id: of the VM that it is, or was, the disk of.
    :param key: of a saved state; states what can be resumed from it (``states/saved_states.py``).
    :param number: of a disk beside the first one, 1 or more, which is a volume for itself.
    :param is_frozen: whether it is the memory of a frozen VM, whose disks are its overlays.
    """

    owner_id: str
    slot: int
    vm_id: str
    key: str = ""
    number: int = 0
    is_frozen: bool = False

    def of_disk(self, number: int) -> OwnedVolume:
        """Return another disk of the same VM, or one that was saved with it."""
        return replace(self, number=number)

    @property
    def kind(self) -> Kind:
        """Which of them it is."""
        if self.is_frozen:
            return "frozen"
        return "saved" if self.key else "overlay"

    @property
    def disk(self) -> str:
        """The name of the disk; of a saved state, as it was when the memory was saved."""
        return f"{self._stem}.qcow2"

    @property
    def state(self) -> str:
        """The name of the file that libvirt saves the memory to."""
        return f"{self._stem}.state"

    @property
    def files(self) -> tuple[str, ...]:
        """All names, in the order in which they are to be deleted: a disk alone is no state."""
        if self.is_frozen:
            return (self.state,)
        return (self.state, self.disk) if self._is_whole_state else (self.disk,)

    @property
    def _stem(self) -> str:
        kind = f"{self.kind}.{self.owner_id}.{self.slot}"
        number = str(self.number or "")
        return ".".join([DOMAIN_PREFIX, kind, *filter(None, [self.key, self.vm_id, number])])

    @property
    def _is_whole_state(self) -> bool:
        return bool(self.key) and not self.number

    def __str__(self) -> str:
        return self._stem if self._is_whole_state or self.is_frozen else self.disk

    @classmethod
    def parse(cls, name: str) -> OwnedVolume | None:
        """Return what the name of a volume says, or ``None`` if it is of no latent_libvirt."""
        frozen = _FROZEN.fullmatch(name)
        match = frozen or _OVERLAY.fullmatch(name) or _SAVED.fullmatch(name)
        if match is None:
            return None
        parts, is_frozen = match.groupdict(), frozen is not None
        key, number = parts.get("key", ""), int(parts.get("number") or 0)
        return cls(match["owner"], int(match["slot"]), match["vm_id"], key, number, is_frozen)

    @classmethod
    def overlay(cls, name: str) -> OwnedVolume | None:
        """Return what the name of an overlay says, or ``None`` if it is that of none."""
        found = cls.parse(name)
        return found if found is not None and found.kind == "overlay" else None

    @classmethod
    def saved(cls, name: str) -> OwnedVolume | None:
        """Return what a name of a saved state says, or ``None`` if it is that of none."""
        found = cls.parse(name)
        return found if found is not None and found.kind == "saved" else None


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
