# SPDX-License-Identifier: GPL-2.0-only
"""Check that the storage pool is active, has room, and lets us make overlays in it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.doctor.finding import fine, warning
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host import inspection
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.volumes import storage

if TYPE_CHECKING:
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import HostUnderTest

CHECK = "storage pool"
PERMISSION = "permissions"

LEAST_PER_VM = GIB
"""Bytes that a build should be able to write: an overlay grows up to the size of its disk."""


async def check(tested: HostUnderTest) -> list[Finding]:
    """Look at the storage pool.

    :raises ConfigurationError: if it is not there, not active, of the wrong kind, or full.
    """
    name, slots = tested.config.storage_pool, tested.config.slots
    what = f"look at its storage pool {name}"
    free, exact = await tested.host.connection.call("examine", what, inspection.free_space, name)
    return [room(name, free=free, slots=slots, exact=exact)]


def room(name: str, *, free: int, slots: int, exact: bool = True) -> Finding:
    """Say what *free* bytes are to that many slots.

    :param exact: whether what the file system keeps for root is known not to be in them.
    :raises ConfigurationError: if not even one VM would have room.
    """
    brief = f"{name} is active, {_gib(free)} free for {slots} slot{'' if slots == 1 else 's'}"
    if not exact:
        brief += "; what its file system may keep for root (ext4: 5 %) is counted as free"
    if free < LEAST_PER_VM:
        raise ConfigurationError(
            f"storage pool {name!r} is full: {free // MIB} MiB are free",
            details="A VM whose overlay cannot grow stops, and its build is run again.",
            resolution="Delete what is not needed (latent-libvirt image list, image delete), or "
            "give the host a larger storage pool.",
        )
    if free < slots * LEAST_PER_VM:
        return warning(
            CHECK,
            brief,
            details=f"That is less than {_gib(LEAST_PER_VM)} for each; a VM whose overlay cannot "
            "grow stops.",
            resolution=f"Make room, or let the host have fewer slots: {free // LEAST_PER_VM}.",
        )
    return fine(CHECK, brief)


async def may_change(tested: HostUnderTest) -> list[Finding]:
    """Create a small volume, named as an overlay of ours, and delete it.

    :raises HostError: if libvirt refuses.
    """
    overlay = OwnedVolume(tested.host.owner.id, 1, secrets.token_hex(8))
    await tested.host.connection.call(
        "examine",
        f"create a volume in {tested.config.storage_pool}",
        storage.try_volume,
        tested.config.storage_pool,
        str(overlay),
    )
    return [fine(PERMISSION, "may create and delete volumes")]


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
