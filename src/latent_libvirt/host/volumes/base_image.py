# SPDX-License-Identifier: GPL-2.0-only
"""From a label's image to what a domain boots: the volume below its overlay, and perhaps a kernel.

What is published in a storage pool, and how, is in ``images.py``. All functions block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.errors import ConfigurationError, LatentLibvirtError
from latent_libvirt.host.domains.domain_xml import DirectKernel
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.volumes import (
    images,
    proof,
    volume_fitness,
)
from latent_libvirt.host.volumes.storage import Backing, path_of

if TYPE_CHECKING:
    from latent_libvirt.config.sections.image import ImageConfig
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.host.volumes.images import Volumes
    from latent_libvirt.host.volumes.proof import Stamps
    from latent_libvirt.images.description import Firmware


@dataclass(frozen=True)
class BaseImage:
    """What a domain boots.

    :param volume: the name of the qcow2 volume that overlays are based on.
    :param boot: the kernel to start directly; ``None`` where the BIOS boots the disk.
    :param digest: the image's content digest, or the volume's name where nobody knows a digest.
    :param backing: what overlays need to know of the volume.
    :param changed: when the volume was written last; empty where the digest says what is in it.
    :param since: when it was built, or chosen by a rollback; seconds since the epoch.
    :param is_chosen: whether a rollback has chosen it.
    :param architecture: of the VMs that it is for; empty where nobody knows.
    :param firmware: ``uefi`` if no BIOS boots it.
    :param stamps: what the volumes look like, if a signature is required, which *digest* has.
    """

    volume: str
    boot: DirectKernel | None
    digest: str
    backing: Backing
    changed: str = ""
    stamps: Stamps = ()
    since: float = 0.0
    is_chosen: bool = False
    architecture: str = ""
    firmware: Firmware = "bios"

    @property
    def version(self) -> str:
        """An id that no other image has, nor one that had the same name before."""
        return f"{self.digest} {self.changed}".rstrip()


class Catalog:
    """The base images of one storage pool: one message looks up any number of them.

    What was read of a published image stands for as long as its volumes are there.
    """

    def __init__(self) -> None:
        self._known = images.Known()
        self._fit: dict[str, str] = {}

    def resolve(
        self, pool: libvirt.virStoragePool, image: ImageConfig, *, version: str = ""
    ) -> BaseImage:
        """Return what *image* stands for at this moment.

        :param version: the digest of the version to take, if all of that is there.
        :raises ConfigurationError: if it is not there, or not all of it, or not signed as it has
            to be.
        """
        volumes = images.volumes_of(pool)
        if version and images.find_among(volumes, str(image.name), version, self._known):
            image = image.model_copy(update={"digest": version})
        return self._resolve(pool, volumes, image)

    def resolve_all(
        self, pool: libvirt.virStoragePool, wanted: Mapping[str, ImageConfig]
    ) -> dict[str, BaseImage | LatentLibvirtError]:
        """Return that of each of *wanted*, or why it cannot be had."""
        volumes = images.volumes_of(pool)
        return {key: self._outcome(pool, volumes, image) for key, image in wanted.items()}

    def _outcome(
        self, pool: libvirt.virStoragePool, volumes: Volumes, image: ImageConfig
    ) -> BaseImage | LatentLibvirtError:
        try:
            return self._resolve(pool, volumes, image)
        except LatentLibvirtError as error:
            return error

    def _resolve(
        self, pool: libvirt.virStoragePool, volumes: Volumes, image: ImageConfig
    ) -> BaseImage:
        self._known.forget_all_but(volumes)
        if image.volume is not None:
            return self._volume(pool, volumes, image.volume)
        assert image.name is not None
        found = images.find_among(volumes, image.name, image.digest, self._known)
        if found is None:
            volumes, found = self._look_again(pool, image)
        stamps = self._check(pool, found, image)
        backing = Backing(path_of(volumes[found.disk]), found.virtual_size)
        return BaseImage(
            found.disk,
            _kernel(volumes, found),
            found.digest,
            backing,
            stamps=stamps,
            since=found.description.since.timestamp(),
            is_chosen=found.description.chosen is not None,
            architecture=found.description.architecture,
            firmware=found.description.firmware,
        )

    def _check(
        self, pool: libvirt.virStoragePool, found: images.PublishedImage, image: ImageConfig
    ) -> Stamps:
        """See that it is signed as it has to be: it may have been signed since it was read."""
        try:
            return proof.check(pool, found, image)
        except ConfigurationError:
            self._known.forget_all_but({})
            return proof.check(pool, images.find(pool, found.name, found.digest), image)

    def _look_again(
        self, pool: libvirt.virStoragePool, image: ImageConfig
    ) -> tuple[Volumes, images.PublishedImage]:
        """Look for what libvirt may not have seen yet, and say what is missing."""
        found = images.find(pool, str(image.name), image.digest, self._known)
        volumes = images.volumes_of(pool)
        if not found.is_among(volumes):
            raise _damaged(pool, found, images.lost_volumes(pool, found))
        return volumes, found

    def _volume(self, pool: libvirt.virStoragePool, volumes: Volumes, name: str) -> BaseImage:
        try:
            volume = volumes.get(name) or pool.storageVolLookupByName(name)
            text = volume.XMLDesc()
            xml = parsed(text, f"volume {name}")
            changed = xml.findtext("target/timestamps/mtime") or ""
            was_fit = changed != "" and self._fit.get(name) == changed
            volume_fitness.check(pool, volume, name, xml, read_header=not was_fit)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
            raise _no_such_volume(pool, name) from None
        self._fit[name] = changed
        backing = Backing(path_of(volume), int(xml.findtext("capacity") or 0))
        return BaseImage(name, None, name, backing, changed)


def resolve(pool: libvirt.virStoragePool, image: ImageConfig) -> BaseImage:
    """Return what *image* stands for in this storage pool at this moment.

    :raises ConfigurationError: if it is not there, or not all of it, or not signed as it has to be.
    """
    return Catalog().resolve(pool, image)


def refuse_foreign(image: BaseImage, *, name: str, label: LabelConfig) -> None:
    """Refuse an image that is for VMs of another architecture or firmware than those of *label*.

    :param name: of the image, as its label has it.
    :raises ConfigurationError: if it is.
    """
    arch = label.arch
    if image.firmware == "uefi" and label.firmware == "bios":
        raise ConfigurationError(
            f"image {name} boots by UEFI only, and its label has firmware: bios",
            details="That is the default.",
            resolution="Write firmware: uefi in the label. Its hosts need OVMF (Debian: the "
            "package ovmf).",
        )
    if image.architecture not in ("", arch):
        raise ConfigurationError(
            f"image {name} is for {image.architecture}, and its label has arch: {arch}",
            resolution=f"Write arch: {image.architecture} in the label, or name an image that is "
            f"for {arch} ('latent-libvirt image list' says which are).",
        )


def any_kernel(pool: libvirt.virStoragePool, arch: str) -> DirectKernel | None:
    """Return the kernel of the newest whole image in *pool* for VMs of *arch* that has one.

    ``None`` if none has.
    """
    volumes = images.volumes_of(pool)
    fitting = (each for each in images.published(pool) if each.description.architecture == arch)
    whole = (image for image in fitting if image.is_among(volumes))
    return next(filter(None, (_kernel(volumes, image) for image in whole)), None)


def _kernel(volumes: Volumes, image: images.PublishedImage) -> DirectKernel | None:
    if image.description.parts.kernel is None:
        return None
    return DirectKernel(
        kernel=path_of(volumes[image.kernel]),
        initrd=path_of(volumes[image.initrd]),
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


def _no_such_volume(pool: libvirt.virStoragePool, volume: str) -> ConfigurationError:
    return ConfigurationError(
        f"storage pool {pool.name()!r} has no volume {volume!r}",
        resolution="Upload it there, or name another image for the label.",
    )
