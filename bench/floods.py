# SPDX-License-Identifier: GPL-2.0-only
"""What a few workers that flood their channels cost the others of the same host.

A build of each VM takes part. Some of them write lines without an end, the others run short
commands one after the other. Each command is timed, and after it a call of the pool to the host:
the list of its domains, as sweeps ask for it. In a round the floods are off, and then on. QEMUs of
floods get the least priority: processors are for the kernel to share, and what is measured here is
the way through libvirtd and master. The same is done by TCP. Prints medians and a line of JSON. A
ratio of two means that a command takes twice as long during the floods.

    make bench-floods ROUNDS=2 VMS=12 FLOODS=3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import buildmaster
from buildmaster import BuildMaster
from fixture import lab_with_image
from lab import Lab
from latent_libvirt.stress.measure.processes import Usage, all_pids, named, tree, tree_usage
from pools import PoolSettings, master_cfg, write_pool

WAYS = ("tcp", "channel")
PROCESSES = ("master", "libvirtd", "qemu")
_NAMES = ("floods.jsonl", "others.jsonl")
_TIMES = ("commands.jsonl", "calls.jsonl")
MIB = 1024**2
_BOOT = 900.0
"""Seconds that all VMs together may take to boot."""
_LEAST_PRIORITY = 19

_LABEL = """
{way}:
  image: image
  memory: 256MiB
  network: user
  start: boot
  boot_timeout: 10m
  attach_timeout: 10m
  max_vms: {vms}
  connection: {way}
"""

_WORKERS = """
from buildbot.plugins import worker
workers = [
    worker.LibvirtLatentWorker(f"by-label-{number}", pool=pool, label=util.Property("label"))
    for number in range(1, VMS + 1)
]
"""

_FACTORY = """
import json, os, time
from twisted.internet import reactor
from twisted.internet.task import deferLater

class AsFilesSay(steps.ShellSequence):
    async def run(self):
        floods = int(self.getProperty("workername").rpartition("-")[2]) <= FLOODS
        name = "floods.jsonl" if floods else "others.jsonl"
        self.write(name, [self.getProperty("vm_domain"), self.getProperty("vm_label")])
        while os.path.exists("go"):
            if floods and os.path.exists("flood"):
                await self.run_line(["timeout", "5", "yes", "x" * 70])
            elif not floods and os.path.exists("timed"):
                await self.timed("commands.jsonl", self.run_line(["true"]))
                await self.timed("calls.jsonl", self.list_domains())
            else:
                await deferLater(reactor, 0.2)
        return util.SUCCESS

    async def timed(self, name, what):
        began = time.monotonic()
        await what
        self.write(name, time.monotonic() - began)

    async def list_domains(self):
        (host,) = pool.vm_pool.hosts.values()
        await host.connection.call("survey", "list its domains", lambda it: it.listAllDomains())

    async def run_line(self, line):
        await self.runCommand(
            await self.makeRemoteShellCommand(command=line, stdioLogName="it"))

    def write(self, name, value):
        with open(name, "a") as file:
            print(json.dumps(value), file=file)

factory = util.BuildFactory([AsFilesSay(name="as files say", commands=[])])
"""


@dataclass(frozen=True)
class Options:
    """What is measured.

    :param seconds: of each part of a round.
    """

    rounds: int
    vms: int
    floods: int
    seconds: float


@dataclass(frozen=True)
class Part:
    """What one part of a round found.

    :param commands: seconds of each, in order of size.
    :param calls: seconds of each call of the pool, in order of size.
    :param cores: that each process has used on average.
    :param memory: bytes of each process at the end.
    """

    commands: list[float]
    calls: list[float]
    cores: dict[str, float]
    memory: dict[str, int]


class Floods:
    """Builds that do what files in the master's directory say."""

    def __init__(self, lab: Lab, master: BuildMaster, options: Options) -> None:
        self._lab = lab
        self._master = master
        self._options = options
        (libvirtd,) = named("libvirtd", tree(lab.sandbox.pid))
        self._pids = {"master": [master.pid], "libvirtd": [libvirtd], "qemu": []}

    def round(self, way: str) -> tuple[Part, Part]:
        """Run builds of that way; return what was found without floods and with them."""
        requests = self._begin(way)
        try:
            return self._part(), self._part("flood")
        finally:
            self._remove("go")
            for request in requests:
                self._master.wait_for_result(request)
            buildmaster.wait_for("the VMs to go", lambda: not self._lab.leftovers())

    def _begin(self, way: str) -> list[int]:
        self._remove(*_NAMES)
        self._file("go").touch()
        requests = [self._master.force(label=way) for _ in range(self._options.vms)]
        buildmaster.wait_for("all builds to run", self._all_run, deadline=_BOOT)
        labels = {label for name in _NAMES for _domain, label in self._lines(name)}
        assert labels == {way}
        ours = named("qemu-system", all_pids(), str(self._lab.sandbox.directory))
        floods = [domain for domain, _label in self._lines("floods.jsonl")]
        flooding = [pid for each in floods for pid in named("qemu-system", ours, f"guest={each},")]
        for pid in flooding:
            os.setpriority(os.PRIO_PROCESS, pid, _LEAST_PRIORITY)
        self._pids["qemu"] = flooding
        return requests

    def _all_run(self) -> bool:
        return sum(len(self._lines(name)) for name in _NAMES) == self._options.vms

    def _part(self, *files: str) -> Part:
        self._remove(*_TIMES)
        for name in (*files, "timed"):
            self._file(name).touch()
        before, began = self._usage(), time.monotonic()
        time.sleep(self._options.seconds)  # it is what happens in that time that is measured
        after, seconds = self._usage(), time.monotonic() - began
        self._remove("timed", *files)
        commands, calls = (sorted(self._lines(name)) for name in _TIMES)
        cores = {name: (after[name].cpu - before[name].cpu) / seconds for name in after}
        memory = {name: usage.memory for name, usage in after.items()}
        return Part(commands, calls, cores, memory)

    def _usage(self) -> dict[str, Usage]:
        return {
            name: sum(map(tree_usage, pids), start=Usage()) for name, pids in self._pids.items()
        }

    def _lines(self, name: str) -> list[Any]:
        file = self._file(name)
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    def _remove(self, *names: str) -> None:
        for name in names:
            self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._master.directory / name


