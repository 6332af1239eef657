# SPDX-License-Identifier: GPL-2.0-only
"""Checks whether newer images were published than spares and saved states have, and which lack.

Each host is asked once about the images of all its labels, and several hosts at the same time. What
goes then is decided in ``spares.py`` and ``state_saver.py``. Roll-outs learn of new versions here,
too, and an operator which images are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError, LatentLibvirtError
from latent_libvirt.host.volumes.base_image import BaseImage, refuse_foreign

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.image import ImageConfig
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.host.host import Host
    from latent_libvirt.pool.records.rollout.canaries import Canaries
    from latent_libvirt.pool.spares import Spares
    from latent_libvirt.pool.upkeep.missing_images import MissingImages
    from latent_libvirt.pool.upkeep.state_saver import StateSaver

log = Logger()

AT_ONCE: Final = 32
"""How many hosts are asked at the same time; each question takes a thread."""

_IN_USE: Final = "in use"
"""Follows the name of a label, in a question, for the version in use of its image."""


class ImageCheck:
    """The check, for all hosts of a pool.

    :param missing: what it finds missing.
    :param config: returns the pool's configuration as it is now.
    :param changed: called when other images are missing than before, once for all hosts that have
        answered in the same turn of *reactor*.
    """

    def __init__(  # noqa: PLR0913 - all that depends on which images there are
        self,
        hosts: Mapping[str, Host],
        spares: Spares,
        state_saver: StateSaver,
        canaries: Canaries,
        missing: MissingImages,
        *,
        config: Callable[[], PoolConfig],
        changed: Callable[[], None],
        reactor: Any,
    ) -> None:
        self._hosts = hosts
        self._spares = spares
        self._state_saver = state_saver
        self._canaries = canaries
        self._config = config
        self._missing = missing
        self._changed = changed
        self._reactor = reactor
        self._saying: Any = None
        self._asked: WeakKeyDictionary[Host, PoolConfig] = WeakKeyDictionary()
        self._logged: WeakKeyDictionary[Host, Mapping[str, str]] = WeakKeyDictionary()

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
        if self._saying is not None:
            self._say_changed()

    def _say_soon(self) -> None:
        """Say in the next turn, or at the end of the check, that other images are missing."""
        if self._saying is None:
            self._saying = self._reactor.callLater(0, self._say_changed)

    def _say_changed(self) -> None:
        if self._saying.active():
            self._saying.cancel()
        self._saying = None
        self._changed()

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
        newest = {
            label: _fitting(found[label], image, config.labels[label])
            for label, image in wanted.items()
        }
        self._log(host, newest)
        news = []
        for label, image in wanted.items():
            used = found.get(f"{label} {_IN_USE}", newest[label])
            judged = _fitting(used, image, config.labels[label])
            if not isinstance(judged, BaseImage):
                judged = newest[label]  # VMs take it, where the version in use is lost
            news.append(self._note(host, label, image, judged))
            lacks = stable[label] if isinstance(used, LatentLibvirtError) else ""
            self._note_versions(host, label, found[label], lacks=lacks)
        if any(news):
            self._say_soon()

    def _log(self, host: Host, newest: Mapping[str, BaseImage | LatentLibvirtError]) -> None:
        """Log why labels cannot have the newest version: once, if that is the image's fault."""
        before = self._logged.get(host, {})
        errors = {label: e for label, e in newest.items() if isinstance(e, LatentLibvirtError)}
        for label, error in errors.items():
            if not isinstance(error, ConfigurationError) or before.get(label) != str(error):
                log.warn("host {host}: {error}", host=host.name, error=str(error))
        self._logged[host] = {label: str(error) for label, error in errors.items()}

    def _note(
        self, host: Host, label: str, wanted: ImageConfig, image: BaseImage | LatentLibvirtError
    ) -> bool:
        """Note whether *label* can have its image on *host*; return whether that is news.

        An error that says nothing of the image leaves what is known.
        """
        if isinstance(image, ConfigurationError):
            return self._missing.note(label, host.name, wanted, _in_sentences(image))
        return isinstance(image, BaseImage) and self._missing.note(label, host.name, wanted, "")

    def _note_versions(
        self, host: Host, label: str, image: BaseImage | LatentLibvirtError, *, lacks: str
    ) -> None:
        """Note the newest image of *label* on *host*.

        :param lacks: the version in use, if the host does not have it.
        """
        if isinstance(image, LatentLibvirtError):
            return
        self._canaries.saw(label, image)
        in_use, on_trial = self._canaries.versions(label, image.digest, lacks=lacks)
        self._spares.note_image(host, label, in_use | on_trial)
        self._state_saver.note_image(host, label, in_use)


def _in_sentences(error: ConfigurationError) -> str:
    return " ".join(filter(None, (f"{error.brief}.", error.resolution)))


def _fitting(
    image: BaseImage | LatentLibvirtError, wanted: ImageConfig, label: LabelConfig
) -> BaseImage | LatentLibvirtError:
    """Return *image*, or why VMs of *label* cannot boot it."""
    if isinstance(image, BaseImage):
        try:
            refuse_foreign(image, name=wanted.name or image.volume, label=label)
        except ConfigurationError as error:
            return error
    return image


def _labels_by_host(config: PoolConfig) -> Mapping[str, set[str]]:
    """Return the labels that may run on each host."""
    found: dict[str, set[str]] = {host: set() for host in config.hosts}
    for label in config.labels:
        for host in config.hosts_for(label):
            found[host].add(label)
    return found
