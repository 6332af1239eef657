# SPDX-License-Identifier: GPL-2.0-only
"""What it costs to freeze, thaw and export a VM, against virsh, in turn, in one run.

Both VMs have the same image, hardware and storage pool, and wait for their identity. Ours is frozen
and thawed as by a master, which also records whose it is, checks the space and reads what was
saved. The other one is saved and restored by ``virsh``. The host's page cache is warm. Prints
medians and a line of JSON. A ratio above one means that ours is the slower one.

    make bench-freeze SIZES=512,2048 ROUNDS=5
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import libvirt
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from fixture import IMAGE, OWNER, domain_spec, lab_with_image
from forgetful import Forgetful
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import HostConfig, ImageConfig, LabelConfig
from latent_libvirt.config.units import MIB
from latent_libvirt.guest.protocol import HELLO
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.domain_xml import VmRecord, domain_xml
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.vm_spec import VmSpec
from latent_libvirt.host.exporting import pack
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import CHANNEL_NAME
from latent_libvirt.host.states.frozen import FrozenVm
from latent_libvirt.host.volumes import base_image, storage
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.vm import VM

Found = dict[str, list[float]]
"""What each round found, by what was measured: seconds, or bytes."""

BARE = "bare-freeze"
SPACE = 1 << 40
HELD_FOR = timedelta(days=1)


def spec(size: int) -> VmSpec:
    """Return the hardware of both VMs.

    :param size: of memory, in MiB.
    """
    label = LabelConfig.model_validate({"image": IMAGE, "memory": f"{size}MiB", "network": "user"})
    return VmSpec(label, ImageConfig(name=IMAGE))


class Ours:
    """A VM that a host of a pool has, and its frozen self."""

    def __init__(self, host: Host, lab: Lab, directory: Path, found: Found) -> None:
        self._host = host
        self._lab = lab
        self._file = directory / "vm.tar"
        self._found = found

    async def boot(self, vm: VmSpec) -> None:
        """Boot it, and hold it."""
        record = VmRecord(
            OWNER.id, OWNER.master, OWNER.pool, secrets.token_hex(8), IMAGE, "w", IMAGE, "now"
        )
        self._plan = MachinePlan(slot=1, record=record, vm=vm)
        self._machine = self._host.new_machine(self._plan)
        where = Allocation(IMAGE, self._host.name, 1, Size())
        await VM(where, vm.label, self._host, self._machine).start()
        until = (datetime.now(UTC) + HELD_FOR).isoformat(timespec="seconds")
        await self._machine.mark(state="held", until=until)

    async def round(self) -> None:
        """Freeze it and thaw it."""
        await self._thaw(await self._freeze(self._found), self._found)

    async def export(self) -> None:
        """Export it. Its freezing and thawing do not count: an export before slows both down."""
        uncounted: Found = defaultdict(list)
        frozen = await self._freeze(uncounted)
        await timed(self._found, "export", lambda: deferToThread(self._export, frozen))
        self._found["export bytes"].append(self._file.stat().st_size)
        self._file.unlink()
        await self._thaw(frozen, uncounted)

    async def _freeze(self, found: Found) -> FrozenVm:
        frozen: FrozenVm = await timed(
            found, "freeze", partial(self._host.freezing.freeze, self._machine, SPACE)
        )
        found["frozen bytes"].append(await deferToThread(size_of, self._lab, frozen.name.state))
        return frozen

    async def _thaw(self, frozen: FrozenVm, found: Found) -> None:
        record = replace(frozen.record, state="held")
        self._machine = self._host.new_machine(replace(self._plan, record=record))
        await timed(found, "thaw", partial(self._host.freezing.thaw, self._machine, frozen))

    def _export(self, frozen: FrozenVm) -> None:
        with self._lab.connection() as connection, pack.new_file(self._file) as output:
            pack.pack(connection, STORAGE_POOL, frozen, output, with_base=False)

    async def end(self) -> None:
        """Let nothing remain of it."""
        await self._host.discard(self._machine)


class Bare:
    """A VM that virsh saves and restores. It has no slot, so no host of a pool looks at it."""

    def __init__(self, lab: Lab, found: Found) -> None:
        self._lab = lab
        self._found = found

    def boot(self, vm: VmSpec) -> None:
        """Boot it; return when its launcher waits."""
        with self._lab.connection() as connection:
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            image = base_image.resolve(pool, vm.image)
            base = pool.storageVolLookupByName(image.volume)
            disk = storage.create_overlay(pool, f"{BARE}.qcow2", base=base, capacity=None)
            made = domain_spec(2, disk=disk, boot=image.boot, name=BARE)
            made = replace(made, hardware=replace(made.hardware, vm=vm))
            until_waiting(connection.createXML(domain_xml(made), 0))
            self._state = Path(disk).with_name(f"{BARE}.state")

    async def round(self) -> None:
        """Save it and restore it."""
        await timed(self._found, "save", lambda: self._virsh("save", BARE, str(self._state)))
        size = await deferToThread(size_of, self._lab, self._state.name)
        self._found["saved bytes"].append(size)
        await timed(self._found, "restore", lambda: self._virsh("restore", str(self._state)))

    def _virsh(self, *arguments: str) -> Deferred[object]:
        command = ["virsh", "-q", "-c", self._lab.uri, *arguments]
        return deferToThread(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)

    def end(self) -> None:
        """Let nothing remain of it."""
        with self._lab.connection() as connection:
            connection.lookupByName(BARE).destroy()
            pool = connection.storagePoolLookupByName(STORAGE_POOL)
            pool.refresh(0)
            for name in (f"{BARE}.qcow2", f"{BARE}.state"):
                storage.delete_volume(pool, name)


async def timed(found: Found, what: str, do: Callable[[], Awaitable[Any]]) -> Any:
    """Do something, and note its seconds; what was written before is on the disk by then."""
    await deferToThread(os.sync)
    began = time.monotonic()
    result = await do()
    found[what].append(time.monotonic() - began)
    return result


def size_of(lab: Lab, volume: str) -> int:
    """Return the bytes that a volume takes."""
    with lab.connection() as connection:
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        pool.refresh(0)
        return int(pool.storageVolLookupByName(volume).info()[2])


def until_waiting(domain: libvirt.virDomain) -> None:
    """Return when the launcher of a guest says that it waits."""
    stream = domain.connect().newStream(0)
    domain.openChannel(CHANNEL_NAME, stream, 0)
    stream.send(json.dumps(HELLO).encode() + b"\n")
    said = b""
    while b'"waiting"' not in said:
        said += stream.recv(4096)
    stream.abort()


async def measure(lab: Lab, directory: Path, sizes: list[int], rounds: int) -> dict[int, Found]:
    """Return what was found, by size."""
    from twisted.internet import reactor  # noqa: PLC0415 (which one is not known before)

    config = HostConfig(uri=lab.uri, slots=1, storage_pool=STORAGE_POOL, accelerator="tcg")
    host = Host("here", config, PoolContext(OWNER, {}, Forgetful(), lambda: None, reactor))
    host.start()
    while not host.usable:
        await task.deferLater(reactor, 0.1)
    found = {size: await measure_size(host, lab, directory, size, rounds) for size in sizes}
    await host.stop_when_empty()
    return found


async def measure_size(host: Host, lab: Lab, directory: Path, size: int, rounds: int) -> Found:
    """Return what was found with VMs of a size."""
    found: Found = defaultdict(list)
    ours, bare = Ours(host, lab, directory, found), Bare(lab, found)
    await ours.boot(spec(size))
    await deferToThread(bare.boot, spec(size))
    for number in range(rounds):
        for one in (ours, bare) if number % 2 else (bare, ours):
            await one.round()
    for _number in range(rounds):
        await ours.export()
    await ours.end()
    await deferToThread(bare.end)
    return found


def figures(found: Found) -> dict[str, float]:
    """Return the medians, and how many times longer ours took."""
    medians = {what: statistics.median(values) for what, values in found.items()}
    medians["freeze ratio"] = medians["freeze"] / medians["save"]
    medians["thaw ratio"] = medians["thaw"] / medians["restore"]
    return medians


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", default="512", help="of memory, in MiB, with commas between")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    result: dict[str, dict[str, float]] = {}

    async def run(_reactor: object) -> None:
        with lab_with_image() as (lab, directory):
            for size, found in (await measure(lab, directory, sizes, arguments.rounds)).items():
                result[f"{size} MiB"] = figures(found)

    task.react(lambda reactor: Deferred.fromCoroutine(_reported(run(reactor), result)))


async def _reported(running: Awaitable[None], result: dict[str, dict[str, float]]) -> None:
    await running
    for size, medians in result.items():
        seconds = (f"{what} {medians[what]:.2f} s" for what in ("freeze", "save", "thaw"))
        more = (f"{what} {medians[what]:.2f} s" for what in ("restore", "export"))
        stored = (f"{what[:-6]} {medians[what] / MIB:.0f} MiB" for what in medians if "byt" in what)
        ratios = (f"{what} {medians[what]:.2f}" for what in medians if "ratio" in what)
        print(size, *seconds, *more, *stored, *ratios, sep="  ")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
