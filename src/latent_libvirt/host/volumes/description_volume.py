# SPDX-License-Identifier: GPL-2.0-only
"""Replacement of a published image's description, which says more than what its volumes contain.

All functions block, and let libvirt's own errors pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from latent_libvirt.host.volumes import storage, upload_lock
from latent_libvirt.host.volumes.images import PublishedImage
from latent_libvirt.host.volumes.transfer import NewVolume, upload

if TYPE_CHECKING:
    import libvirt

    from latent_libvirt.images.description import Description


def replace(pool: libvirt.virStoragePool, image: PublishedImage, description: Description) -> None:
    """Replace the description of a published image, and nothing else of it.

    One that was chosen has a name for itself. So the image is described at each moment, also if the
    host fails in the middle: VMs take it still, or again.
    """
    text, new = description.to_json().encode(), PublishedImage.of(description).json
    lock = upload_lock.take(pool, image.lock, unless=lambda: False, waiting=lambda: None)
    assert lock is not None
    try:
        if new == image.json:
            storage.delete_volume(pool, image.json)
        upload(pool, NewVolume(new, len(text), len(text)), [text])
        if new != image.json:
            storage.delete_volume(pool, image.json)
    finally:
        lock.release()
