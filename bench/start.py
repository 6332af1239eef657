# SPDX-License-Identifier: GPL-2.0-only
"""How long a clean VM takes to become a worker: resumed, from a spare, cold, at the least.

All use the same libvirtd, image and accelerator, in turn, in one run. The floor is a bare script
that does only what a resume must: overlay, restore, identity, and done when the worker connects to
a listener that is no Buildbot; then it destroys and deletes. Workers come by TCP, or through a
channel where the name says so. ``upstream`` is Buildbot's LibVirtWorker with our image, ``stock``
the same with a stock Debian. Prints a table of medians and the phases of a start, and a line of
JSON.

    make bench-start ROUNDS=7
"""

from __future__ import annotations

import argparse
import json
import queue
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt

import buildmaster
from buildmaster import BuildMaster
from commands import status
from fixture import IMAGE, OWNER, VM_ID, domain_spec, image, lab_with_image, stock_image
from lab import STORAGE_POOL, Lab
from latent_libvirt.config import ImageConfig
from latent_libvirt.guest.protocol import (
    HELLO,
    SAVE,
    Identity,
    MasterAddress,
    new_password,
)
from latent_libvirt.host import names
from latent_libvirt.host.domains import slot_domains
from latent_libvirt.host.domains.domain_xml import (
    DirectKernel,
    DomainSpec,
    VmRecord,
    domain_xml,
)
from latent_libvirt.host.guests.streams import Channel
from latent_libvirt.host.libvirtd.event_loop import ensure_running
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states import state_io
from latent_libvirt.host.states.saved_states import SavedState
from latent_libvirt.host.volumes import (
    base_image,
    storage,
)
from pools import PoolSettings, master_cfg, write_pool
from upstream import Upstream, UpstreamStock, make_base_image
from vm_life import listener

SLOT = 3
"""No slot of the pools that are measured."""

REHEARSAL = 3.0
"""Seconds that a spare has waited when its job comes, to have rehearsed by then."""

TRIVIAL = "factory = util.BuildFactory([steps.ShellCommand(name='true', command=['true'])])"

WITH_SPARES = PoolSettings(start="resume", max_vms=2, label_keys="spares: 1")

AFTER_THE_START = ("build", "idle", "tear-down")

Run = dict[str, float]
"""Seconds of the phases of one start, and of its tear-down."""


class Floor:
    """The least that resumes a VM, and takes it away.

    :param uri: of a libvirtd that has the image.
    :param memory: of the guest, as a label has it.
    :param way: returns the port at which the guest finds one of ours.
    """

    def __init__(
        self,
        uri: str,
        slot: int = SLOT,
        *,
        memory: str = "512MiB",
        way: Callable[[int], int] = lambda port: port,
    ) -> None:
        self._slot = slot
        self._memory = memory
        self._way = way
        self._name = names.domain_name(slot)
        self._saved = OwnedVolume(OWNER.id, slot, VM_ID, "0" * 24)
        self._overlay = OwnedVolume(OWNER.id, slot, VM_ID)
        self._connection = libvirt.open(uri)
        self._pool = self._connection.storagePoolLookupByName(STORAGE_POOL)
        self.state = self._save()

    def _save(self) -> SavedState:
        found = base_image.resolve(self._pool, ImageConfig(name=IMAGE))
        base = self._pool.storageVolLookupByName(found.volume)
        disk = storage.create_overlay(self._pool, self._saved.disk, base=base, capacity=None)
        xml = domain_xml(self._domain(disk, found.boot))
        domain = self._connection.createXML(xml, 0)
        _talk(domain, [HELLO], until="waiting")
        _talk(domain, [SAVE], until="saveable")
        return state_io.save(self._pool, domain, self._saved)

    def _domain(self, disk: str, boot: DirectKernel | None) -> DomainSpec:
        """Return the domain that is saved."""
        return domain_spec(self._slot, disk=disk, boot=boot, memory=self._memory)

    def run(self) -> Run:
        """Start and end one VM."""
        began = time.monotonic()
        with self.vm():
            started = time.monotonic() - began
            began = time.monotonic()
        return {"start": started, "tear-down": time.monotonic() - began}

    @contextmanager
    def vm(self) -> Iterator[None]:
        """Have a VM, whose worker has connected, for the length of a ``with`` block."""
        with listener() as listening:
            self._start(self._way(listening.getsockname()[1]))
            listening.accept()[0].close()  # the launcher asks whether anybody is there
            listening.accept()[0].close()  # the worker
        yield
        slot_domains.destroy_domain(self._connection, self._name, vm_id=VM_ID)
        storage.delete_volume(self._pool, str(self._overlay))

    def _start(self, port: int) -> None:
        base = self._pool.storageVolLookupByName(self._saved.disk)
        disk = storage.create_overlay(self._pool, self._overlay, base=base, capacity=None)
        record = VmRecord(OWNER.id, "bench", "bare", VM_ID, IMAGE, "bare", "image", "now")
        domain = state_io.restore(self._connection, self.state, disks={0: disk}, record=record)
        channel = Channel(domain, lambda _message: None)
        domain.resume()
        identity = Identity("bare", new_password(), MasterAddress("10.0.2.2", port), "worker")
        channel.send(identity.message(now=time.time()), timeout=10)


