# SPDX-License-Identifier: GPL-2.0-only
"""How cost grows: with the distance of a host, images, hosts of a pool, possible VMs, and jobs.

Each row compares two figures of the same run. Starts on a far host are compared with a bare script
at the same distance, in turn. Prints a table, and a line of JSON.

    make bench-growth ROUNDS=5
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import first_output
import many_hosts
import many_images
import many_workers
import statements
from fake_images import fake_image
from far_host import FarHost
from fixture import lab_with_image
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import ImageConfig
from latent_libvirt.config.units import MIB
from latent_libvirt.host.libvirtd import opening
from latent_libvirt.host.libvirtd.event_loop import ensure_running
from latent_libvirt.host.volumes import image_upload, images, storage
from latent_libvirt.host.volumes.base_image import Catalog
from latent_libvirt.images.description import Parts, digest_of
from latent_libvirt.images.local import LocalImage, describe, measure
from pools import PoolSettings
from start import Floor, OurPool, median

ROUND_TRIP = 0.02
"""Seconds to a far host and back."""

IMAGES = 100
HOSTS = 250
JOBS = 5
POSSIBLE = {"200": 2, "10000": 100, "50000": 500, "200000": None}
"""VMs that a label may have, by how many there might be in all; ``None`` for no cap."""

SPARSE, FILLED = 2048 * MIB, 100 * MIB
"""Bytes of two disks, and of the data in each."""

SWEPT = 3.0
"""Seconds after which the pool has looked at what has happened in a slot that is not its own."""

SLICE = 5.0
"""Seconds between two looks at all hosts."""


@dataclass
class FarLab(Lab):
    """A hypervisor that masters reach by another URI."""

    near: Lab
    far: FarHost

    @property
    def uri(self) -> str:
        """The way that takes a while."""
        return self.far.uri

    @property
    def sandbox(self) -> object:  # type: ignore[override]
        """What is asked from nearby, by what measures."""
        return self.near.sandbox


def measure_far_start(lab: Lab, directory: Path, rounds: int) -> dict[str, float]:
    """Start VMs on a host that is far away, and do the same with a bare script."""
    directory.mkdir()
    with FarHost(lab.uri, directory / "far").running() as far:
        there = FarLab(lab, far)
        with OurPool(there, directory / "pool", PoolSettings(start="resume")).ready() as pool:
            floor = Floor(far.uri)
            far.round_trip = ROUND_TRIP
            pool.run()
            bare, ours = [], []
            for _ in range(rounds):
                bare.append(floor.run())
                time.sleep(SWEPT)
                ours.append(pool.run())
            far.round_trip = 0.0
    return {"floor_s": median(bare), "start_s": median(ours)}


def measure_look_up(lab: Lab, directory: Path) -> dict[str, float]:
    """Look up an image with many versions published, for the first time and later."""
    with lab.connection() as near:
        pool = near.storagePoolLookupByName(STORAGE_POOL)
        many_images.fill(pool, directory / "made", IMAGES)
    with FarHost(lab.uri, directory / "images").running() as far:
        connection, catalog = opening.opened(far.uri), Catalog()
        far.round_trip = ROUND_TRIP

        def look_up() -> tuple[int, float]:
            before, began = len(far.calls), time.monotonic()
            wanted = ImageConfig(name="debian")
            storage.in_pool(connection, STORAGE_POOL, lambda pool: catalog.resolve(pool, wanted))
            return len(far.calls) - before, time.monotonic() - began

        (first, first_s), (later, later_s) = look_up(), look_up()
        far.round_trip = 0.0
        opening.close(connection)
    return {
        "first_messages": first,
        "first_s": first_s,
        "later_messages": later,
        "later_s": later_s,
    }


def measure_publish(lab: Lab, directory: Path, rounds: int) -> dict[str, float]:
    """Publish a sparse disk and a full one, and upload the same files with virsh, in turn."""
    found = {}
    for name, size in (("sparse", SPARSE), ("full", FILLED)):
        local = _with_data(directory / name, size)
        local.verify()  # as a build does
        bare, ours = [], []
        for _ in range(rounds):
            with lab.connection() as connection:
                pool = connection.storagePoolLookupByName(STORAGE_POOL)
                bare.append(_spent_waiting(partial(_by_virsh, lab.uri, local)))
                pool.storageVolLookupByName("bare").delete(0)
                ours.append(_spent_waiting(partial(image_upload.publish, pool, local)))
                images.delete(pool, images.find(pool, local.description.name))
        found |= {f"{name}_virsh_s": statistics.median(bare)}
        found |= {f"{name}_ours_s": statistics.median(ours)}
        found |= {f"{name}_ratio": statistics.median(ours) / statistics.median(bare)}
    return found


def _with_data(directory: Path, size: int) -> LocalImage:
    """Return an image with that size, of which :data:`FILLED` bytes are data, in pieces."""
    local = fake_image(directory, name="sparse", content=b"", kernel=False)
    piece, count = 4 * MIB, FILLED // (4 * MIB)
    with local.path("disk").open("wb") as file:
        file.truncate(size)
        for number in range(count):
            file.seek(size // count * number)
            file.write(os.urandom(piece))
    parts = Parts(disk=measure(local.path("disk")))
    changes = {"parts": parts, "digest": digest_of(parts, "")}
    describe(local.directory, local.description.model_copy(update=changes))
    return LocalImage.load(local.directory)


def _by_virsh(uri: str, local: LocalImage) -> None:
    path = local.path("disk")
    made = f"vol-create-as {STORAGE_POOL} bare {path.stat().st_size}"
    sent = f"vol-upload --sparse --pool {STORAGE_POOL} bare {path}"
    command = ["virsh", "--quiet", "--connect", uri, f"{made}; {sent}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _spent_waiting(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def measure_reactor() -> dict[str, float]:
    """Return the CPU time of a look at all hosts where nothing changes, with few and with many."""
    few, many = (_look_ms(many_hosts.with_hosts(count)) for count in (HOSTS // 10, HOSTS))
    return {"few_ms": few[0], "many_ms": many[0], "at_once_ms": many[1]}


def _look_ms(pool: many_hosts.PaperPool) -> tuple[float, float]:
    """Return what all of a look takes, and its longest step; then each host ends a sweep."""
    steps = [*_timed(pool.spares.tidy()), *_timed(pool.state_saver.tidy())]
    sweeps = len(pool.paper_hosts) * SLICE / 60
    changed = statistics.median(_spent(pool._context().changed) for _ in range(9))  # noqa: SLF001
    return 1000 * (sum(steps) + sweeps * changed), 1000 * max(*steps, changed)


def _timed(work: Iterator[None]) -> Iterator[float]:
    done: list[bool] = []
    while not done:
        yield _spent(lambda: done.append(True) if next(work, "end") == "end" else None)


def _spent(do: Callable[[], object]) -> float:
    began = time.thread_time()
    do()
    return time.thread_time() - began


def measure_statements(directory: Path) -> dict[str, float]:
    """Count the statements of trivial jobs."""
    return {"per_job": statements.of_jobs(directory, JOBS).total() / JOBS}


def measure_first_output(rounds: int) -> dict[str, float]:
    """Time jobs from the request to the first output, and without prompt tries in turn.

    The databases are in memory: other programs keep a disk busy, and a job has fifty commits.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/dev/shm") as directory:
        masters = {"buildbots": first_output.WITHOUT, "prompt": ""}
        took = first_output.measure(Path(directory), masters, rounds)
    found = {f"{name}_s": statistics.median(seconds) for name, seconds in took.items()}
    return found | {"ratio": found["prompt_s"] / found["buildbots_s"]}


