# SPDX-License-Identifier: GPL-2.0-only
"""Private hosts with real QEMU guests: a libvirtd for each, with the image in its storage pool."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.errors import HostError
from latent_libvirt.host.volumes import image_upload
from latent_libvirt.images import recipes
from latent_libvirt.images.build import build
from latent_libvirt.sandbox import PrivateLibvirtd
from latent_libvirt.stress.workspace import STORAGE_POOL

if TYPE_CHECKING:
    from latent_libvirt.images.local import LocalImage
    from latent_libvirt.stress.profile.models import DeploymentProfile


@dataclass(frozen=True)
class PrivateHosts:
    """Starts hosts, which end with a stack of contexts.

    :param work: an empty directory for all their files.
    :param cache: keeps the image, and what libvirt finds out about QEMU.
    """

    work: Path
    profile: DeploymentProfile
    cache: Path
    stack: ExitStack

    def start(self, master: str) -> list[PrivateLibvirtd]:
        """Start the hosts of a master, each with the image.

        :raises LatentLibvirtError: one does not start, or there is no image.
        """
        image = build(recipes.load(self.profile.image), self.cache / "images")
        return [self._host(f"{master}-{n}", image) for n in range(1, self.profile.hosts + 1)]

    def _host(self, name: str, image: LocalImage) -> PrivateLibvirtd:
        directory = self.work / f"host-{name}"
        libvirtd = PrivateLibvirtd(directory, capability_cache=self.cache / "libvirt")
        self.stack.enter_context(libvirtd)
        libvirtd.define_storage_pool(STORAGE_POOL)
        try:
            _publish(libvirtd.uri, image)
        except libvirt.libvirtError as error:
            raise HostError(
                f"the image could not be published on {name}", details=str(error)
            ) from error
        return libvirtd


def _publish(uri: str, image: LocalImage) -> None:
    connection = libvirt.open(uri)
    try:
        image_upload.publish(connection.storagePoolLookupByName(STORAGE_POOL), image)
    finally:
        connection.close()
