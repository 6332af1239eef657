# SPDX-License-Identifier: GPL-2.0-only
"""Storage pools that verbs are run on, and uploads to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from latent_libvirt.advice import command as command_line
from latent_libvirt.advice import listed
from latent_libvirt.cli.image.shown import Once, console, moving, note, say
from latent_libvirt.errors import HostError, LatentLibvirtError

if TYPE_CHECKING:
    import libvirt

    from latent_libvirt.config.sections.host import HostConfig
    from latent_libvirt.images.local import LocalImage

_WAITING: Final = (
    "Somebody else uploads this image; waiting for that. An upload that shows no sign of life "
    "for a minute is taken over."
)


@contextmanager
def opened(uri: str | None, pool: str | None) -> Iterator[libvirt.virStoragePool]:
    """Give the storage pool.

    :raises HostError: the host does not answer, or its libvirt refused something.
    """
    if uri is None or pool is None:
        raise click.UsageError("--uri and --pool belong together")
    from latent_libvirt.host.libvirtd.errand import visiting  # noqa: PLC0415
    from latent_libvirt.host.volumes.storage import storage_pool  # noqa: PLC0415

    with visiting(uri) as connection:
        yield storage_pool(connection, pool)


class _Sent:
    """Progress of an upload, which also tells whether there was one."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress = progress
        self.anything = False

    def __call__(self, done: int, total: int) -> None:
        """Report *done* bytes of *total*."""
        self.anything = True
        self._progress(done, total)


def publish_to(local: LocalImage, uri: str | None, pool: str | None) -> None:
    """Publish an image in one storage pool, and say so.

    :raises HostError: the host does not take it.
    """
    from latent_libvirt.host.volumes import image_upload, images  # noqa: PLC0415 (building has none)

    with opened(uri, pool) as storage, moving(f"Publish {local.description.name}") as progress:
        sent = _Sent(progress)
        published = image_upload.publish(storage, local, sent, Once(_WAITING), note)
        taken = images.find(storage, published.name)
    if sent.anything:
        say(published.description, f"published in {pool} of {uri}")
    else:
        say(published.description, f"was there already in {pool} of {uri}")
        note("Samples of what was there were compared. 'latent-libvirt image verify' compares all.")
    if taken.digest != published.digest:
        console.print(
            f"VMs take {taken.name} {taken.description.short_digest}, which was built or chosen "
            f"later. 'latent-libvirt image rollback {taken.name} --to "
            f"{published.description.short_digest}' changes that.",
            markup=False,
            style="yellow",
        )


def publish_to_all(local: LocalImage, hosts: Mapping[str, HostConfig]) -> None:
    """Publish an image on each of *hosts*, one after the other.

    :raises HostError: it is not published on one or more of them.
    """
    failed = {}
    for name, host in hosts.items():
        try:
            publish_to(local, host.uri, host.storage_pool)
        except LatentLibvirtError as error:
            failed[name] = error.brief
    if failed:
        raise HostError(
            f"image {local.description.name} is not published on {', '.join(failed)}",
            details="\n".join(f"{name}: {why}" for name, why in failed.items()),
            resolution="Publish it there when the cause is removed. Hosts that have it are skipped:"
            + listed(
                command_line("latent-libvirt", "image", "publish", str(local.directory))
                + " --pool-file FILE"
            ),
        )


def publish_all(images: Sequence[LocalImage], hosts: Mapping[str, HostConfig]) -> None:
    """Publish each of the images on each of *hosts*.

    :raises HostError: one or more of them are not published on one or more hosts.
    """
    failed = []
    for local in images:
        try:
            publish_to_all(local, hosts)
        except HostError as error:
            failed.append(error)
    if failed:
        raise HostError(
            "not every image is published on every host",
            details="\n".join(f"{each.brief}\n{each.details}" for each in failed),
            resolution="Repeat this when the causes are removed. Hosts that have an image are "
            "skipped.",
        )
