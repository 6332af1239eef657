# SPDX-License-Identifier: GPL-2.0-only
"""Usage of builds whose master was killed: their VMs ran on, and libvirt has counted.

A sweep reads a VM before it frees it. The build is the last one that names the VM, in its property
or its record. It has no result, or was given to another VM.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.process.results import RETRY

from latent_libvirt.host.states.frozen import moment
from latent_libvirt.master.usage.record import NAME, PROPERTY, SOURCE, decoded
from latent_libvirt.pool.lease import VM_ID
from latent_libvirt.status.usage import BuildUsage

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.meters.usage import Reading
    from latent_libvirt.pool.room.amounts import Size

_SLACK: Final = 5.0
"""Seconds by which a build may seem to have begun before its VM: the database has whole ones."""

_ADDED: Final = ("cpu_seconds", "read", "written", "received", "sent")

Row = tuple[int, int, BuildUsage | None]
"""The id of a build that names the VM, when it began, and its record if that is of the VM."""


async def charge(  # noqa: PLR0913 - all that is known of the VM
    master: Any, record: VmRecord, reading: Reading, *, host: str, size: Size, now: float
) -> None:
    """Store what the build of a VM has used whose master was killed, if there is such a build.

    :param record: of the VM.
    :param reading: the last one of it, since its QEMU started.
    :param now: when that was, in seconds since the epoch.
    """
    rows = await master.db.pool.do(lambda connection: _builds(connection, record))
    if not rows:
        return
    build, began, _used = rows[-1]
    others = [used for _build, _began, used in rows[:-1] if used is not None]
    alone = not others
    since = moment(record.since).timestamp() if alone else float(began)
    usage = _usage(record, reading, others, host=host, size=size, seconds=max(0.0, now - since))
    value = json.dumps(asdict(usage), separators=(",", ":")).encode()
    await master.data.updates.setBuildData(build, NAME, value, SOURCE)
    await master.db.builds.setBuildProperty(build, PROPERTY, asdict(usage), SOURCE)


def _usage(  # noqa: PLR0913 - see above
    record: VmRecord,
    reading: Reading,
    others: Sequence[BuildUsage],
    *,
    host: str,
    size: Size,
    seconds: float,
) -> BuildUsage:
    spent = {name: sum(getattr(each, name) for each in others) for name in _ADDED}
    return BuildUsage(
        label=record.label,
        host=host,
        vcpus=size.vcpus,
        memory=size.memory,
        seconds=round(seconds, 2),
        cpu_seconds=round(max(0.0, reading.cpu - spent["cpu_seconds"]), 2),
        peak_cpus=0.0,
        peak_memory=reading.memory,
        read=max(0, reading.read - int(spent["read"])),
        written=max(0, reading.written - int(spent["written"])),
        received=max(0, reading.received - int(spent["received"])),
        sent=max(0, reading.sent - int(spent["sent"])),
        vm_id=record.vm_id,
    )


def _builds(connection: sa.Connection, record: VmRecord) -> list[Row]:
    """Return the builds that name the VM, if the last of them was cut off. Blocks."""
    found = []
    for build, began, results, value, named in connection.execute(_query(record)):
        used = decoded(bytes(value)) if value else None
        used = used if used is not None and used.vm_id == record.vm_id else None
        if used is not None or named is not None:
            found.append((results, (int(build), int(began), used)))
    if not found or found[-1][0] not in (None, RETRY):
        return []
    return [row for _results, row in found]


def _query(record: VmRecord) -> sa.Select[Any]:
    """Return the query for the builds of the VM's worker since the VM was registered."""
    builds, data, properties = Model.builds, Model.build_data, Model.build_properties
    of_vm = sa.and_(
        properties.c.buildid == builds.c.id,
        properties.c.name == VM_ID,
        properties.c.value == json.dumps(record.vm_id),
    )
    return (
        sa.select(
            builds.c.id, builds.c.started_at, builds.c.results, data.c.value, properties.c.name
        )
        .join(Model.workers, Model.workers.c.id == builds.c.workerid)
        .join(Model.masters, Model.masters.c.id == builds.c.masterid)
        .outerjoin(data, sa.and_(data.c.buildid == builds.c.id, data.c.name == NAME))
        .outerjoin(properties, of_vm)
        .where(Model.workers.c.name == record.worker, Model.masters.c.name == record.master)
        .where(builds.c.started_at >= int(moment(record.since).timestamp() - _SLACK))
        .order_by(builds.c.id)
    )
