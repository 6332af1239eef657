# SPDX-License-Identifier: GPL-2.0-only
"""Density of a host: what its VMs have in memory, and what they share there.

Linux finds pages with the same content in the memory of several QEMUs and keeps one of them, if the
host's administrator has turned kernel same-page merging (KSM) on. It counts them for the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import libvirt
from twisted.logger import Logger

from latent_libvirt.errors import HostError
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.meters import usage
from latent_libvirt.status.hosts import Density

if TYPE_CHECKING:
    from lxml import etree

log = Logger()

Vm = tuple[str, int]
"""The name and the id of a domain."""


class Found(NamedTuple):
    """What a visit to a host has found.

    :ivar shared: bytes that KSM saves there; ``None`` if nobody knows.
    """

    readings: Mapping[Vm, usage.Reading]
    shared: int | None


class DensityMeter:
    """What VMs of a host had in memory at the last reading.

    :param host: its name, for the log.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._memory: Mapping[Vm, int] | None = None
        self._shared: int | None = None
        self._page: int | None = None
        self._is_silent = False

    def read(self, connection: libvirt.virConnect, clock: usage.Clock) -> Found:
        """Return what VMs use and share. Blocks."""
        return Found(usage.read_all(connection, clock), self._read_shared(connection))

    def _read_shared(self, connection: libvirt.virConnect) -> int | None:
        """Return the bytes that KSM saves. A host that does not say is asked once."""
        if self._is_silent:
            return None
        try:
            pages = _pages_saved(connection.getMemoryParameters())
            if pages and self._page is None:
                self._page = _page_size(connection)
        except (libvirt.libvirtError, HostError) as error:
            if not connection.isAlive():
                raise
            self._be_silent(str(error))
            return None
        if pages is None:
            self._be_silent("its kernel or libvirt does not count shared pages")
            return None
        return pages * (self._page or 0)

    def _be_silent(self, why: str) -> None:
        self._is_silent = True
        what = "how much memory VMs share is not known"
        log.info("host {host}: {what}: {why}", host=self._host, what=what, why=why)

    def note(self, found: Found) -> None:
        """Remember what was found."""
        # libvirt leaves the memory of a VM out while it is busy with it.
        before = self._memory or {}
        readings = found.readings.items()
        self._memory = {vm: reading.memory or before.get(vm, 0) for vm, reading in readings}
        self._shared = found.shared

    def forget(self) -> None:
        """Forget all, since the connection is lost. The next libvirtd may be another version."""
        self._memory = self._shared = self._page = None
        self._is_silent = False

    def density(self, memory: int) -> Density | None:
        """Return the density of a host with that much memory, in bytes; ``None`` if unknown."""
        if self._memory is None:
            return None
        used = sum(self._memory.values())
        return Density(len(self._memory), used, memory, self._shared)


def _pages_saved(parameters: Any) -> int | None:
    """Return how many pages there would be without KSM, beyond those that are there."""
    pages = parameters.get("shm_pages_sharing") if isinstance(parameters, dict) else None
    return pages if isinstance(pages, int) and pages >= 0 else None


def _page_size(connection: libvirt.virConnect) -> int:
    """Return the bytes of the host's usual pages, which are its smallest.

    :raises HostError: if it does not say.
    """
    capabilities = parsed(connection.getCapabilities(), "its capabilities")
    sizes = [_size(page) for page in capabilities.findall("host/cpu/pages[@unit='KiB']")]
    if not any(sizes):
        raise HostError("its capabilities have no size of pages")
    return min(filter(None, sizes)) * 1024


def _size(page: etree._Element) -> int:
    size = str(page.get("size"))
    return int(size) if size.isascii() and size.isdecimal() and len(size) <= _DIGITS else 0


_DIGITS = 9
