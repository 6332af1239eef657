# SPDX-License-Identifier: GPL-2.0-only
"""Usage of builds whose master was killed: their VMs ran on, and libvirt has counted.

A sweep reads a VM before it frees it. The build is the last one of the VM's worker. It has no
result, or was given to another VM.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.process.results import RETRY
from pydantic_core import from_json

from latent_libvirt.host.states.frozen import moment
from latent_libvirt.master.usage.record import NAME, PROPERTY, SOURCE
from latent_libvirt.status import BuildUsage

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.meters.usage import Reading
    from latent_libvirt.pool.placement import Size

_SLACK: Final = 5.0
"""Seconds by which a build may seem to have begun before its VM: the database has whole ones."""

_ADDED: Final = ("cpu_seconds", "read", "written", "received", "sent")

Row = tuple[int, int, bytes | None]
"""A build's id, when it began, and what was stored of its usage."""


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
    build, began, _value = rows[-1]
    alone = not any(_of_vm(rows[:-1], record.vm_id))
    since = moment(record.since).timestamp() if alone else float(began)
    usage = _usage(record, reading, rows[:-1], host=host, size=size, seconds=max(0.0, now - since))
    value = json.dumps(asdict(usage), separators=(",", ":")).encode()
    await master.data.updates.setBuildData(build, NAME, value, SOURCE)
    await master.db.builds.setBuildProperty(build, PROPERTY, asdict(usage), SOURCE)


def _usage(  # noqa: PLR0913 - see above
    record: VmRecord,
    reading: Reading,
    before: Iterable[Row],
    *,
    host: str,
    size: Size,
    seconds: float,
) -> BuildUsage:
    others = list(_of_vm(before, record.vm_id))
    spent = {name: sum(each[name] for each in others) for name in _ADDED}
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


def _of_vm(rows: Iterable[Row], vm_id: str) -> Iterable[dict[str, Any]]:
    """Yield what was stored of the builds that the same VM has served."""
    for _build, _began, value in rows:
        used = from_json(value) if value else None
        if isinstance(used, dict) and used.get("vm_id") == vm_id:
            yield used


def _builds(connection: sa.Connection, record: VmRecord) -> list[Row]:
    """Return the builds of the VM's worker since it was registered, if the last was cut off."""
    builds, workers, masters, data = Model.builds, Model.workers, Model.masters, Model.build_data
    query = (
        sa.select(builds.c.id, builds.c.started_at, builds.c.results, data.c.value)
        .join(workers, workers.c.id == builds.c.workerid)
        .join(masters, masters.c.id == builds.c.masterid)
        .outerjoin(data, sa.and_(data.c.buildid == builds.c.id, data.c.name == NAME))
        .where(workers.c.name == record.worker, masters.c.name == record.master)
        .where(builds.c.started_at >= int(moment(record.since).timestamp() - _SLACK))
        .order_by(builds.c.id)
    )
    found = list(connection.execute(query))
    if not found or found[-1][2] not in (None, RETRY):
        return []
    return [(int(row[0]), int(row[1]), row[3]) for row in found]
