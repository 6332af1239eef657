# SPDX-License-Identifier: GPL-2.0-only
"""Published images: base images as volumes of a storage pool, never changed once they are there.

An image is four volumes whose names carry its name and digest. The description (``.json``) is
uploaded last and deleted first, so an image exists exactly when its description does; volumes
without one are what an interrupted upload left, and the next upload replaces them. The name of a
description also carries when a rollback chose the image. So a description that was read once need
not be read again: see :class:`Known`.

Everything goes through libvirt's streams, so it works on remote hosts. All functions block, and
let libvirt's own errors pass. How an image is built is in ``latent_libvirt.images``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

import libvirt

from latent_libvirt import advice
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.libvirtd.answers import named
from latent_libvirt.host.volumes import (
    storage,
)
from latent_libvirt.host.volumes.transfer import (
    NewVolume,
    download,
    volume_called,
)
from latent_libvirt.images.description import (
    DIGEST_DIGITS,
    NAME_PATTERN,
    Description,
)
from latent_libvirt.images.local import (
    measure_chunks,
)

if TYPE_CHECKING:
    from latent_libvirt.images.description import (
        Part,
        PartName,
    )
    from latent_libvirt.images.local import (
        Progress,
    )


class ChangedVolumeError(HostError):
    """A volume of a published image is not what was published."""


PREFIX: Final = "latent-libvirt.image"

_DESCRIPTION_NAME: Final = re.compile(
    rf"{re.escape(PREFIX)}\.(?P<name>{NAME_PATTERN})"
    rf"\.(?P<digest>[0-9a-f]{{{DIGEST_DIGITS}}})(\.[0-9]+)?\.json"
)
_DESCRIPTION_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class PublishedImage:
    """An image in a storage pool.

    :param digest: all of it; the names of the volumes carry its first digits.
    :param created: when it was built.
    :param virtual_size: bytes of the disk as a guest sees it.
    :param command_line: the kernel's.
    :param disk: the name of the qcow2 volume that overlays are based on.
    :param kernel: the name of the kernel's volume, if the image has one.
    :param initrd: the name of the initial RAM disk's volume, if the image has one.
    :param json: the name of the description's volume.
    :param lock: the name of the volume that locks the image while one client uploads it.
    """

    name: str
    digest: str
    created: datetime
    virtual_size: int
    command_line: str
    disk: str
    kernel: str
    initrd: str
    json: str
    lock: str
    description: Description

    @classmethod
    def of(cls, description: Description) -> PublishedImage:
        """Return what an image of that description is, or will be, in a storage pool."""
        prefix = f"{PREFIX}.{description.name}.{description.short_digest}"
        chosen = description.chosen
        since = "" if chosen is None else f".{int(chosen.timestamp())}"
        return cls(
            name=description.name,
            digest=description.digest,
            created=description.created,
            virtual_size=description.virtual_size,
            command_line=description.command_line,
            disk=f"{prefix}.qcow2",
            kernel=f"{prefix}.kernel",
            initrd=f"{prefix}.initrd",
            json=f"{prefix}{since}.json",
            lock=f"{prefix}.lock",
            description=description,
        )

    def volume(self, part: PartName) -> str:
        """Return the name of the volume that holds *part*."""
        return {"disk": self.disk, "kernel": self.kernel, "initrd": self.initrd}[part]

    def is_among(self, volumes: Volumes) -> bool:
        """Whether all of it is among *volumes*."""
        return all(self.volume(part) in volumes for part, _ in self.description.parts.items())

    def new_volume(self, part: PartName) -> NewVolume:
        """Return what has to be uploaded for *part*."""
        size = self.description.part(part).size
        if part == "disk":
            return NewVolume(self.disk, size, self.virtual_size, "qcow2")
        return NewVolume(self.volume(part), size, size)


Volumes = Mapping[str, "libvirt.virStorageVol"]
"""The volumes of a storage pool at one moment, by name."""


class Known:
    """Descriptions that were read in one storage pool, as long as their volumes are there.

    Threads may use it at once: each description is what its volume says, whatever thread reads it.
    """

    def __init__(self) -> None:
        self._read: dict[str, Description] = {}

    def description(
        self, volume: libvirt.virStorageVol, name: str
    ) -> Description | ConfigurationError | None:
        """Return what the volume called *name* says; see :func:`_read_description`."""
        key = str(volume.key())
        known = self._read.get(key)
        if known is not None:
            return known
        said = _read_description(volume, name)
        if isinstance(said, Description):
            self._read[key] = said
        return said

    def forget_all_but(self, volumes: Volumes) -> None:
        """Forget what is not among *volumes*: another image may get that name."""
        there = {str(volume.key()) for volume in volumes.values()}
        for key in [key for key in tuple(self._read) if key not in there]:
            self._read.pop(key, None)


def volumes_of(pool: libvirt.virStoragePool) -> Volumes:
    """Return the volumes of *pool*, in one message."""
    return dict(named(pool.listAllVolumes()))


def published(pool: libvirt.virStoragePool, name: str | None = None) -> tuple[PublishedImage, ...]:
    """Return the images in *pool*, or those of one name; of each name, that first which VMs take.

    That is the one that was built last, unless a rollback has chosen another one since. What has a
    damaged description is no image.
    """
    return _published_among(volumes_of(pool), name, Known())


def _published_among(
    volumes: Volumes, name: str | None, known: Known
) -> tuple[PublishedImage, ...]:
    said = _descriptions(volumes, name, known)
    images = (PublishedImage.of(each) for each in said.values() if isinstance(each, Description))
    newest_last = sorted(images, key=lambda image: (image.description.since, image.digest))
    # A rollback that was cut off leaves two descriptions of one image: the last word counts.
    once = {(image.name, image.digest): image for image in newest_last}
    return tuple(
        sorted(
            once.values(),
            key=lambda image: (image.description.since, image.digest),
            reverse=True,
        )
    )


def damaged(pool: libvirt.virStoragePool, name: str | None = None) -> tuple[str, ...]:
    """Return in words what is wrong with the descriptions of which no image comes, and what to do.

    :param name: only those of that name; ``None`` for all.
    """
    said = _descriptions(volumes_of(pool), name, Known())
    uri = pool.connect().getURI()
    return tuple(
        f"{each.brief}, so no VM takes that image. Publish the image again, or delete the volume: "
        + advice.virsh(uri, "vol-delete", "--pool", pool.name(), volume)
        for volume, each in sorted(said.items())
        if isinstance(each, ConfigurationError)
    )


def find(
    pool: libvirt.virStoragePool,
    name: str,
    digest_prefix: str | None = None,
    known: Known | None = None,
) -> PublishedImage:
    """Return the newest image of that name, or the one whose digest begins so.

    :raises ConfigurationError: there is none, or several digests begin so.
    """
    refuse_empty(name, digest_prefix)
    known = known or Known()
    images = _matching(volumes_of(pool), name, digest_prefix, known)
    if not images:
        # Somebody may have copied the volumes into the pool's directory.
        storage.refresh(pool)
        images = _matching(volumes_of(pool), name, digest_prefix, known)
    if not images:
        raise _not_published(pool, name, digest_prefix, known)
    return _the_one(images, name, digest_prefix)


def refuse_empty(name: str, digest_prefix: str | None) -> None:
    """Refuse a digest without digits, with which every digest begins.

    :raises ConfigurationError: it is one.
    """
    if digest_prefix == "":
        raise ConfigurationError(
            f"the digest of image {name!r} is empty",
            details="Every digest begins with nothing, so it names no version.",
            resolution="Write the first digits, as 'latent-libvirt image list' shows them.",
        )


def find_among(
    volumes: Volumes, name: str, digest_prefix: str | None, known: Known
) -> PublishedImage | None:
    """Return the same of *volumes*; ``None`` if it is not there, or not all of it."""
    images = _matching(volumes, name, digest_prefix, known)
    if not images:
        return None
    found = _the_one(images, name, digest_prefix)
    return found if found.is_among(volumes) else None


def _the_one(
    images: tuple[PublishedImage, ...], name: str, digest_prefix: str | None
) -> PublishedImage:
    if digest_prefix is not None and len(images) > 1:
        raise ConfigurationError(
            f"the digest {digest_prefix!r} of image {name!r} is ambiguous",
            details=_listing(images),
            resolution="Write more digits of it.",
        )
    return images[0]


def lost_volumes(pool: libvirt.virStoragePool, image: PublishedImage) -> tuple[str, ...]:
    """Return the names of the volumes of a published image that are there no more."""
    volumes = (image.volume(part) for part, _ in image.description.parts.items())
    return tuple(name for name in volumes if volume_called(pool, name) is None)


def how_to_publish(pool: libvirt.virStoragePool, name: str) -> str:
    """Return the command that publishes the image called *name* in *pool*."""
    place = ("--uri", pool.connect().getURI(), "--pool", pool.name())
    return advice.command("latent-libvirt", "image", "publish", name, *place)


def verify(
    pool: libvirt.virStoragePool,
    image: PublishedImage,
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Download every part of a published image and compare it with the description.

    :raises ChangedVolumeError: a volume is missing or is not what was published.
    """
    done, total = 0, image.description.parts.size
    for name, part in image.description.parts.items():
        _verify_volume(pool, image.volume(name), part, counter(progress, done, total))
        done += part.size


