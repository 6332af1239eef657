# SPDX-License-Identifier: GPL-2.0-only
"""Checks whether newer images were published than spares and saved states have.

Each host is asked once about all of them, and several hosts at the same time. What goes then is
decided in ``spares.py`` and ``state_saver.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.logger import Logger

from latent_libvirt.errors import LatentLibvirtError

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.host import Host
    from latent_libvirt.pool.spares import Spares
    from latent_libvirt.pool.upkeep.state_saver import StateSaver

log = Logger()

AT_ONCE: Final = 32
"""How many hosts are asked at the same time; each question takes a thread."""


class ImageCheck:
    """The check, for all hosts of a pool.

    :param config: returns the pool's configuration as it is now.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        spares: Spares,
        state_saver: StateSaver,
        *,
        config: Callable[[], PoolConfig],
    ) -> None:
        self._hosts = hosts
        self._spares = spares
        self._state_saver = state_saver
        self._config = config

    async def run(self) -> None:
        """End and delete what has not the newest image; a host that cannot say is left alone."""
        waiting = self._spares.labels_with_images()
        places = DeferredSemaphore(AT_ONCE)
        await gatherResults(
            [
                places.run(self._begin, host, waiting.get(host, ()))
                for host in dict.fromkeys((*self._hosts.values(), *waiting))
            ],
            consumeErrors=True,
        )

    def _begin(self, host: Host, waiting: Collection[str]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._check(host, waiting))

    async def _check(self, host: Host, waiting: Collection[str]) -> None:
        config = self._config()
        labels = {*waiting, *self._state_saver.labels_with_images(host)} & set(config.labels)
        if not labels or not host.usable:
            return
        wanted = {label: config.image_for(config.labels[label]) for label in sorted(labels)}
        try:
            found = await host.image_digests(wanted)
        except LatentLibvirtError as error:
            log.warn("host {host}: {error}", host=host.name, error=str(error))
            return
        for label, digest in found.items():
            self._note(host, label, digest)

    def _note(self, host: Host, label: str, digest: str | LatentLibvirtError) -> None:
        if isinstance(digest, LatentLibvirtError):
            log.warn("host {host}: {error}", host=host.name, error=str(digest))
        else:
            self._spares.note_image(host, label, digest)
            self._state_saver.note_image(host, label, digest)
