# SPDX-License-Identifier: GPL-2.0-only
"""What a configuration says of VMs, worked out once for each configuration.

Upkeep asks that of each label on each host every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from latent_libvirt.host.domains.vm_spec import vm_spec

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig


class Configured:
    """Answers about the configuration as it is now.

    :param config: returns it.
    """

    def __init__(self, config: Callable[[], PoolConfig]) -> None:
        self._config = config
        self._of: PoolConfig | None = None
        self._hashes: Mapping[str, str] = {}
        self._resumed: Mapping[str, tuple[str, ...]] = {}
        self._hosts: Mapping[str, frozenset[str]] = {}

    @property
    def spec_hashes(self) -> Mapping[str, str]:
        """The hash of each label's specification; another mapping for each configuration."""
        self._work_out()
        return self._hashes

    def resumed_on(self, host: str) -> tuple[str, ...]:
        """Return the names of the labels whose VMs are to be resumed on *host*."""
        self._work_out()
        return self._resumed.get(host, ())

    def may_use(self, label: str, host: str) -> bool:
        """Whether *label*, which is configured, may have VMs on *host*."""
        self._work_out()
        return host in self._hosts[label]

    def _work_out(self) -> None:
        config = self._config()
        if config is self._of:
            return
        self._of = config
        self._hashes = {label: vm_spec(config, label).hash for label in config.labels}
        self._hosts = {label: frozenset(config.hosts_for(label)) for label in config.labels}
        resumed = [name for name, label in config.labels.items() if label.start == "resume"]
        self._resumed = {
            host: tuple(label for label in resumed if host in self._hosts[label])
            for host in config.hosts
        }
