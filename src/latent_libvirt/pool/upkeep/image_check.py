# SPDX-License-Identifier: GPL-2.0-only
"""Checks whether newer images were published than spares and saved states have.

Each host is asked once about all of them, and several hosts at the same time. What goes then is
decided in ``spares.py`` and ``state_saver.py``. Roll-outs learn of new versions here, too.
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
    from latent_libvirt.host.volumes.base_image import BaseImage
    from latent_libvirt.pool.records.rollout.canaries import Canaries
    from latent_libvirt.pool.spares import Spares
    from latent_libvirt.pool.upkeep.state_saver import StateSaver

log = Logger()

AT_ONCE: Final = 32
"""How many hosts are asked at the same time; each question takes a thread."""

_IN_USE: Final = "in use"
"""Follows the name of a label, in a question, for the version in use of its image."""


class ImageCheck:
    """The check, for all hosts of a pool.

    :param config: returns the pool's configuration as it is now.
    """

    def __init__(
        self,
        hosts: Mapping[str, Host],
        spares: Spares,
        state_saver: StateSaver,
        canaries: Canaries,
        *,
        config: Callable[[], PoolConfig],
    ) -> None:
        self._hosts = hosts
        self._spares = spares
        self._state_saver = state_saver
        self._canaries = canaries
        self._config = config

    async def run(self) -> None:
        """End and delete what has not the newest image; a host that cannot say is left alone."""
        await self._canaries.load()
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
        asked = {*waiting, *self._state_saver.labels_with_images(host)}
        labels = {*asked, *self._canaries.labels_on(host.name)} & set(config.labels)
        if not labels or not host.usable:
            return
        wanted = {label: config.image_for(config.labels[label]) for label in sorted(labels)}
        stable = {label: self._canaries.stable(label) for label in wanted}
        in_use = {
            f"{label} {_IN_USE}": wanted[label].model_copy(update={"digest": digest})
            for label, digest in stable.items()
            if digest
        }
        try:
            found = await host.newest_images({**wanted, **in_use})
        except LatentLibvirtError as error:
            log.warn("host {host}: {error}", host=host.name, error=str(error))
            return
        for label in wanted:
            is_lost = isinstance(found.get(f"{label} {_IN_USE}"), LatentLibvirtError)
            self._note(host, label, found[label], lacks=stable[label] if is_lost else "")

    def _note(
        self, host: Host, label: str, image: BaseImage | LatentLibvirtError, *, lacks: str
    ) -> None:
        """Note the newest image of *label* on *host*.

        :param lacks: the version in use, if the host does not have it.
        """
        if isinstance(image, LatentLibvirtError):
            log.warn("host {host}: {error}", host=host.name, error=str(image))
        else:
            self._canaries.saw(label, image)
            in_use, on_trial = self._canaries.versions(label, image.digest, lacks=lacks)
            self._spares.note_image(host, label, in_use | on_trial)
            self._state_saver.note_image(host, label, in_use)
