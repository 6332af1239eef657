# SPDX-License-Identifier: GPL-2.0-only
"""The hosts of one pool, as its configuration names them at this moment.

A host that leaves the configuration stays connected, out of sight, until its last VM has ended. Who
gets a VM on which host is decided in ``room/host_choice.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.context import (
    STOP_TIMEOUT,
)
from latent_libvirt.status.answers import HostSweep

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.host import HostConfig
    from latent_libvirt.host.context import (
        PoolContext,
    )
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.machine_room import MachineRoom

log = Logger()


MakeHost: TypeAlias = "Callable[[str, HostConfig, PoolContext], Host]"
"""Makes a host that has not been started."""


class Hosts(Mapping[str, "Host"]):
    """Hosts by name."""

    def __init__(self, make_host: MakeHost) -> None:
        self._make_host = make_host
        self._hosts: dict[str, Host] = {}
        self._small: dict[str, _Small] = {}

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    def configure(self, configs: Mapping[str, HostConfig], context: PoolContext) -> None:
        """Have exactly the hosts of *configs*: new ones connect, those that are gone retire."""
        for name in [name for name in self._hosts if not self._adopts(name, configs)]:
            _retire(self._hosts.pop(name))
        for name, config in configs.items():
            if name not in self._hosts:
                self._hosts[name] = self._make_host(name, config, context)
                self._hosts[name].start()

    def _adopts(self, name: str, configs: Mapping[str, HostConfig]) -> bool:
        return name in configs and self._hosts[name].adopt(configs[name])

    def unusable(
        self, reserved: Mapping[str, frozenset[int]] = MappingProxyType({})
    ) -> dict[str, frozenset[int] | None]:
        """Return the slots of each host that cannot be used now, or ``None`` for all of a host.

        :param reserved: slots, by host, that are for something else.
        """
        return {
            name: host.blocked_slots | reserved.get(name, frozenset()) if host.usable else None
            for name, host in self._hosts.items()
        }

    def twin_of(self, host: Host) -> Host | None:
        """Return which other host leads to the same libvirt as *host*, and was recognised first."""
        identity = host.identity
        if identity is None:
            return None
        for other in self._hosts.values():
            if other is not host and other.identity and other.identity.is_that_of(identity):
                return other
        return None

    def too_small(self, config: PoolConfig) -> dict[str, dict[str, str]]:
        """Return, by label and host, why a VM of that label can never run there.

        A label without such a host is left out.
        """
        found: dict[str, dict[str, str]] = {}
        for name, host in self._hosts.items():
            for label, why in self._too_small(name, host, config).items():
                found.setdefault(label, {})[name] = why
        return found

    def _too_small(self, name: str, host: Host, config: PoolConfig) -> Mapping[str, str]:
        """Return the same of one host, by label; worked out once for what the host says."""
        known, room = self._small.get(name), host.machine_room
        if known is None or known[0] is not config or known[1] is not room:
            known = self._small[name] = config, room, _labels_too_large(config, name, room)
        return known[2]

    def troubles(self) -> list[str]:
        """Return, in a sentence each, which hosts are not usable and why."""
        return [
            f"Host {name} is not usable: {host.trouble}"
            for name, host in self._hosts.items()
            if not host.usable
        ]

    async def sweep(self, *, dry_run: bool) -> tuple[HostSweep, ...]:
        """Sweep all hosts now, and return what of each was freed.

        :param dry_run: free nothing, and return what would be.
        """
        swept = [Deferred.fromCoroutine(_sweep(host, dry_run)) for host in self._hosts.values()]
        return tuple(await gatherResults(swept))

    async def stop(self) -> None:
        """Wait until no VM runs on any host, then close the connections."""
        await gatherResults([_stopped(host) for host in self._hosts.values()])
        self._hosts.clear()


_Small: TypeAlias = "tuple[PoolConfig, MachineRoom | None, Mapping[str, str]]"
"""A configuration, what a host can give to one VM, and why that is too little, by label."""


def _labels_too_large(config: PoolConfig, host: str, room: MachineRoom | None) -> dict[str, str]:
    if room is None:
        return {}
    accelerator = config.hosts[host].accelerator
    labels = {
        name: label for name, label in config.labels.items() if host in config.hosts_for(name)
    }
    whys = {name: room.why_unfit(each, accelerator=accelerator) for name, each in labels.items()}
    return {name: why for name, why in whys.items() if why}


def _retire(host: Host) -> None:
    """Stop *host* once no VM of ours runs there any more."""
    host.saved.retire_all("the host is not configured any more")
    _stopped(host, timeout=None)


def _stopped(host: Host, timeout: float | None = STOP_TIMEOUT) -> Deferred[None]:
    """Stop *host* once no VM of ours runs there any more; what goes wrong there is only logged."""
    stopped = Deferred.fromCoroutine(host.stop_when_empty(timeout=timeout))
    return in_background(stopped, f"host {host.name}")


async def _sweep(host: Host, dry_run: bool) -> HostSweep:  # noqa: FBT001
    try:
        leftovers = await (host.leftovers() if dry_run else host.free_leftovers())
    except LatentLibvirtError as error:
        return HostSweep(host.name, (), str(error))
    except Exception as error:  # noqa: BLE001 - the answers of the other hosts are wanted, too
        log.failure("host {host}: sweep", host=host.name)
        return HostSweep(host.name, (), f"host {host.name} could not be swept: {error!r}")
    return HostSweep(host.name, leftovers.in_words(), "")
