# SPDX-License-Identifier: GPL-2.0-only
"""Rows of ``growth.py`` about hosts: their distance, their images, and what is published there.

A far host is far away for all that is said: libvirt's messages and the worker's connection.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import many_images
from fake_images import fake_image
from far_host import DOMAIN_RESUME, FarHost, FarPort
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import ImageConfig
from latent_libvirt.config.units import MIB
from latent_libvirt.host.libvirtd import opening
from latent_libvirt.host.volumes import image_upload, images, storage
from latent_libvirt.host.volumes.base_image import Catalog
from latent_libvirt.images.description import Parts, digest_of
from latent_libvirt.images.local import LocalImage, describe, measure
from pools import PoolSettings, master_cfg
from start import TRIVIAL, Floor, OurPool, Run, median

ROUND_TRIP = 0.02
"""Seconds to a far host and back."""

IMAGES = 100

SPARSE, FILLED = 2048 * MIB, 100 * MIB
"""Bytes of two disks, and of the data in each."""

SWEPT = 3.0
"""Seconds after which the pool has looked at what has happened in a slot that is not its own.

Both wait for it: a state that has been read a moment ago is read again in a third of the time."""

LED = """
from latent_libvirt.master.workers import needs

def _led(registration, known=needs._address):
    _port, certificate = known(registration)
    return {port}, certificate

needs._address = _led
"""
"""Has guests connect to another port than the one at which the master listens."""


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


@dataclass
class Ways:
    """The ways that take a while.

    :param to_host: from masters to libvirtd.
    :param to_pool: from guests to the master with the pool.
    :param to_floor: from guests to the bare script.
    """

    to_host: FarHost
    to_pool: FarPort
    to_floor: FarPort

    @classmethod
    @contextmanager
    def open(cls, uri: str, socket: Path) -> Iterator[Ways]:
        """Give them, with no distance yet."""
        with (
            FarHost(uri, socket).running() as host,
            FarPort().running() as to_pool,
            FarPort().running() as to_floor,
        ):
            yield cls(host, to_pool, to_floor)

    def be(self, round_trip: float) -> None:
        """Take that many seconds there and back."""
        for way in (self.to_host, self.to_pool, self.to_floor):
            way.round_trip = round_trip


def measure_far_start(lab: Lab, directory: Path, rounds: int) -> dict[str, float]:
    """Start VMs on a host that is far away, and do the same with a bare script, in turn."""
    directory.mkdir()
    with Ways.open(lab.uri, directory / "far") as ways:
        there = FarLab(lab, ways.to_host)
        configuration = master_cfg(LED.format(port=ways.to_pool.port) + TRIVIAL)
        settings = PoolSettings(start="resume")
        pool = OurPool(there, directory / "pool", settings, configuration=configuration)
        ways.to_pool.lead_to(pool.master.worker_port)
        with pool.ready():
            floor = Floor(there.uri, way=ways.to_floor.lead_to)
            try:
                ways.be(ROUND_TRIP)
                return _in_turn(ways.to_host, floor, pool, rounds)
            finally:
                ways.be(0.0)


def _in_turn(host: FarHost, floor: Floor, pool: OurPool, rounds: int) -> dict[str, float]:
    pool.run()
    bare: list[Run] = []
    ours: list[Run] = []
    for _ in range(rounds):
        time.sleep(SWEPT)
        bare.append(floor.run())
        time.sleep(SWEPT)
        host.calls.clear()
        ours.append(pool.run())
        messages = host.messages()
    phases = {f"{name}_s": median(ours, name) for name in ("prepare", "resume", "assign", "attach")}
    return {
        "floor_s": median(bare),
        "start_s": median(ours),
        **phases,
        "messages_until_it_runs": messages.index(DOMAIN_RESUME) + 1,
        "ratio": median(ours) / median(bare),
    }


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
        "ratio": later_s / first_s,
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
