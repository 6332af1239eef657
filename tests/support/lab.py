# SPDX-License-Identifier: GPL-2.0-only
"""A hypervisor for tests: a private libvirtd with a storage pool, seen from outside."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import libvirt

import small_disk
from buildmaster import DEADLINE, wait_for
from latent_libvirt.host import names
from latent_libvirt.host.libvirtd import opening
from latent_libvirt.host.volumes import (
    image_upload,
    images,
    storage,
)
from latent_libvirt.images.local import LocalImage
from latent_libvirt.sandbox import PrivateLibvirtd

STORAGE_POOL = "builds"

FOREIGN_DOMAIN = """
<domain type='qemu'><name>latent-libvirt-1</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64'>hvm</type></os></domain>
"""
"""A domain in a slot that no pool has made."""


@dataclass(frozen=True)
class Sample:
    """What the host held at one moment. Overlays are listed first: one is deleted after its domain.

    :param memory: of each domain that has not ended since it was listed, in KiB.
    """

    domains: tuple[str, ...]
    memory: tuple[int, ...]
    overlays: tuple[str, ...]


class Lab:
    """What a test knows of its hypervisor without asking the code under test."""

    def __init__(self, sandbox: PrivateLibvirtd) -> None:
        self.sandbox = sandbox

    @property
    def uri(self) -> str:
        """Where masters find it."""
        return self.sandbox.uri

    @property
    def directory(self) -> Path:
        """Where the files of its volumes are, unless they have a disk of their own."""
        return self.sandbox.directory / "storage" / STORAGE_POOL

    def publish(self, image: LocalImage) -> images.PublishedImage:
        """Make an image available to labels."""
        with self.connection() as connection:
            return image_upload.publish(connection.storagePoolLookupByName(STORAGE_POOL), image)

    def domains(self) -> list[str]:
        """Return the names of all domains there are at this moment."""
        with self.connection() as connection:
            return sorted(domain.name() for domain in connection.listAllDomains())

    def overlays(self) -> list[str]:
        """Return the names of all overlays there are at this moment."""
        with self.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            return sorted(n for n in _volumes(pool) if names.OwnedVolume.overlay(n) is not None)

    def saved(self) -> list[str]:
        """Return the names of the volumes of all saved states, whole or not."""
        with self.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            return sorted(n for n in _volumes(pool) if names.OwnedVolume.saved(n) is not None)

    def delete_saved(self) -> None:
        """Delete all saved states, behind the back of anyone who they belong to."""
        with self.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            for name in self.saved():
                pool.storageVolLookupByName(name).delete(0)

    def leftovers(self) -> list[str]:
        """Return everything that should not be there when no job runs."""
        return self.domains() + self.overlays()

    def leave_overlay(self, owner: names.Owner) -> str:
        """Leave what a killed process of *owner* would; return its name."""
        with self.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            # Not one of the images that other tests have damaged.
            good = re.compile(r"\.image\.debian-12\..*qcow2")
            base = next(v for v in pool.listAllVolumes() if good.search(v.name()))
            name = names.OwnedVolume(owner.id, 2, "aa")
            storage.create_overlay(pool, name, base=base, capacity=None)
        return str(name)

    def delete_overlays(self) -> None:
        """Delete all overlays, behind the back of anyone who they belong to."""
        with self.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            for name in self.overlays():
                pool.storageVolLookupByName(name).delete(0)

    @contextmanager
    def defined(self, xml: str) -> Iterator[None]:
        """Define a domain, which does not run, for the length of a ``with`` block."""
        with self.connection() as connection:
            domain = connection.defineXML(xml)
            try:
                yield
            finally:
                domain.undefine()

    def destroy_domains(self) -> None:
        """Pull the plug of all VMs."""
        with self.connection() as connection:
            for domain in connection.listAllDomains():
                domain.destroy()

    @contextmanager
    def watching(self) -> Iterator[list[Sample]]:
        """Sample what the host holds, over and over, for the length of a ``with`` block.

        A libvirtd that answers no more fails the test, and is started again for the next one.
        """
        samples: list[Sample] = []
        stop = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(samples, stop), daemon=True)
        watcher.start()
        try:
            yield samples
        finally:
            stop.set()
            self._await(watcher)

    def _await(self, watcher: threading.Thread) -> None:
        watcher.join(DEADLINE)
        if watcher.is_alive():
            self.sandbox.kill()
            self.sandbox.restart()
            raise AssertionError(f"libvirtd gave a sampler no answer within {DEADLINE} s")

    def _watch(self, samples: list[Sample], stop: threading.Event) -> None:
        with self.connection() as connection:
            while not stop.wait(0.1):
                samples.append(_sample(connection))

    @contextmanager
    def connection(self) -> Iterator[libvirt.virConnect]:
        """Connect for the length of a ``with`` block; a libvirtd that hangs fails the test."""
        connection = opening.within(DEADLINE, partial(libvirt.open, self.uri))
        try:
            yield connection
        finally:
            connection.close()


def _volumes(pool: libvirt.virStoragePool) -> list[str]:
    """Return the names of all volumes, as they are on disk."""
    wait_for("the pool to be read", partial(_is_refreshed, pool))
    return list(pool.listVolumes())


def _is_refreshed(pool: libvirt.virStoragePool) -> bool:
    try:
        pool.refresh(0)
    except libvirt.libvirtError as error:
        if "asynchronous jobs" not in str(error):
            raise
        return False
    return True


def _sample(connection: libvirt.virConnect) -> Sample:
    volumes = connection.storagePoolLookupByName(STORAGE_POOL).listVolumes()
    overlays = tuple(name for name in volumes if names.OwnedVolume.overlay(name) is not None)
    domains = connection.listAllDomains()
    memory = tuple(filter(None, map(_memory, domains)))
    return Sample(tuple(domain.name() for domain in domains), memory, overlays)


def _memory(domain: libvirt.virDomain) -> int:
    try:
        return int(domain.maxMemory())
    except libvirt.libvirtError:
        return 0  # it has ended since it was listed


@contextmanager
def running(
    directory: Path, *, cache: Path, listen: str = "", disk: int | None = None
) -> Iterator[Lab]:
    """Run a hypervisor with an empty storage pool for the length of a ``with`` block.

    :param listen: see :class:`PrivateLibvirtd`.
    :param disk: bytes of a disk of its own for the storage pool.
    """
    capabilities = cache / "libvirt"
    with PrivateLibvirtd(directory, capability_cache=capabilities, listen=listen) as sandbox:
        if disk is not None:
            small_disk.mount(sandbox.pid, directory / "storage" / STORAGE_POOL, size=disk)
        sandbox.define_storage_pool(STORAGE_POOL)
        yield Lab(sandbox)