def _verify_volume(
    pool: libvirt.virStoragePool, name: str, expected: Part, count: Callable[[int], None]
) -> None:
    volume = volume_called(pool, name)
    found = None
    if volume is not None:
        found = measure_chunks(_at_most(download(volume), expected.size + 1), count)
    if found == expected:
        return
    raise ChangedVolumeError(
        f"volume {name} is not what was published",
        details=f"Published were {expected}; there {'is nothing' if found is None else found}.",
        resolution="Delete the image (latent-libvirt image delete) and publish it again; no VM "
        "that was started from it can be trusted.",
    )


def _at_most(chunks: Iterator[bytes], size: int) -> Iterator[bytes]:
    """Yield chunks until they have *size* bytes: a hole that a host claims may have any size."""
    for chunk in chunks:
        yield chunk
        size -= len(chunk)
        if size <= 0:
            return


def counter(progress: Progress, done: int, total: int) -> Callable[[int], None]:
    """Return what reports bytes to *progress*, after *done* of *total* were reported."""
    return lambda read: progress(done + read, total)


def delete(pool: libvirt.virStoragePool, image: PublishedImage) -> None:
    """Delete a published image.

    :raises ConfigurationError: overlays are based on it.
    """
    if users := overlays_of(pool, image):
        raise ConfigurationError(
            f"image {image.name} {image.description.short_digest} is in use",
            details=f"Volumes based on it: {', '.join(users)}.",
            resolution="Wait for their VMs to end; what is saved goes when no label asks for it.",
        )
    delete_leftovers(pool, image)
    storage.delete_volume(pool, image.lock)


