# SPDX-License-Identifier: GPL-2.0-only
"""Check of what labels allow their guests: that this machine can look it up and connect to it.

The master fetches for guests. So this is of use on the machine of the master only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults

from latent_libvirt.doctor.finding import fine, warning
from latent_libvirt.host.proxy.far_end import FarEnd
from latent_libvirt.host.proxy.policy import RefusedError
from latent_libvirt.host.proxy.resolver import Resolver, UnreachableError

if TYPE_CHECKING:
    from latent_libvirt.config.destinations import DestinationConfig
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.doctor.finding import Finding

_REFUSED = "Write `private: true` for this destination, if guests are to reach it."
_NEVER = "Remove this destination, or correct its addresses in DNS."
_UNREACHABLE = "Builds get status 502 for it. Correct the name, or let the master reach it."


async def check(config: PoolConfig, reactor: Any) -> list[Finding]:
    """Return a finding for each label that allows something."""
    resolver = Resolver("doctor", reactor=reactor)
    found: list[Finding] = []
    try:
        for name, label in config.labels.items():
            if label.network.allow is not None:
                found += await _label(name, config.destinations_of(label), resolver)
    finally:
        resolver.stop()
    return found


async def _label(
    name: str, destinations: tuple[DestinationConfig, ...], resolver: Resolver
) -> list[Finding]:
    check = f"network of {name}"
    tries = [Deferred.fromCoroutine(_try(each, resolver, check)) for each in destinations]
    wrong = [finding for finding in await gatherResults(tries) if finding is not None]
    if wrong:
        return wrong
    count = len(destinations)
    return [fine(check, f"all {count} allowed destinations can be reached from this machine")]


async def _try(destination: DestinationConfig, resolver: Resolver, check: str) -> Finding | None:
    far = FarEnd(_Nobody())
    try:
        await resolver.connect(destination, far)
    except RefusedError as error:
        where = f"{destination.name}:{destination.port}"
        resolution = _REFUSED if error.lacks_private else _NEVER
        return warning(check, f"guests are refused {where}: {error}", resolution=resolution)
    except UnreachableError as error:
        return warning(check, str(error), resolution=_UNREACHABLE)
    far.drop()
    return None


class _Nobody:
    """In the place of a guest: it wants to know only that there is a connection."""

    def far_received(self, far: FarEnd, _data: bytes) -> None:
        far.drop()

    def far_ended(self, far: FarEnd) -> None:
        """Nothing was to come."""

    def far_has_room(self) -> None:
        """Nothing is to be sent."""
