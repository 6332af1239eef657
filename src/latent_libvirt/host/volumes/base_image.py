# SPDX-License-Identifier: GPL-2.0-only
"""From a label's image to what a domain boots: the volume below its overlay, and perhaps a kernel.

What is published in a storage pool, and how, is in ``images.py``. All functions block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.domains.domain_xml import DirectKernel
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.volumes import (
    images,
    proof,
    volume_fitness,
)

if TYPE_CHECKING:
    from latent_libvirt.config.models import ImageConfig
    from latent_libvirt.host.volumes.proof import Stamps


@dataclass(frozen=True)
class BaseImage:
    """What a domain boots.

    :param volume: the name of the qcow2 volume that overlays are based on.
    :param boot: the kernel to start directly; ``None`` where the BIOS boots the disk.
    :param digest: the image's content digest, or the volume's name where nobody knows a digest.
    :param changed: when the volume was written last; empty where the digest says what is in it.
    :param stamps: what the volumes look like, if a signature is required, which *digest* has.
    """

    volume: str
    boot: DirectKernel | None
    digest: str
    changed: str = ""
    stamps: Stamps = ()

    @property
    def version(self) -> str:
        """An id that no other image has, nor one that had the same name before."""
        return f"{self.digest} {self.changed}".rstrip()


def resolve(pool: libvirt.virStoragePool, image: ImageConfig) -> BaseImage:
    """Return what *image* stands for in this storage pool at this moment.

    :raises ConfigurationError: if it is not there, or not all of it, or not signed as it has to be.
    """
    if image.volume is not None:
        return BaseImage(image.volume, None, image.volume, _last_change(pool, image.volume))
    assert image.name is not None
    found = images.find(pool, image.name, image.digest)
    if lost := images.lost_volumes(pool, found):
        raise _damaged(pool, found, lost)
    stamps = proof.check(pool, found, image)
    return BaseImage(found.disk, _kernel(pool, found), found.digest, stamps=stamps)


def any_kernel(pool: libvirt.virStoragePool) -> DirectKernel | None:
    """Return the kernel of the newest whole image in *pool* that has one; ``None`` if none has."""
    whole = (image for image in images.published(pool) if not images.lost_volumes(pool, image))
    return next(filter(None, (_kernel(pool, image) for image in whole)), None)


def _kernel(pool: libvirt.virStoragePool, image: images.PublishedImage) -> DirectKernel | None:
    if image.description.parts.kernel is None:
        return None
    return DirectKernel(
        kernel=_path(pool, image.kernel),
        initrd=_path(pool, image.initrd),
        command_line=image.command_line,
    )


def _damaged(
    pool: libvirt.virStoragePool, image: images.PublishedImage, lost: tuple[str, ...]
) -> ConfigurationError:
    return ConfigurationError(
        f"image {image.name} {image.description.short_digest} in storage pool {pool.name()!r} has "
        f"lost {' and '.join(lost)}",
        details="Somebody has deleted that.",
        resolution=f"Publish it again: {images.how_to_publish(pool, image.name)}",
    )


def _path(pool: libvirt.virStoragePool, volume: str) -> str:
    return str(pool.storageVolLookupByName(volume).path())


def _last_change(pool: libvirt.virStoragePool, volume: str) -> str:
    """Return when *volume*, on which overlays can be based, was written last."""
    try:
        found = pool.storageVolLookupByName(volume)
        volume_fitness.check(pool, found, volume)
        xml = found.XMLDesc()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        raise ConfigurationError(
            f"storage pool {pool.name()!r} has no volume {volume!r}",
            resolution="Upload it there, or name another image for the label.",
        ) from None
    return parsed(xml, f"volume {volume}").findtext("target/timestamps/mtime") or ""
