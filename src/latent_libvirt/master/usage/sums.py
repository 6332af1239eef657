# SPDX-License-Identifier: GPL-2.0-only
"""Sums of what builds have used, from Buildbot's database.

The records are read in pages, each in a thread of the database and on its own connection, so that
neither the reactor nor other queries wait long for a month of builds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from buildbot.db.model import Model

from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.master.usage.record import NAME, decoded
from latent_libvirt.status.usage import UsageReport, UsageSum

if TYPE_CHECKING:
    from latent_libvirt.control.messages import UsageRequest
    from latent_libvirt.status.usage import BuildUsage

PAGE: Final = 5000
"""Builds that are read at once."""

ENOUGH: Final = 5
"""Builds of a label from which something follows."""

TOO_LARGE: Final = 3
"""A label is too large if its builds have never needed more than this part of it."""

Sizes = Mapping[str, tuple[int, int]]
"""vCPUs and bytes of memory of labels, by their names."""

_BUILDS, _DATA, _BUILDERS = Model.builds, Model.build_data, Model.builders


@dataclass
class _Sum:
    """What has been added up so far."""

    builds: int = 0
    seconds: float = 0.0
    vcpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_seconds: float = 0.0
    peak_memory: int = 0
    read: int = 0
    written: int = 0
    received: int = 0
    sent: int = 0

    def add(self, used: BuildUsage) -> None:
        seconds = used.seconds
        self.builds += 1
        self.seconds += seconds
        self.vcpu_seconds += used.vcpus * seconds
        self.cpu_seconds += used.cpu_seconds
        self.memory_seconds += used.memory * seconds
        self.peak_memory = max(self.peak_memory, used.peak_memory)
        self.read += used.read
        self.written += used.written
        self.received += used.received
        self.sent += used.sent


@dataclass
class _Needs:
    """What the builds of a label have needed at most, those of its size as it is now."""

    builds: int = 0
    memory: int = 0
    cpus: float = 0.0

    def add(self, used: BuildUsage) -> None:
        self.builds += 1
        self.memory = max(self.memory, used.peak_memory)
        average = used.cpu_seconds / used.seconds if used.seconds else 0.0
        self.cpus = max(self.cpus, used.peak_cpus, average)


@dataclass
class _Sums:
    """All that a report is made of."""

    sizes: Sizes
    by: str
    sums: dict[Any, _Sum] = field(default_factory=lambda: defaultdict(_Sum))
    needs: dict[str, _Needs] = field(default_factory=lambda: defaultdict(_Needs))

    def add(self, rows: Iterable[tuple[int, int, bytes]]) -> None:
        """Add the records of builds; what is none is left out."""
        for _build, builder, value in rows:
            used = decoded(value)
            if used is not None:
                self.sums[builder if self.by == "builder" else getattr(used, self.by)].add(used)
                self._add_needs(used)

    def _add_needs(self, used: BuildUsage) -> None:
        if self.sizes.get(used.label) == (used.vcpus, used.memory):
            self.needs[used.label].add(used)

    def report(self, builders: Mapping[int, str]) -> UsageReport:
        """Return what it all comes to.

        :param builders: their names by their ids.
        """
        names = builders if self.by == "builder" else {}
        sums = [UsageSum(str(names.get(key, key)), **vars(of)) for key, of in self.sums.items()]
        sums.sort(key=lambda each: (-each.cpu_seconds, each.name))
        return UsageReport(tuple(sums), tuple(self._advice()))

    def _advice(self) -> Iterable[str]:
        for name, needs in sorted(self.needs.items()):
            vcpus, memory = self.sizes[name]
            if needs.builds < ENOUGH:
                continue
            if needs.memory * TOO_LARGE <= memory:
                yield (
                    f"Label {name} has {memory / GIB:.4g} GiB of memory. None of its "
                    f"{needs.builds} builds had more than {needs.memory // MIB} MiB in use."
                )
            if vcpus > 1 and needs.cpus * TOO_LARGE <= vcpus:
                yield (
                    f"Label {name} has {vcpus} vCPUs. None of its {needs.builds} builds kept "
                    f"more than {needs.cpus:.1f} busy."
                )


async def summed(master: Any, sizes: Sizes, request: UsageRequest) -> UsageReport:
    """Return what the builds have used that began in the time of *request*.

    :param sizes: of the labels that there may be advice on, as they are now.
    """
    sums = _Sums(sizes, request.by)
    after = 0
    while True:
        page = partial(_page, request=request, after=after, sums=sums)
        count, after = await master.db.pool.do(page)
        if count < PAGE:
            break
    return sums.report(await master.db.pool.do(_builders))


def _page(
    connection: sa.Connection, *, request: UsageRequest, after: int, sums: _Sums
) -> tuple[int, int]:
    """Add the next builds; return how many they are, and the id of the last one. Blocks."""
    query = (
        sa.select(_BUILDS.c.id, _BUILDS.c.builderid, _DATA.c.value)
        .join(_DATA, _DATA.c.buildid == _BUILDS.c.id)
        .where(_DATA.c.name == NAME, _BUILDS.c.id > after)
        .where(_BUILDS.c.started_at >= int(request.since))
        .order_by(_BUILDS.c.id)
        .limit(PAGE)
    )
    if request.until is not None:
        query = query.where(_BUILDS.c.started_at < int(request.until))
    rows = [(int(row[0]), int(row[1]), bytes(row[2])) for row in connection.execute(query)]
    sums.add(rows)
    return len(rows), rows[-1][0] if rows else after


def _builders(connection: sa.Connection) -> dict[int, str]:
    """Return the names of all builders. Blocks."""
    query = sa.select(_BUILDERS.c.id, _BUILDERS.c.name)
    return {int(row[0]): str(row[1]) for row in connection.execute(query)}
