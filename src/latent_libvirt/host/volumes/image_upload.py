# SPDX-License-Identifier: GPL-2.0-only
"""Uploads of base images to a storage pool: all of an image, or nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.config.units import MIB
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.architectures import architectures
from latent_libvirt.host.volumes import (
    description_volume,
    storage,
    upload_lock,
)
from latent_libvirt.host.volumes.images import (
    ChangedVolumeError,
    PublishedImage,
    counter,
    delete_leftovers,
    lost_volumes,
    published,
    verify,
)
from latent_libvirt.host.volumes.samples import compare_samples, keeps_content
from latent_libvirt.host.volumes.transfer import (
    NewVolume,
    left_of,
    upload,
)
from latent_libvirt.images.local import (
    measure,
    mismatch,
    unreadable,
)
from latent_libvirt.images.pieces import Hole, pieces

if TYPE_CHECKING:
    from latent_libvirt.host.volumes.upload_lock import UploadLock
    from latent_libvirt.images.description import Description
    from latent_libvirt.images.local import (
        LocalImage,
        Progress,
    )
    from latent_libvirt.images.pieces import Piece


def publish(
    pool: libvirt.virStoragePool,
    local: LocalImage,
    progress: Progress = lambda _done, _total: None,
    waiting: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _text: None,
) -> PublishedImage:
    """Upload a local image to *pool*, and check it. If all of it is there, only compare samples.

    While somebody else uploads the same image, this waits for the result. An upload that has died
    is taken over. An interrupted one is gone on with.

    :param progress: gets bytes moved, up or down.
    :param waiting: called about once a second while somebody else uploads it.
    :param say: gets a sentence for the operator.
    :raises ConfigurationError: the local files are not what was built, or the host cannot run VMs
        of the image's architecture.
    :raises HostError: what was uploaded, now or before, is not what is there now.
    """
    _refuse_foreign(pool, local.description)
    storage.refresh(pool)
    image = PublishedImage.of(local.description)
    if (there := _there(pool, image)) is not None:
        _refuse_changed(pool, local, there)
    while (there := _there(pool, image)) is None:
        lock = upload_lock.take(
            pool, image.lock, unless=lambda: _there(pool, image) is not None, waiting=waiting
        )
        if lock is not None:
            _publish_with(lock, pool, _Upload(pool, local, _keeping(lock, progress), say))
    return _signed(pool, there, local.description.signature)


def _refuse_foreign(pool: libvirt.virStoragePool, description: Description) -> None:
    connection = pool.connect()
    if why := architectures(connection).why_not(description.architecture):
        raise ConfigurationError(
            f"image {description.name} is for {description.architecture}, which "
            f"{connection.getURI()} cannot run",
            details=f"{why[0].upper()}{why[1:]}.",
            resolution="Install it, or publish the image to another host.",
        )


def _signed(
    pool: libvirt.virStoragePool, image: PublishedImage, signature: str | None
) -> PublishedImage:
    """Give a published image a signature that it does not have yet."""
    if signature is None or signature == image.description.signature:
        return image
    signed = image.description.model_copy(update={"signature": signature})
    description_volume.replace(pool, image, signed)
    return PublishedImage.of(signed)


def _publish_with(lock: UploadLock, pool: libvirt.virStoragePool, work: _Upload) -> None:
    """Publish the image, unless that was done just before, or the lock is lost on the way."""
    try:
        if _there(pool, work.image) is None:
            work.run(lock)
    except (HostError, libvirt.libvirtError):
        if lock.is_held():
            raise
        # This upload was taken for dead, and another one has begun in its place.
    finally:
        lock.release()


def _there(pool: libvirt.virStoragePool, image: PublishedImage) -> PublishedImage | None:
    """Return the image of the same digest that is published, unless it lacks a volume."""
    same = (each for each in published(pool, image.name) if each.digest == image.digest)
    return next((each for each in same if not lost_volumes(pool, each)), None)


def _refuse_changed(pool: libvirt.virStoragePool, local: LocalImage, there: PublishedImage) -> None:
    """Refuse an image that is there, and that somebody has written to since, as samples show.

    Local files that are not what was built say nothing of it, and are not needed.

    :raises ChangedVolumeError: it is not what was published.
    """
    try:
        for name, part in local.description.parts.items():
            compare_samples(pool, there.volume(name), local.path(name), part.size)
    except ConfigurationError:
        return
    except ChangedVolumeError as error:
        if not _is_sound(local):
            return
        raise ChangedVolumeError(
            error.brief,
            details=error.details,
            resolution=f"Delete image {there.name} {there.description.short_digest} "
            "(latent-libvirt image delete) and publish it again. No VM that was started from it "
            "can be trusted.",
        ) from error


def _is_sound(local: LocalImage) -> bool:
    try:
        local.verify()
    except ConfigurationError:
        return False
    return True


def _keeping(lock: UploadLock, progress: Progress) -> Progress:
    def keep(done: int, total: int) -> None:
        lock.keep()
        progress(done, total)

    return keep


class _Upload:
    """One upload of an image; the lock is held."""

    def __init__(
        self,
        pool: libvirt.virStoragePool,
        local: LocalImage,
        progress: Progress,
        say: Callable[[str], None],
    ) -> None:
        self.image = PublishedImage.of(local.description)
        self._pool = pool
        self._local = local
        self._progress = progress
        self._say = say
        self._size = local.description.parts.size

    def run(self, lock: UploadLock) -> None:
        """Replace what there is of the image, or go on with it.

        :raises ConfigurationError: a local file is not what was built.
        :raises HostError: what was uploaded is not what is there now.
        """
        self._refuse_other_sizes()
        left = self._keep_left()
        _refuse_full(self._pool, self._size - left)
        with self._compared_with_description():
            self._upload_checked(left)
        if not lock.is_held():
            raise HostError(f"another upload of {self.image.disk} has begun")
        self._upload_description()

    @contextmanager
    def _compared_with_description(self) -> Iterator[None]:
        """Compare the local files with the description during a ``with`` block.

        What is sent is read separately, so the files have to stay what they are until it is sent.

        :raises ConfigurationError: one is not what was built. Nothing of the image is left then.
        """
        try:
            with self._local.unwritten(), self._hashed():
                yield
        except ConfigurationError:
            self._keep_left(keep=False)
            raise

    @contextmanager
    def _hashed(self) -> Iterator[None]:
        """Hash the local files in a thread, unless they were not written since they were hashed."""
        if self._local.is_unchanged:
            yield
            return
        with ThreadPoolExecutor(1, thread_name_prefix="hash") as threads:
            given_up = threading.Event()
            hashed = threads.submit(self._local.verify, partial(_unless, given_up))
            try:
                yield
                hashed.result()
            finally:
                given_up.set()

    def _refuse_other_sizes(self) -> None:
        """Refuse what cannot be the image before anything is sent."""
        for name, part in self.image.description.parts.items():
            path = self._local.path(name)
            if not path.is_file() or path.stat().st_size != part.size:
                raise mismatch(path, measure(path), part)

    def _keep_left(self, *, keep: bool = True) -> int:
        """Delete what an earlier upload has left, unless another one can go on after it.

        :returns: how many bytes of the disk are there.
        """
        left = left_of(self._pool, self.image.new_volume("disk")) if keep else 0
        if left:
            self._say(f"An interrupted upload has left {left // MIB} MiB, which are gone on after.")
        delete_leftovers(self._pool, self.image, but=self.image.disk if left else "")
        return left

    def _upload_checked(self, left: int) -> None:
        """Upload, and see that it is there."""
        try:
            self._upload_and_check(left)
        except ChangedVolumeError:
            if not left:
                raise
            self._say("What an interrupted upload had left was damaged, so all of it is replaced.")
            self._keep_left(keep=False)
            self._upload_and_check(0)

    def _upload_and_check(self, left: int) -> None:
        """Upload, and read back all, or samples where the stream answers for the rest.

        A stream that ends well has carried every byte, in order, and the host has written it. What
        an earlier stream has left is another matter, and so is a connection that checks nothing.
        """
        reads_all = bool(left) or not keeps_content(self._pool.connect().getURI())
        size, total = self._size, self._size * (2 if reads_all else 1)
        self._upload_parts(left, total)
        try:
            if reads_all:
                verify(self._pool, self.image, lambda done, _: self._progress(size + done, total))
            else:
                self._compare_samples()
        except ChangedVolumeError:
            self._local.verify()  # it may be to blame
            raise

    def _compare_samples(self) -> None:
        for name, part in self.image.description.parts.items():
            compare_samples(self._pool, self.image.volume(name), self._local.path(name), part.size)

    def _upload_parts(self, left: int, total: int) -> None:
        done = 0
        for name, part in self.image.description.parts.items():
            count = counter(self._progress, done, total)
            start = left if name == "disk" else 0
            new, path = self.image.new_volume(name), self._local.path(name)
            if start < part.size or start == 0:
                upload(self._pool, new, _counted(path, start, count), start=start, say=self._say)
            done += part.size

    def _upload_description(self) -> None:
        text = self.image.description.to_json().encode()
        upload(self._pool, NewVolume(self.image.json, len(text), len(text)), [text])


def _unless(given_up: threading.Event, _done: int, _total: int) -> None:
    if given_up.is_set():
        raise CancelledError


def _refuse_full(pool: libvirt.virStoragePool, size: int) -> None:
    storage.refresh(pool)
    _state, capacity, _allocation, available = pool.info()
    if capacity > 0 and available < size:  # some kinds of storage pools do not know
        raise HostError(
            f"storage pool {pool.name()!r} is full: {available // MIB} MiB are free, and the image "
            f"needs {-(-size // MIB)} MiB",
            resolution="Delete images that nothing needs (latent-libvirt image prune), or give the "
            "host a larger storage pool.",
        )


def _counted(path: Path, start: int, count: Callable[[int], None]) -> Iterator[Piece]:
    """Yield what a file contains from the byte *start* on, and count what has been sent.

    :raises ConfigurationError: it cannot be read.
    """
    sent = start
    try:
        for piece in pieces(path, start):
            yield piece
            sent += piece.size if isinstance(piece, Hole) else len(piece)
            count(sent)
    except OSError as error:
        raise unreadable(path, error) from error
