# SPDX-License-Identifier: GPL-2.0-only
"""Rollback of an image: an older version, which is published too, becomes the one that VMs take.

Nothing is uploaded but a description, which says when the version was chosen. All functions block,
and let libvirt's own errors pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.volumes import description_volume, images, storage

if TYPE_CHECKING:
    import libvirt

    from latent_libvirt.host.volumes.images import PublishedImage

Versions = Sequence["PublishedImage"]
"""The versions of one image in a storage pool. VMs take the first."""


def versions(pool: libvirt.virStoragePool, name: str) -> tuple[PublishedImage, ...]:
    """Return the whole images of that name in *pool*, those first that VMs take."""
    storage.refresh(pool)
    found = images.published(pool, name)
    return tuple(image for image in found if not images.lost_volumes(pool, image))


def target(
    name: str, found: Mapping[str, Versions], digest_prefix: str | None = None
) -> PublishedImage:
    """Return the version to go back to, on all hosts.

    That is the one that was built before the version that VMs take now, or the one whose digest
    begins so.

    :param found: by host, its versions.
    :raises ConfigurationError: there is none, or several digests begin so.
    """
    images.refuse_empty(name, digest_prefix)
    every = {image.digest: image for there in found.values() for image in reversed(there)}
    used = [there[0] for there in found.values() if there]
    if not used:
        raise ConfigurationError(
            f"image {name!r} is published on none of these hosts",
            resolution="Publish it: latent-libvirt image publish",
        )
    newest = max(used, key=lambda image: (image.description.since, image.digest))
    if digest_prefix is None:
        older = [image for image in every.values() if image.created < newest.created]
    else:
        older = [image for image in every.values() if image.digest.startswith(digest_prefix)]
    older.sort(key=lambda image: (image.created, image.digest))
    if digest_prefix is not None and len(older) > 1:
        raise _ambiguous(name, digest_prefix, older)
    if not older:
        raise _none(name, newest, tuple(every.values()), digest_prefix)
    return older[-1]


def _ambiguous(name: str, prefix: str, found: Versions) -> ConfigurationError:
    return ConfigurationError(
        f"the digest {prefix!r} of image {name!r} is ambiguous",
        details=f"Versions: {_listing(found)}.",
        resolution="Write more digits of it.",
    )


def _none(
    name: str, used: PublishedImage, found: Versions, prefix: str | None
) -> ConfigurationError:
    what = "older than" if prefix is None else f"{prefix}, besides"
    return ConfigurationError(
        f"there is no version of image {name!r} {what} {used.description.short_digest}, which VMs "
        "take now",
        details=f"Versions: {_listing(found)}.",
        resolution="Publish the version that you want, or choose one of these with --to DIGEST.",
    )


def _listing(found: Versions) -> str:
    ordered = sorted(found, key=lambda image: image.created, reverse=True)
    return ", ".join(
        f"{each.description.short_digest} of {each.created:%Y-%m-%d %H:%M} UTC" for each in ordered
    )


def choose(pool: libvirt.virStoragePool, image: PublishedImage) -> bool:
    """Let VMs take that version from now on; return whether they did not before.

    :raises HostError: *pool* does not have it.
    """
    there = versions(pool, image.name)
    mine = next((each for each in there if each.digest == image.digest), None)
    if mine is None:
        raise HostError(
            f"storage pool {pool.name()!r} has no {image.name} {image.description.short_digest}"
        )
    if mine is there[0]:
        return False
    later = there[0].description.since + timedelta(seconds=1)  # whatever our clock says
    now = max(datetime.now(UTC).replace(microsecond=0), later)
    chosen = mine.description.model_copy(update={"chosen": now})
    description_volume.replace(pool, mine, chosen)
    return True
