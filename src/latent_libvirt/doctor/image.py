# SPDX-License-Identifier: GPL-2.0-only
"""Checks whether each label's image is in the storage pool, and still what was published."""

from __future__ import annotations

from typing import Any

import libvirt
from twisted.internet.threads import deferToThread

from latent_libvirt.config import ImageConfig, LabelConfig
from latent_libvirt.doctor.finding import Finding, fine
from latent_libvirt.doctor.patient import Patient
from latent_libvirt.host import base_image, inventory, storage
from latent_libvirt.host.base_image import BaseImage


def check_name(label: str) -> str:
    """Return what the check is called."""
    return f"image of {label}"


async def check(
    patient: Patient, label_name: str, label: LabelConfig, *, verify: bool
) -> list[Finding]:
    """Look for the image of one label.

    :param verify: download it, and compare it with its digest.
    :raises LatentLibvirtError: if it is not there, or not what was published.
    """
    image = patient.pool.image_for(label)
    pool = patient.config.storage_pool

    def resolve(connection: libvirt.virConnect) -> BaseImage:
        return base_image.resolve(storage.storage_pool(connection, pool), image)

    found = await patient.host.connection.call(
        "resolve_image", f"look up image {label.image}", resolve
    )
    brief = _described(image, found)
    if verify and image.volume is None:
        # It takes as long as it takes: on a connection of its own, without the others' deadline.
        verified: Any = deferToThread(inventory.verify_image, patient.config.uri, pool, image)
        await verified
        brief += ", intact"
    return [fine(check_name(label_name), brief)]


def _described(image: ImageConfig, found: BaseImage) -> str:
    return found.volume if image.volume is not None else f"{image.name} {found.digest[:16]}"