def _talk(domain: libvirt.virDomain, messages: list[dict[str, Any]], *, until: str) -> None:
    said: queue.Queue[Any] = queue.Queue()
    channel = Channel(domain, said.put)
    for message in messages:
        channel.send(message, timeout=300)
    while said.get(timeout=300).get("type") != until:
        pass


class OurPool:
    """A master with a pool.

    :param configuration: its ``master.cfg``.
    :param states: how many states each slot is to have before the pool is ready.
    """

    def __init__(
        self,
        lab: Lab,
        directory: Path,
        settings: PoolSettings,
        *,
        configuration: str = master_cfg(TRIVIAL),
        states: int = 1,
    ) -> None:
        self._settings = settings
        self._lab = lab
        self._states = states
        directory.mkdir()
        write_pool(directory, lab.uri, settings)
        self.master = BuildMaster(directory, configuration)
        self._leases = directory / "leases.jsonl"

    @contextmanager
    def ready(self) -> Iterator[OurPool]:
        """Run it for the length of a ``with`` block."""
        try:
            self.master.start()
            if self._settings.start == "resume":
                buildmaster.wait_for("all slots to be saved", self._is_saved)
            yield self
            self._end_spares()
        finally:
            self.master.stop()

    def _end_spares(self) -> None:
        """Leave no VM that outlives the master, and disturbs what is measured next."""
        write_pool(self.master.directory, self._lab.uri, PoolSettings())
        buildmaster.wait_for("all VMs to end", lambda: not self._lab.leftovers())

    def _is_saved(self) -> bool:
        state = status(self.master)
        (host,) = state["hosts"]
        return len(host["saved"]) >= host["slots"] * self._states and not state["saving"]

    def run(self) -> Run:
        """Run one job."""
        if "spares" in self._settings.label_keys:
            self.wait_for_spare()
        (run,) = self.run_many(1)
        return run

    def run_many(self, count: int) -> list[Run]:
        """Run *count* jobs at once."""
        ended = len(self._reports())
        jobs = [self.master.force() for _ in range(count)]
        buildmaster.wait_for("the leases to end", lambda: len(self._reports()) == ended + count)
        assert {self.master.wait_for_result(job) for job in jobs} == {"SUCCESS"}
        return [_phases(report) for report in self._reports()[ended:]]

    def wait_for_spare(self) -> None:
        """Return when a spare waits, and has rehearsed."""
        buildmaster.wait_for("a spare", self._spare_waits)
        time.sleep(REHEARSAL)

    def _spare_waits(self) -> bool:
        return any(spare["phase"] == "waiting" for spare in status(self.master)["spares"])

    def _reports(self) -> list[str]:
        return self._leases.read_text().splitlines() if self._leases.exists() else []


def _phases(report: str) -> Run:
    phases: Run = json.loads(report)["phases"]
    return {**phases, "start": start_seconds(phases)}


def start_seconds(phases: Run) -> float:
    """Return the seconds from ``start_instance`` to a worker that is attached."""
    return sum(seconds for phase, seconds in phases.items() if phase not in AFTER_THE_START)


def measure_pool(lab: Lab, directory: Path, settings: PoolSettings, rounds: int) -> list[Run]:
    """Run jobs one after the other."""
    with OurPool(lab, directory, settings).ready() as pool:
        runs = [pool.run() for _ in range(rounds)]
    _leave_nothing(lab)
    return runs