def measure(lab: Lab, directory: Path, options: Options) -> dict[str, list[tuple[Part, Part]]]:
    """Return what each round found, by way."""
    directory.mkdir()
    labels = "".join(_LABEL.format(way=way, vms=options.vms) for way in WAYS)
    settings = PoolSettings(max_vms=options.vms, slots=options.vms, other_labels=labels)
    write_pool(directory, lab.uri, replace(settings, max_starting=2))
    found: dict[str, list[tuple[Part, Part]]] = {way: [] for way in WAYS}
    factory = _FACTORY.replace("FLOODS", str(options.floods))
    workers = _WORKERS.replace("VMS", str(options.vms))
    with buildmaster.running(directory, master_cfg(factory, workers=workers)) as master:
        floods = Floods(lab, master, options)
        for number in range(options.rounds):
            for way in WAYS if number % 2 else reversed(WAYS):
                found[way].append(floods.round(way))
    return found


def figures_of(rounds: list[tuple[Part, Part]]) -> dict[str, Any]:
    """Return the medians of one way."""
    flooded = [part for _calm, part in rounds]
    return {
        "command": _compared([(part.commands, other.commands) for part, other in rounds]),
        "call": _compared([(part.calls, other.calls) for part, other in rounds]),
        "cores": {name: statistics.median(f.cores[name] for f in flooded) for name in PROCESSES},
        "grown_mib": {
            name: max((f.memory[name] - c.memory[name]) / MIB for c, f in rounds)
            for name in PROCESSES
        },
        "mib": {name: max(f.memory[name] / MIB for f in flooded) for name in PROCESSES},
    }


def _compared(rounds: list[tuple[list[float], list[float]]]) -> dict[str, float]:
    """Return medians and 95th percentiles of all rounds, in milliseconds, and their ratios."""
    calm, flooded = ([_percentiles(times) for times in part] for part in zip(*rounds, strict=True))
    found = {}
    for number, name in enumerate(("median", "slowest")):
        before, after = (
            statistics.median(each[number] for each in part) for part in (calm, flooded)
        )
        found |= {
            f"{name}_ms": before,
            f"flooded_{name}_ms": after,
            f"{name}_ratio": after / before,
        }
    return found


def _percentiles(times: list[float]) -> tuple[float, float]:
    return statistics.median(times) * 1000, times[len(times) * 95 // 100] * 1000


def _in_words(what: str, found: dict[str, float]) -> str:
    parts = [
        f"{found[f'{when}median_ms']:6.1f} ms (95 %: {found[f'{when}slowest_ms']:6.1f} ms)"
        for when in ("", "flooded_")
    ]
    return f"a {what:8} {parts[0]}, {parts[1]} during floods"


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--vms", type=int, default=12)
    parser.add_argument("--floods", type=int, default=3, help="how many of the VMs flood")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each part of a round")
    options = Options(**vars(parser.parse_args()))
    with lab_with_image() as (lab, directory):
        found = measure(lab, directory / "master", options)
    figures = {way: figures_of(rounds) for way, rounds in found.items()}
    for way, of_way in figures.items():
        for what in ("command", "call"):
            print(f"{way:8} {_in_words(what, of_way[what])}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