def measure_possible_vms(directory: Path) -> dict[str, float]:
    """Start masters whose labels may have few VMs or many, with the same hosts and labels."""
    found = {}
    for row, most in POSSIBLE.items():
        start = many_workers.measure(directory / row, most)
        found |= {f"{row}_s": start.seconds, f"{row}_cpu_s": start.cpu, f"{row}_mib": start.rss}
    return found


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ensure_running()
    found = {"reactor": measure_reactor()}
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        found["statements"] = measure_statements(Path(temporary) / "master")
        found["possible"] = measure_possible_vms(Path(temporary))
    found["output"] = measure_first_output(3 * arguments.rounds)
    with lab_with_image() as (lab, directory):
        found["far_start"] = measure_far_start(lab, directory / "far", arguments.rounds)
        found["look_up"] = measure_look_up(lab, directory)
        found["publish"] = measure_publish(lab, directory / "published", arguments.rounds)
    far = found["far_start"]
    far["ratio"] = far["start_s"] / far["floor_s"]
    for row, figures in found.items():
        for name, value in figures.items():
            print(f"{row:10} {name:16} {value:10.3f}")
    rounded = {
        row: {name: round(value, 3) for name, value in figures.items()}
        for row, figures in found.items()
    }
    print(json.dumps(rounded | {"accelerator": "tcg"}))


if __name__ == "__main__":
    main()
