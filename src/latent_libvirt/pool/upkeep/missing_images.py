# SPDX-License-Identifier: GPL-2.0-only
"""Images that labels ask for and hosts do not have, as ``image_check.py`` finds them.

Jobs of such a label wait for its other hosts. Where no host that it fits on has the image, they
start all the same, and fail with what is missing. Slots are saved, and spares started, only where
the image is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.image import ImageConfig

_ByLabelAndHost = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class _Missing:
    """An image that cannot be had.

    :param why: and the remedy, in sentences.
    """

    image: ImageConfig
    why: str


class MissingImages:
    """Which hosts lack the image of which label.

    :param config: returns the pool's configuration as it is now.
    :param too_small: returns, by label and host, why a VM of that label can never run there.
    """

    def __init__(
        self,
        config: Callable[[], PoolConfig],
        too_small: Callable[[], _ByLabelAndHost],
    ) -> None:
        self._config = config
        self._too_small = too_small
        self._missing: dict[str, dict[str, _Missing]] = {}
        self._whys: tuple[PoolConfig, _ByLabelAndHost] | None = None

    def note(self, label: str, host: str, image: ImageConfig, why: str) -> bool:
        """Note why *host* cannot give *image* to VMs of *label*; return whether that is news.

        :param why: and the remedy, empty if it can.
        """
        missing = _Missing(image, why) if why else None
        hosts = self._missing.setdefault(label, {})
        if hosts.get(host) == missing:
            return False
        hosts.pop(host, None)
        if missing is not None:
            hosts[host] = missing
        self._whys = None
        return True

    def whys(self) -> _ByLabelAndHost:
        """Return, by label and host, why the label's image cannot be had there, and the remedy.

        A pool asks that whenever a host has been swept. It is worked out once.
        """
        config = self._config()
        if self._whys is None or self._whys[0] is not config:
            self._whys = config, self._work_out(config)
        return self._whys[1]

    def _work_out(self, config: PoolConfig) -> _ByLabelAndHost:
        """Return the same, and forget what nobody asks for any more.

        The configuration is asked once for each label: there may be a thousand hosts.
        """
        asked_for = {
            label: _asked_for(config, label, hosts)
            for label, hosts in self._missing.items()
            if label in config.labels
        }
        self._missing = {label: hosts for label, hosts in asked_for.items() if hosts}
        return {
            label: {host: missing.why for host, missing in hosts.items()}
            for label, hosts in self._missing.items()
        }

    def on(self, host: str) -> frozenset[str]:
        """Return the labels whose images *host* does not have."""
        return frozenset(label for label, hosts in self.whys().items() if host in hosts)

    def is_everywhere(self, label: str) -> bool:
        """Whether all hosts that *label* fits on lack its image."""
        hosts = self.whys().get(label)
        return hosts is not None and self._are_all(hosts, label, self._too_small)

    def where_others_may_have_it(self) -> dict[str, Mapping[str, str]]:
        """Return what :meth:`whys` does of the labels that may find their image elsewhere."""
        too_small = functools.cache(self._too_small)
        return {
            label: hosts
            for label, hosts in self.whys().items()
            if not self._are_all(hosts, label, too_small)
        }

    def _are_all(
        self, hosts: Mapping[str, str], label: str, too_small: Callable[[], _ByLabelAndHost]
    ) -> bool:
        """Whether *hosts* are all that *label* fits on."""
        its_own = self._config().hosts_for(label)
        if len(hosts) == len(its_own):
            return True
        return hosts.keys() | too_small().get(label, {}).keys() >= set(its_own)


def _asked_for(
    config: PoolConfig, label: str, hosts: Mapping[str, _Missing]
) -> dict[str, _Missing]:
    """Return those of *hosts* where VMs of *label* may be, and would have just that image."""
    image, its_own = config.image_for(config.labels[label]), frozenset(config.hosts_for(label))
    return {
        host: missing
        for host, missing in hosts.items()
        if host in its_own and missing.image == image
    }
