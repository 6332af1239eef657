# SPDX-License-Identifier: GPL-2.0-only
"""Check that each label's image is in the storage pool, as it was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.threads import deferToThread

from latent_libvirt.doctor.finding import fine, warning
from latent_libvirt.host import inspection, inventory

if TYPE_CHECKING:
    from latent_libvirt.config.sections.image import ImageConfig
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import HostUnderTest
    from latent_libvirt.host.volumes.base_image import BaseImage


def check_name(label: str) -> str:
    """Return what the check is called."""
    return f"image of {label}"


async def check(
    tested: HostUnderTest, label_name: str, label: LabelConfig, *, verify: bool
) -> list[Finding]:
    """Look for the image of one label.

    :param verify: download it, and compare it with its digest.
    :raises LatentLibvirtError: if it is not there, or not what was published.
    """
    image = tested.pool.image_for(label)
    pool = tested.config.storage_pool

    found = await tested.host.connection.call(
        "resolve_image", f"look up image {label.image}", inspection.image, pool, image, label
    )
    brief = _described(image, found)
    if verify and image.volume is None:
        # It takes as long as it takes: on a separate connection, without the others' deadline.
        verified: Any = deferToThread(inventory.verify_image, tested.config.uri, pool, image)
        await verified
        brief += ", intact"
    return [fine(check_name(label_name), brief), *unsigned_kernel(label_name, label, found)]


def unsigned_kernel(label_name: str, label: LabelConfig, found: BaseImage) -> list[Finding]:
    """Warn of a kernel that Secure Boot most likely refuses.

    Debian signs its kernels for its own boot loader, and OVMF's keys are Microsoft's.
    """
    if label.firmware != "uefi-secure" or found.boot is None:
        return []
    return [
        warning(
            check_name(label_name),
            f"label {label_name} has Secure Boot, and its image {label.image} is booted by its "
            "kernel, which OVMF's keys do not know",
            resolution="Name an image that boots by a signed boot loader, as the cloud images of "
            "distributions do, or write firmware: uefi.",
        )
    ]


def _described(image: ImageConfig, found: BaseImage) -> str:
    if image.volume is not None:
        return found.volume
    signed = ", signed" if image.require_signed else ""
    return f"{image.name} {found.digest[:16]} for {found.architecture}{signed}"