def delete_leftovers(pool: libvirt.virStoragePool, image: PublishedImage, but: str = "") -> None:
    """Delete whatever there is of the image, the description first.

    :param but: the name of a volume that stays.
    """
    for name in (*_descriptions_of(pool, image), image.disk, image.kernel, image.initrd):
        volume = None if name == but else volume_called(pool, name)
        if volume is not None:
            volume.delete(0)


def _descriptions_of(pool: libvirt.virStoragePool, image: PublishedImage) -> list[str]:
    """Return the names of the volumes that describe the image, whenever it was chosen."""
    return [
        name
        for name in volumes_of(pool)
        if (match := _DESCRIPTION_NAME.fullmatch(name)) is not None
        and (match["name"], match["digest"]) == (image.name, image.description.short_digest)
    ]


def overlays_of(pool: libvirt.virStoragePool, image: PublishedImage) -> tuple[str, ...]:
    """Return the names of the volumes in *pool* that are based on the image."""
    disk = volume_called(pool, image.disk)
    if disk is None:
        return ()
    path = disk.path()
    return tuple(n for n, volume in named(pool.listAllVolumes()) if _backing(volume) == path)


def _backing(volume: libvirt.virStorageVol) -> str | None:
    """Return the path below *volume*; ``None`` also if it is gone, or cannot be read."""
    xml = storage.xml_of(volume)
    return None if xml is None else xml.findtext("backingStore/path")


def _descriptions(
    volumes: Volumes, image: str | None, known: Known
) -> dict[str, Description | ConfigurationError]:
    """Return what each description's volume says, or why it says nothing.

    :param image: the name of the only image to look at; ``None`` for all.
    """
    found = {
        name: known.description(volume, name)
        for name, volume in volumes.items()
        if (match := _DESCRIPTION_NAME.fullmatch(name)) is not None
        and image in (None, match["name"])
    }
    return {name: said for name, said in found.items() if said is not None}


_NOT_THERE: Final = (
    libvirt.VIR_ERR_NO_STORAGE_VOL,  # it was deleted since it was listed
    libvirt.VIR_ERR_OPERATION_INVALID,  # it is being made: "still being allocated"
)


def _read_description(
    volume: libvirt.virStorageVol, name: str
) -> Description | ConfigurationError | None:
    """Return what the volume says, or why it says nothing; ``None`` if it is not there."""
    text = bytearray()
    try:
        for chunk in download(volume):
            text += chunk
            if len(text) > _DESCRIPTION_BYTES:
                return ConfigurationError(f"volume {name} is too large for a description")
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NOT_THERE:
            return None
        if not volume.connect().isAlive():
            raise
        return ConfigurationError(f"volume {name} cannot be read: {error}")
    try:
        # Storage pools of block devices round sizes up, with zeros.
        description = Description.from_json(bytes(text).rstrip(b"\0"), source=f"volume {name}")
    except ConfigurationError as error:
        return error
    if PublishedImage.of(description).json != name:
        return ConfigurationError(f"volume {name} describes another image than its name says")
    return description


def _matching(
    volumes: Volumes, name: str, digest_prefix: str | None, known: Known
) -> tuple[PublishedImage, ...]:
    images = _published_among(volumes, name, known)
    return tuple(image for image in images if image.digest.startswith(digest_prefix or ""))


def _listing(images: tuple[PublishedImage, ...]) -> str:
    return ", ".join(f"{image.name} {image.description.short_digest}" for image in images)


def _not_published(
    pool: libvirt.virStoragePool, name: str, digest_prefix: str | None, known: Known
) -> ConfigurationError:
    volumes = volumes_of(pool)
    wanted = name if digest_prefix is None else f"{name} {digest_prefix}"
    said = _descriptions(volumes, None, known).values()
    damaged = [each.brief for each in said if isinstance(each, ConfigurationError)]
    there = f"Published there: {_listing(_published_among(volumes, None, known)) or 'nothing'}."
    return ConfigurationError(
        f"image {wanted} is not published in storage pool {pool.name()!r}",
        details="\n".join([there, *damaged]),
        resolution=f"Publish it: {how_to_publish(pool, name)}",
    )
