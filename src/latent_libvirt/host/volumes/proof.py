# SPDX-License-Identifier: GPL-2.0-only
"""Proof of an image: who has signed it, and whether its volumes are what was signed.

A signature covers the digest, and a download of the volumes shows that they have it. That takes
long, so it is done once for each state of the volumes (size and time of the last change), and in a
thread beside those of the host's calls, which the end of the process does not wait for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError

from latent_libvirt.deferreds import Outcome
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.libvirtd.call_threads import Calls
from latent_libvirt.host.libvirtd.errand import visiting
from latent_libvirt.host.volumes import images, storage
from latent_libvirt.images import signing

if TYPE_CHECKING:
    import libvirt
    from twisted.internet.defer import Deferred

    from latent_libvirt.config.sections.image import ImageConfig
    from latent_libvirt.host.volumes.images import PublishedImage

Stamps = tuple[tuple[str, str, str], ...]
"""Of each volume of an image its name, its size and when it was changed last."""

_AT_ONCE: Final = 2
"""How many images of a host are compared at the same time."""

_SIGN: Final = "Sign it, and publish it again: latent-libvirt image sign {name} --key FILE"


def check(pool: libvirt.virStoragePool, image: PublishedImage, wanted: ImageConfig) -> Stamps:
    """See that *image* is signed as *wanted* says; return what its volumes look like.

    :returns: nothing if no signature is required.
    :raises ConfigurationError: it is not signed by one of the keys.
    """
    if not wanted.require_signed:
        return ()
    if not signing.is_signed(image.description, wanted.require_signed):
        how = "is not signed" if image.description.signature is None else "is signed by another key"
        raise ConfigurationError(
            f"image {image.name} {image.description.short_digest} in storage pool {pool.name()!r} "
            f"{how}",
            details="`require_signed` in the pool file lists the keys that count.",
            resolution=_SIGN.format(name=image.name),
        )
    return stamps(pool, image)


def stamps(pool: libvirt.virStoragePool, image: PublishedImage) -> Stamps:
    """Return what shows that nobody has written to the image's volumes since."""
    volumes = (image.volume(part) for part, _ in image.description.parts.items())
    return tuple(_stamp(pool, name) for name in volumes)


def _stamp(pool: libvirt.virStoragePool, name: str) -> tuple[str, str, str]:
    xml = storage.xml_of(pool.storageVolLookupByName(name))
    if xml is None:
        return name, "", ""
    return name, xml.findtext("physical") or "", xml.findtext("target/timestamps/mtime") or ""


class Proofs:
    """Which images of one host have been compared with their digests.

    :param uri: of the *host*.
    :param storage_pool: returns the name of its storage pool.
    """

    def __init__(
        self, host: str, uri: str, storage_pool: Callable[[], str], *, reactor: Any
    ) -> None:
        self._calls: Calls | None = None
        self._is_stopped = False
        self._reactor = reactor
        self._host = host
        self._uri = uri
        self._storage_pool = storage_pool
        self._known: dict[tuple[str, str], tuple[Stamps, Outcome]] = {}

    def prove(self, name: str, digest: str, found: Stamps) -> Deferred[None]:
        """Compare a published image with its digest, unless that was done for its present state.

        :raises ConfigurationError: a volume is not what was published. That is remembered.
        :raises HostError: the host cannot be asked. The next call asks again.
        """
        key = (self._storage_pool(), digest)
        known = self._known.get(key)
        if known is None or known[0] != found:
            known = found, Outcome(self._compare(name, key))
            self._known[key] = known
        return known[1].wait()

    async def _compare(self, name: str, key: tuple[str, str]) -> None:
        pool, digest = key
        try:
            await self._begun().run(_compare, self._uri, pool, name, digest)
        except images.ChangedVolumeError as error:
            raise ConfigurationError(
                f"host {self._host}: {error.brief}, so no VM is started from it",
                details=error.details,
                resolution=error.resolution,
            ) from error
        except HostError:
            self._known.pop(key, None)
            raise
        except CancelledError:
            self._known.pop(key, None)
            raise self._over() from None

    def _begun(self) -> Calls:
        """Return the threads, begun."""
        if self._is_stopped:
            raise self._over()
        if self._calls is None:
            self._calls = Calls(f"proofs of {self._host}", reactor=self._reactor, threads=_AT_ONCE)
            self._calls.start()
        return self._calls

    def _over(self) -> HostError:
        return HostError(f"host {self._host}: its images are not compared any more: it is left")

    def stop(self) -> None:
        """Compare nothing any more; what is under way is given up."""
        self._is_stopped = True
        if self._calls is not None:
            self._calls.give_up()


def _compare(uri: str, pool: str, name: str, digest: str) -> None:
    with visiting(uri) as connection:
        there = storage.storage_pool(connection, pool)
        images.verify(there, images.find(there, name, digest))
