# SPDX-License-Identifier: GPL-2.0-only
"""Uploads of base images to a storage pool: all of an image, or nothing of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.config.units import MIB
from latent_libvirt.errors import HostError
from latent_libvirt.host.volumes import (
    storage,
    upload_lock,
)
from latent_libvirt.host.volumes.images import (
    PublishedImage,
    counter,
    delete_leftovers,
    lost_volumes,
    published,
    verify,
)
from latent_libvirt.host.volumes.transfer import (
    NewVolume,
    upload,
    volume_called,
)
from latent_libvirt.images.description import (
    Part,
)
from latent_libvirt.images.local import (
    mismatch,
    read_chunks,
)

if TYPE_CHECKING:
    from latent_libvirt.host.volumes.upload_lock import UploadLock
    from latent_libvirt.images.local import (
        LocalImage,
        Progress,
    )


def publish(
    pool: libvirt.virStoragePool,
    local: LocalImage,
    progress: Progress = lambda _done, _total: None,
    waiting: Callable[[], None] = lambda: None,
) -> PublishedImage:
    """Upload a local image to *pool*, and read it back; if all of it is there already, do nothing.

    While somebody else uploads the same image, this waits for the result. An upload that has died
    is taken over.

    :param progress: gets bytes moved, up or down.
    :param waiting: called about once a second while somebody else uploads it.
    :raises ConfigurationError: the local files are not what was built.
    :raises HostError: what was uploaded is not what is there now.
    """
    storage.refresh(pool)
    image = PublishedImage.of(local.description)
    while (there := _there(pool, image)) is None:
        lock = upload_lock.take(
            pool, image.lock, unless=lambda: _there(pool, image) is not None, waiting=waiting
        )
        if lock is not None:
            _publish_with(lock, pool, local, progress)
    return there


def _publish_with(
    lock: UploadLock, pool: libvirt.virStoragePool, local: LocalImage, progress: Progress
) -> None:
    """Publish the image, unless that was done just before, or the lock is lost on the way."""
    image = PublishedImage.of(local.description)
    try:
        if _there(pool, image) is None:
            _publish_alone(pool, image, local, _keeping(lock, progress))
    except (HostError, libvirt.libvirtError):
        if lock.is_held():
            raise
        # This upload was taken for dead, and another one has begun in its place.
    finally:
        lock.release()


def _there(pool: libvirt.virStoragePool, image: PublishedImage) -> PublishedImage | None:
    """Return the image of the same digest that is published, unless it lacks a volume."""
    if volume_called(pool, image.json) is None:
        return None
    same = (each for each in published(pool) if each.json == image.json)
    return next((each for each in same if not lost_volumes(pool, each)), None)


def _keeping(lock: UploadLock, progress: Progress) -> Progress:
    def keep(done: int, total: int) -> None:
        lock.keep()
        progress(done, total)

    return keep


def _publish_alone(
    pool: libvirt.virStoragePool, image: PublishedImage, local: LocalImage, progress: Progress
) -> None:
    """Replace what there is of the image; the lock is held."""
    delete_leftovers(pool, image)
    size = local.description.parts.size
    _refuse_full(pool, size)
    _upload_parts(pool, image, local, lambda done, _total: progress(done, 2 * size))
    verify(pool, image, lambda done, _total: progress(size + done, 2 * size))
    _upload_description(pool, image)


def _refuse_full(pool: libvirt.virStoragePool, size: int) -> None:
    storage.refresh(pool)
    _state, capacity, _allocation, available = pool.info()
    if capacity > 0 and available < size:  # some kinds of storage pools do not know
        raise HostError(
            f"storage pool {pool.name()!r} is full: {available // MIB} MiB are free, and the image "
            f"has {-(-size // MIB)} MiB",
            resolution="Delete images that nothing needs (latent-libvirt image prune), or give the "
            "host a larger storage pool.",
        )


def _upload_parts(
    pool: libvirt.virStoragePool, image: PublishedImage, local: LocalImage, progress: Progress
) -> None:
    done, total = 0, image.description.parts.size
    for name, part in image.description.parts.items():
        new = image.new_volume(name)
        upload(pool, new, _checked(local.path(name), part, counter(progress, done, total)))
        done += part.size


def _upload_description(pool: libvirt.virStoragePool, image: PublishedImage) -> None:
    text = image.description.to_json().encode()
    upload(pool, NewVolume(image.json, len(text), len(text)), [text])


def _checked(path: Path, expected: Part, count: Callable[[int], None]) -> Iterator[bytes]:
    """Yield what a file contains, and fail at its end if that is not what is expected."""
    digest, size = hashlib.sha256(), 0
    for chunk in read_chunks(path):
        digest.update(chunk)
        size += len(chunk)
        yield chunk
        count(size)
    if (found := Part(sha256=digest.hexdigest(), size=size)) != expected:
        raise mismatch(path, found, expected)
