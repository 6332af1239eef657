# SPDX-License-Identifier: GPL-2.0-only
"""A doctor's round: the hosts of a configuration, all at once, as one owner."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from latent_libvirt.doctor import allowed, owner
from latent_libvirt.doctor.finding import failed, warning
from latent_libvirt.doctor.host_checks import (
    Examination,
)
from latent_libvirt.doctor.host_under_test import HostUnderTest
from latent_libvirt.errors import CapacityError, LatentLibvirtError

if TYPE_CHECKING:
    from latent_libvirt.config.listener import Listener
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_checks import (
        Options,
    )
    from latent_libvirt.doctor.identity import Known
    from latent_libvirt.host.names import Owner

NO_VMS = "VMs"


class Reader(Protocol):
    """A listener that gets the findings."""

    def add(self, host: str | None, finding: Finding) -> None:
        """Take a finding of a host, or of no host in particular."""

    def done(self, host: str) -> None:
        """Note that there will be no more of that host."""


@dataclass(frozen=True)
class Round:
    """The hosts to check, and how.

    :param hosts: their names.
    :param directory: keeps whose the VMs are (see ``owner.py``).
    :param listener: where the master listens for workers, if that is known.
    """

    config: PoolConfig
    hosts: Sequence[str]
    options: Options
    directory: Path
    listener: Listener | None = None

    async def examine(self, reader: Reader, reactor: Any) -> None:
        """Examine the hosts."""
        with contextlib.ExitStack() as stack:
            ours, options = self._owner(stack, reader)

            known: Known = {}

            async def one(name: str) -> None:
                tested = HostUnderTest(
                    name, self.config, owner=ours, reactor=reactor, listener=self.listener
                )
                await Examination(
                    tested, options, lambda found: reader.add(name, found), known
                ).run()
                reader.done(name)

            rounds = [Deferred.fromCoroutine(one(name)) for name in self.hosts]
            rounds.append(Deferred.fromCoroutine(self._allowed(reader, reactor)))
            await _all(rounds)

    async def _allowed(self, reader: Reader, reactor: Any) -> None:
        for finding in await allowed.check(self.config, reactor):
            reader.add(None, finding)

    def _owner(self, stack: contextlib.ExitStack, reader: Reader) -> tuple[Owner, Options]:
        """Return whose the VMs are; if that cannot be had, do without VMs, and say so."""
        try:
            return stack.enter_context(owner.claimed(self.directory)), self.options
        except LatentLibvirtError as error:
            if self.options.vms:
                reader.add(None, _no_vms(error))
            return owner.nobody(), replace(self.options, vms=False)


def _no_vms(error: LatentLibvirtError) -> Finding:
    advice = str(error.resolution)
    if isinstance(error, CapacityError):
        return warning(NO_VMS, f"none is tried: {error.brief}", resolution=advice)
    return failed(NO_VMS, error, resolution=advice)


async def _all(rounds: list[Deferred[None]]) -> None:
    """Wait until all have ended, also if one fails or all are cancelled: each cleans up."""
    results: list[tuple[bool, Any]] = await DeferredList(rounds, consumeErrors=True)
    for _succeeded, result in results:
        if isinstance(result, Failure):
            result.raiseException()
