# SPDX-License-Identifier: GPL-2.0-only
"""Checks whether newer images were published than spares and saved states have, and which lack.

Each host is asked once about the images of all its labels, and several hosts at the same time. What
goes then is decided in ``spares.py`` and ``state_saver.py``. Roll-outs learn of new versions here,
too, and an operator which images are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError, LatentLibvirtError

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
        self._asked: WeakKeyDictionary[Host, PoolConfig] = WeakKeyDictionary()
        self._missing: dict[tuple[str, str], str] = {}

    def missing(self) -> dict[str, dict[str, str]]:
        """Return, by label and host, why the label's image cannot be had there, and the remedy."""
        labels = _labels_by_host(self._config()) if self._missing else {}
        found: dict[str, dict[str, str]] = {}
        for (label, host), why in self._missing.items():
            if label in labels.get(host, ()):
                found.setdefault(label, {})[host] = why
        return found

    async def run(self) -> None:
        """End and delete what has not the newest image; a host that cannot say is left alone."""
        await self._run(dict.fromkeys((*self._hosts.values(), *self._spares.labels_with_images())))

    async def look(self) -> None:
        """Do the same on hosts that were not asked yet since they or their labels changed."""
        config = self._config()
        hosts = [h for h in self._hosts.values() if self._asked.get(h) is not config and h.usable]
        if hosts:
            await self._run(hosts)

    async def _run(self, hosts: Iterable[Host]) -> None:
        await self._canaries.load()
        config, waiting = self._config(), self._spares.labels_with_images()
        labels = _labels_by_host(config)
        places = DeferredSemaphore(AT_ONCE)
        await gatherResults(
            [
                places.run(
                    self._begin, host, labels.get(host.name, set()) | waiting.get(host, set())
                )
                for host in hosts
            ],
            consumeErrors=True,
        )

    def _begin(self, host: Host, labels: Collection[str]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._check(host, labels))

    async def _check(self, host: Host, labels: Collection[str]) -> None:
        config = self._config()
        labels = set(labels) & set(config.labels)
        if not labels or not host.usable:
            return
        self._asked[host] = config
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
            self._note_missing(host.name, label, image)
        else:
            self._missing.pop((label, host.name), None)
            self._canaries.saw(label, image)
            in_use, on_trial = self._canaries.versions(label, image.digest, lacks=lacks)
            self._spares.note_image(host, label, in_use | on_trial)
            self._state_saver.note_image(host, label, in_use)

    def _note_missing(self, host: str, label: str, error: LatentLibvirtError) -> None:
        """Log once that an image is missing. What a host cannot say now leaves what is known."""
        why = " ".join(filter(None, (f"{error.brief}.", error.resolution)))
        if not isinstance(error, ConfigurationError) or self._missing.get((label, host)) != why:
            log.warn("host {host}: {error}", host=host, error=str(error))
        if isinstance(error, ConfigurationError):
            self._missing[label, host] = why


def _labels_by_host(config: PoolConfig) -> Mapping[str, set[str]]:
    """Return the labels that may run on each host."""
    found: dict[str, set[str]] = {host: set() for host in config.hosts}
    for label in config.labels:
        for host in config.hosts_for(label):
            found[host].add(label)
    return found
