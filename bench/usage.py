# SPDX-License-Identifier: GPL-2.0-only
"""What it costs a master to know what builds use: to read 1,000 VMs, and to sum 100,000 builds.

The VMs are QEMU processes that have not begun to run. A few of them are read as often as 1,000 VMs
on hosts of that size would be, from a real libvirtd. The builds are in Buildbot's tables, in a file
of SQLite. Prints a line of JSON. ``share`` is the part of a core that the readings take.

    make bench-usage VMS=40
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libvirt
import sqlalchemy as sa
from buildbot.db.model import Model
from twisted.internet.defer import Deferred

from fixture import IMAGE, OWNER, domain_spec, lab_with_image
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import ImageConfig
from latent_libvirt.control.messages import UsageRequest
from latent_libvirt.host.domains.domain_xml import domain_xml
from latent_libvirt.host.meters.usage import INTERVAL, Meter, read_all
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.volumes import base_image, storage
from latent_libvirt.master.usage import sums
from latent_libvirt.master.usage.record import NAME
from latent_libvirt.status.usage import BuildUsage

VMS = 1000
BUILDS = 100_000
ROUNDS = 3


@contextmanager
def paused_vms(lab: Lab, count: int) -> Iterator[libvirt.virConnect]:
    """Give a connection to a hypervisor with *count* VMs, for the length of a ``with`` block."""
    with lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        found = base_image.resolve(pool, ImageConfig(name=IMAGE))
        base = pool.storageVolLookupByName(found.volume)
        domains = []
        for slot in range(1, count + 1):
            name = OwnedVolume(OWNER.id, slot, "aa")
            disk = storage.create_overlay(pool, name, base=base, capacity=None)
            xml = domain_xml(domain_spec(slot, disk=disk, boot=found.boot))
            domains.append(connection.createXML(xml, libvirt.VIR_DOMAIN_START_PAUSED))
        yield connection
        for domain in domains:
            domain.destroy()


def measure_readings(lab: Lab, vms: int) -> dict[str, float]:
    """Read 1,000 VMs some times; return what one time costs this process."""
    with paused_vms(lab, vms) as connection:
        seconds = [_read_thousand(connection, vms) for _ in range(ROUNDS)]
    cost = statistics.median(seconds)
    return {"read_cpu_s": round(cost, 4), "share": round(cost / INTERVAL, 5)}


def _read_thousand(connection: libvirt.virConnect, vms: int) -> float:
    meters = [Meter() for _ in range(vms)]
    began = time.process_time()
    for _host in range(VMS // vms):
        readings = read_all(connection, time.monotonic)
        assert len(readings) == vms
        for meter, reading in zip(meters, readings.values(), strict=True):
            meter.note(reading)
    return time.process_time() - began


def measure_sums(directory: Path) -> dict[str, float]:
    """Sum a month of builds some times; return the seconds of one time, by the clock."""
    engine = sa.create_engine(f"sqlite:///{directory / 'usage.sqlite'}")
    Model.metadata.create_all(engine, tables=[Model.builders, Model.builds, Model.build_data])
    with engine.begin() as connection:
        _add_builds(connection)
    seconds = [_sum_all(engine) for _ in range(ROUNDS)]
    engine.dispose()
    return {"sum_s": round(statistics.median(seconds), 3)}


def _add_builds(connection: sa.Connection) -> None:
    builder = {"id": 1, "name": "check", "name_hash": "check"}
    connection.execute(Model.builders.insert().values(**builder))
    used = BuildUsage("one", "alpha", 2, 2**31, 60.0, 30.0, 1.5, 2**30, 1, 2, 3, 4)
    value = json.dumps(asdict(used)).encode()
    build = {"builderid": 1, "masterid": 1, "buildrequestid": 1, "started_at": 1000}
    build |= {"state_string": "", "locks_duration_s": 0}
    numbers = range(1, BUILDS + 1)
    builds = [{"id": number, "number": number, **build} for number in numbers]
    data = {"name": NAME, "value": value, "length": len(value), "source": "bench"}
    connection.execute(Model.builds.insert(), builds)
    connection.execute(Model.build_data.insert(), [{"buildid": n, **data} for n in numbers])


def _sum_all(engine: sa.Engine) -> float:
    async def do(function: Callable[[sa.Connection], Any]) -> Any:
        with engine.begin() as connection:
            return function(connection)

    master = SimpleNamespace(db=SimpleNamespace(pool=SimpleNamespace(do=do)))
    began = time.monotonic()
    report = _finished(sums.summed(master, {}, UsageRequest(0.0, None, "builder")))
    (check,) = report.sums
    assert check.builds == BUILDS
    return time.monotonic() - began


def _finished(answer: Awaitable[Any]) -> Any:
    found: list[Any] = []
    Deferred.fromCoroutine(answer).addCallback(found.append)  # type: ignore[arg-type]
    return found[0]


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--vms", type=int, default=40, help="on a host")
    vms = parser.parse_args().vms
    with lab_with_image() as (lab, directory):
        found = measure_readings(lab, vms) | measure_sums(directory)
    print(json.dumps({"vms": VMS, "builds": BUILDS, **found}))


if __name__ == "__main__":
    main()
