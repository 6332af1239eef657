# SPDX-License-Identifier: GPL-2.0-only
"""What a VM's life costs through Buildbot, against a bare script that does only what it must.

Both use the same libvirtd, image and accelerator, in turn, in one run. The bare script creates the
overlay and the domain, hands an identity over, and is done when the worker connects to a listener
that is no Buildbot; then it destroys and deletes. Prints medians and ratios, and a line of JSON.

    make bench ROUNDS=5
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt

import buildmaster
from buildmaster import BuildMaster
from fixture import IMAGE, OWNER, VM_ID, domain_spec, lab_with_image
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import ImageConfig
from latent_libvirt.guest.protocol import (
    Identity,
    MasterAddress,
    new_password,
)
from latent_libvirt.host import names
from latent_libvirt.host.domains import slot_domains
from latent_libvirt.host.domains.domain_xml import domain_xml
from latent_libvirt.host.guests.streams import Channel
from latent_libvirt.host.libvirtd.event_loop import ensure_running
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.volumes import (
    base_image,
    storage,
)
from pools import PoolSettings, master_cfg, write_pool

UUID = names.slot_uuid(OWNER.master, 1)
STARTING = ("prepare", "clone", "boot", "assign", "attach")
TRIVIAL = "factory = util.BuildFactory([steps.ShellCommand(name='true', command=['true'])])"


class BareVm:
    """The least that starts a worker in a VM and takes it away."""

    def __init__(self, lab: Lab) -> None:
        self._uri = lab.uri

    def run(self) -> dict[str, float]:
        """Start and end one VM; return the seconds that each took."""
        connection = libvirt.open(self._uri)
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        overlay = OwnedVolume(OWNER.id, 1, VM_ID)
        with listener() as listening:
            began = time.monotonic()
            self._start(connection, pool, overlay, listening.getsockname()[1])
            listening.accept()[0].close()  # the launcher asks whether anybody is there
            listening.accept()[0].close()  # the worker
            started = time.monotonic() - began
        began = time.monotonic()
        slot_domains.destroy_domain(connection, names.domain_name(1), vm_id=VM_ID)
        storage.delete_volume(pool, str(overlay))
        torn_down = time.monotonic() - began
        connection.close()
        return {"start": started, "tear-down": torn_down}

    def _start(self, connection: Any, pool: Any, overlay: OwnedVolume, port: int) -> None:
        image = base_image.resolve(pool, ImageConfig(name=IMAGE))
        base = pool.storageVolLookupByName(image.volume)
        disk = storage.create_overlay(pool, overlay, base=base, capacity=None)
        domain = connection.createXML(domain_xml(domain_spec(1, disk=disk, boot=image.boot)), 0)
        said: queue.Queue[Any] = queue.Queue()
        channel = Channel(domain, said.put)
        while said.get(timeout=300).get("type") != "waiting":
            pass
        identity = Identity("bare", new_password(), MasterAddress("10.0.2.2", port), "worker")
        channel.send(identity.message(now=time.time()), timeout=10)


@contextmanager
def listener() -> Iterator[socket.socket]:
    """Give a socket on which a worker finds somebody, for the length of a ``with`` block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(300)
        yield listening


def through_buildbot(master: BuildMaster) -> dict[str, float]:
    """Run a trivial job; return the seconds of its VM's phases, and of the master's CPU."""
    reports = master.directory / "leases.jsonl"
    cpu, ended = _cpu_seconds(master.pid), len(_lines(reports))
    job = master.force()
    # The file is watched, not the master: its CPU is to be that of the job alone.
    buildmaster.wait_for("the lease to end", lambda: len(_lines(reports)) > ended)
    cpu = _cpu_seconds(master.pid) - cpu
    assert master.wait_for_result(job) == "SUCCESS"
    phases = json.loads(_lines(reports)[-1])["phases"]
    return {
        "start": sum(phases[phase] for phase in STARTING),
        "tear-down": phases["tear-down"],
        "cpu": cpu,
    } | {f"phase {name}": seconds for name, seconds in phases.items()}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def overlay_seconds(lab: Lab, gibibytes: int, *, count: int = 20) -> float:
    """Return the median time of an overlay on a sparse base image of that size."""
    with lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        xml = f"<volume><name>base-{gibibytes}.qcow2</name><capacity unit='GiB'>{gibibytes}"
        xml += "</capacity><target><format type='qcow2'/></target></volume>"
        base = pool.createXML(xml)
        seconds = []
        for number in range(1, count + 1):
            name = OwnedVolume(OWNER.id, number, VM_ID)
            began = time.monotonic()
            storage.create_overlay(pool, name, base=base, capacity=None)
            seconds.append(time.monotonic() - began)
            storage.delete_volume(pool, str(name))
    return statistics.median(seconds)


def measure(lab: Lab, directory: Path, rounds: int) -> dict[str, float]:
    """Run both ways in turn; return medians and ratios."""
    write_pool(directory, lab.uri, PoolSettings())
    bare, buildbot = [], []
    with buildmaster.running(directory, master_cfg(TRIVIAL)) as master:
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            bare.append(BareVm(lab).run())
            buildbot.append(through_buildbot(master))
    figures = {f"bare {key}": _median(bare, key) for key in bare[0]}
    figures |= {f"buildbot {key}": _median(buildbot, key) for key in buildbot[0]}
    figures["start ratio"] = figures["buildbot start"] / figures["bare start"]
    figures["tear-down ratio"] = figures["buildbot tear-down"] / figures["bare tear-down"]
    for gibibytes in (2, 20):
        figures[f"overlay of {gibibytes} GiB"] = overlay_seconds(lab, gibibytes)
    return figures


def _median(runs: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    ensure_running()
    with lab_with_image() as (lab, directory):
        (directory / "master").mkdir()
        figures = measure(lab, directory / "master", rounds)
    for name, value in figures.items():
        print(f"{name:24} {value:8.3f}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
