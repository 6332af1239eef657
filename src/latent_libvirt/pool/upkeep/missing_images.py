# SPDX-License-Identifier: GPL-2.0-only
"""Images that labels ask for and hosts do not have, as ``image_check.py`` finds them.

Jobs of such a label wait for its other hosts. Where no host has the image, they start all the same,
and fail with what is missing. Slots are saved, and spares started, only where the image is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.image import ImageConfig


@dataclass(frozen=True)
class _Missing:
    """An image that cannot be had.

    :param why: and the remedy, in sentences.
    """

    image: ImageConfig
    why: str

    def is_asked_for(self, config: PoolConfig, label: str, host: str) -> bool:
        """Whether *label* asks for just this image, and may have VMs on *host*."""
        if label not in config.labels or host not in config.hosts_for(label):
            return False
        return config.image_for(config.labels[label]) == self.image


class MissingImages:
    """Which hosts lack the image of which label.

    :param config: returns the pool's configuration as it is now.
    """

    def __init__(self, config: Callable[[], PoolConfig]) -> None:
        self._config = config
        self._missing: dict[tuple[str, str], _Missing] = {}
        self._whys: tuple[PoolConfig, Mapping[str, Mapping[str, str]]] | None = None

    def note(self, label: str, host: str, image: ImageConfig, why: str) -> bool:
        """Note why *host* cannot give *image* to VMs of *label*; return whether that is news.

        :param why: and the remedy, empty if it can.
        """
        missing = _Missing(image, why) if why else None
        if self._missing.get((label, host)) == missing:
            return False
        self._missing.pop((label, host), None)
        if missing is not None:
            self._missing[label, host] = missing
        self._whys = None
        return True

    def whys(self) -> Mapping[str, Mapping[str, str]]:
        """Return, by label and host, why the label's image cannot be had there, and the remedy.

        A pool asks that whenever a host has been swept. It is worked out once.
        """
        config = self._config()
        if self._whys is None or self._whys[0] is not config:
            self._whys = config, self._work_out(config)
        return self._whys[1]

    def _work_out(self, config: PoolConfig) -> Mapping[str, Mapping[str, str]]:
        """Return the same, and forget what nobody asks for any more."""
        asked_for = (
            each for each in self._missing.items() if each[1].is_asked_for(config, *each[0])
        )
        self._missing = dict(asked_for)
        found: dict[str, dict[str, str]] = {}
        for (label, host), missing in self._missing.items():
            found.setdefault(label, {})[host] = missing.why
        return found

    def on(self, host: str) -> frozenset[str]:
        """Return the labels whose images *host* does not have."""
        return frozenset(label for label, hosts in self.whys().items() if host in hosts)

    def is_everywhere(self, label: str) -> bool:
        """Whether all hosts of *label* lack its image."""
        hosts = self.whys().get(label)
        return hosts is not None and len(hosts) == len(self._config().hosts_for(label))

    def where_others_may_have_it(self) -> dict[str, Mapping[str, str]]:
        """Return what :meth:`whys` does of the labels that may find their image elsewhere."""
        return {
            label: hosts for label, hosts in self.whys().items() if not self.is_everywhere(label)
        }
