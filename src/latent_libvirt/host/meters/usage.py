# SPDX-License-Identifier: GPL-2.0-only
"""Readings of what VMs use, from libvirt's statistics, and a meter for each VM.

A reading is what libvirt has counted since the VM's QEMU started. The meter keeps the last one, so
that a VM that has died is charged for what it used until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import libvirt

from latent_libvirt.host.libvirtd.answers import name_of

INTERVAL: Final = 30.0
"""Seconds between two readings of all VMs of a host."""

SHORTEST: Final = 5.0
"""Seconds between two readings from which the number of busy CPUs is worked out."""

_STATISTICS: Final = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)
# One that libvirt is busy with is left out, and holds up nobody.
_NO_WAIT: Final = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
_ACTIVE: Final = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE

_TOO_MUCH: Final = 2**52
"""More bytes or KiB than any VM has used, of which a sum still fits into a database."""

_TOO_LONG: Final = 2**62
"""More ns of processor time than any VM has used: 146 years of one CPU."""

_MOST: Final = 1024
"""How many disks, cards or processors are counted; hosts are not trusted."""


@dataclass(frozen=True)
class Reading:
    """What a VM has used since its QEMU started.

    :param at: when it was read; seconds of a clock that is never set.
    :param cpu: seconds of processor time.
    :param memory: bytes that its QEMU has in memory.
    :param read: bytes from disks.
    :param written: bytes to disks.
    :param received: bytes from networks.
    :param sent: bytes to networks.
    """

    at: float
    cpu: float = 0.0
    memory: int = 0
    read: int = 0
    written: int = 0
    received: int = 0
    sent: int = 0

    def plus(self, other: Reading, *, sign: int = 1) -> Reading:
        """Return this reading with all that is counted in *other* added, or taken away."""
        return replace(
            self,
            cpu=self.cpu + sign * other.cpu,
            read=self.read + sign * other.read,
            written=self.written + sign * other.written,
            received=self.received + sign * other.received,
            sent=self.sent + sign * other.sent,
        )

    def at_least(self, other: Reading) -> Reading:
        """Return this reading with nothing below *other*: what libvirt did not say has not gone."""
        return replace(
            self,
            read=max(self.read, other.read),
            written=max(self.written, other.written),
            received=max(self.received, other.received),
            sent=max(self.sent, other.sent),
        )


class Meter:
    """What a VM has used for one build after the other."""

    def __init__(self) -> None:
        self._before = Reading(0.0)
        self._base = Reading(0.0)
        self._last: Reading | None = None
        self._rate: Reading | None = None
        self._peak_memory = 0
        self._peak_cpus = 0.0

    def note(self, reading: Reading) -> None:
        """Record *reading*; one that is older than the last says nothing new."""
        now = reading.plus(self._before)
        if self._last is not None:
            if now.at < self._last.at or now.cpu < self._last.cpu:
                return
            now = now.at_least(self._last)
        self._last = now
        self._peak_memory = max(self._peak_memory, now.memory)
        if self._rate is None:
            self._rate = now
        elif now.at - self._rate.at >= SHORTEST:
            cpus = (now.cpu - self._rate.cpu) / (now.at - self._rate.at)
            self._peak_cpus = max(self._peak_cpus, cpus)
            self._rate = now

    def goes_on(self) -> None:
        """Note that the VM goes on in another QEMU, whose statistics begin again."""
        self._rate = None
        if self._last is not None:
            self._before = self._last

    def begin(self) -> None:
        """Count for the next build from now on."""
        if self._last is not None:
            self._base = self._last
        self._peak_memory, self._peak_cpus = 0, 0.0

    @property
    def used(self) -> Reading | None:
        """What was used for this build, with the most memory; ``None`` if nobody has read it."""
        if self._last is None:
            return None
        return replace(self._last.plus(self._base, sign=-1), memory=self._peak_memory)

    @property
    def peak_cpus(self) -> float:
        """The most CPUs that were busy between two readings; 0 if there were no two."""
        return self._peak_cpus


Clock = Callable[[], float]
"""Returns seconds of a clock that is never set."""


def read_all(connection: libvirt.virConnect, clock: Clock) -> dict[tuple[str, int], Reading]:
    """Return a reading of each VM of a host, by the domain's name and id, in one call. Blocks."""
    found = connection.getAllDomainStats(_STATISTICS, _NO_WAIT | _ACTIVE)
    now = clock()
    return {
        (name, domain.ID()): _reading(stats, now)
        for domain, stats in found
        if _has_cpu(stats) and (name := name_of(domain)) is not None
    }


def read_one(
    connection: libvirt.virConnect, domain: libvirt.virDomain, clock: Clock
) -> Reading | None:
    """Return a reading of *domain*; ``None`` if libvirt is busy with it. Blocks.

    Another client may have the domain for a moment. Then libvirt leaves out what only QEMU knows,
    and is asked again.
    """
    stats: Mapping[str, Any] = {}
    for _attempt in range(_ATTEMPTS):
        found = connection.domainListGetStats([domain], _STATISTICS, _NO_WAIT)
        stats = found[0][1] if found else {}
        if _is_whole(stats):
            break
        time.sleep(_PAUSE)
    return _reading(stats, clock()) if _has_cpu(stats) else None


_ATTEMPTS: Final = 5
_PAUSE: Final = 0.05
"""Seconds between two attempts."""


def _is_whole(stats: Mapping[str, Any]) -> bool:
    return _has_cpu(stats) and (not stats.get("block.count") or "block.0.wr.bytes" in stats)


def _has_cpu(stats: Mapping[str, Any]) -> bool:
    return "cpu.time" in stats or "vcpu.0.time" in stats


def _reading(stats: Mapping[str, Any], now: float) -> Reading:
    return Reading(
        at=now,
        cpu=_cpu_time(stats) / 1e9,
        memory=_known(stats.get("balloon.rss")) * 1024,
        read=_sum(stats, "block", "rd.bytes"),
        written=_sum(stats, "block", "wr.bytes"),
        received=_sum(stats, "net", "rx.bytes"),
        sent=_sum(stats, "net", "tx.bytes"),
    )


def _cpu_time(stats: Mapping[str, Any]) -> int:
    if "cpu.time" in stats:
        return _known(stats["cpu.time"], below=_TOO_LONG)
    # QEMU has no control group of libvirt's.
    numbers = _numbers(stats, "vcpu.maximum")
    return sum(_known(stats.get(f"vcpu.{number}.time"), below=_TOO_LONG) for number in numbers)


def _sum(stats: Mapping[str, Any], kind: str, what: str) -> int:
    numbers = _numbers(stats, f"{kind}.count")
    return sum(_known(stats.get(f"{kind}.{number}.{what}")) for number in numbers)


def _numbers(stats: Mapping[str, Any], count: str) -> range:
    return range(min(_MOST, _known(stats.get(count))))


def _known(value: object, *, below: int = _TOO_MUCH) -> int:
    """Return *value*, or 0 for what libvirt does not know: nothing, -1, or all bits set."""
    return value if isinstance(value, int) and 0 <= value < below else 0