def measure_resume(lab: Lab, directory: Path, rounds: int) -> tuple[list[Run], list[Run]]:
    """Run jobs in VMs that are resumed, and the bare script, in turn."""
    bare, resumed = [], []
    with OurPool(lab, directory, PoolSettings(start="resume")).ready() as pool:
        floor = Floor(lab.uri)  # not before: see _leave_nothing
        for _ in range(rounds):
            bare.append(floor.run())
            resumed.append(pool.run())
    _leave_nothing(lab)
    return bare, resumed


def _leave_nothing(lab: Lab) -> None:
    """Delete what was saved; the next pool saves no slots ahead where others have saved theirs."""
    lab.delete_saved()


def measure_upstream(lab: Lab, directory: Path, rounds: int) -> list[Run]:
    """Run jobs in VMs of LibVirtWorker that boot as lean as ours."""
    directory.mkdir()
    base = directory / "base.qcow2"
    make_base_image(image(), base)
    upstream = Upstream(lab, base, count=1, arguments="build_wait_timeout=0,")
    return _measure_upstream(upstream, directory, rounds)


def measure_stock(lab: Lab, directory: Path, rounds: int) -> list[Run]:
    """Run jobs in VMs of LibVirtWorker that boot a stock Debian."""
    directory.mkdir()
    upstream = UpstreamStock(lab, stock_image(), directory / "base.qcow2")
    return _measure_upstream(upstream, directory, rounds)


def _measure_upstream(upstream: Upstream, directory: Path, rounds: int) -> list[Run]:
    """Return whole seconds, as Buildbot tells them."""
    with upstream.running(directory, TRIVIAL) as master:
        return [_run_upstream(master) for _ in range(rounds)]


def _run_upstream(master: BuildMaster) -> Run:
    job = master.force()
    assert master.wait_for_result(job) == "SUCCESS"
    (build,) = master.builds(job)
    steps = master.get(f"builds/{build['buildid']}/steps")
    first = next(step for step in steps if step["name"] == "true")
    return {"start": float(first["started_at"] - build["started_at"])}


def median(runs: list[Run], key: str = "start") -> float:
    """Return the median of *key* over *runs*."""
    return statistics.median(run[key] for run in runs)


def figures(ways: dict[str, list[Run]]) -> dict[str, float | str]:
    """Return what the line of JSON says."""
    medians = {f"{way}_s": round(median(runs), 3) for way, runs in ways.items()}
    ratio = median(ways["resume"], "tear-down") / median(ways["floor"], "tear-down")
    return {**medians, "teardown_ratio": round(ratio, 2), "accelerator": "tcg"}


def print_table(ways: dict[str, list[Run]]) -> None:
    """Print the medians of each way, and of the phases of its start."""
    for way, runs in ways.items():
        print(f"{way:14} {median(runs):8.3f} s  (of {len(runs)})")
        for phase in runs[0]:
            if phase != "start" and all(phase in run for run in runs):
                print(f"  {phase:14} {median(runs, phase):8.3f}")


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-stock", action="store_true", help="leave LibVirtWorker out")
    arguments = parser.parse_args()
    rounds, few = arguments.rounds, max(1, arguments.rounds // 2)
    ensure_running()
    ways: dict[str, list[Run]] = {}
    with lab_with_image() as (lab, directory):
        ways["floor"], ways["resume"] = measure_resume(lab, directory / "resume", rounds)
        ways["spare"] = measure_pool(lab, directory / "spare", WITH_SPARES, rounds)
        through = replace(WITH_SPARES, connection="channel")
        ways["spare_channel"] = measure_pool(lab, directory / "spare-channel", through, rounds)
        through = PoolSettings(start="resume", connection="channel")
        ways["resume_channel"] = measure_pool(lab, directory / "channel", through, rounds)
        ways["cold"] = measure_pool(lab, directory / "cold", PoolSettings(start="boot"), few)
        if not arguments.no_stock:
            ways["upstream"] = measure_upstream(lab, directory / "upstream", few)
            ways["stock"] = measure_stock(lab, directory / "stock", few)
    print_table(ways)
    print(json.dumps(figures(ways)))


if __name__ == "__main__":
    main()
