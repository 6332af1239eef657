# SPDX-License-Identifier: GPL-2.0-only
"""What a worker's connection carries: through the channel and by TCP, in turn, in one run.

Both have the same master, image and hardware. A build of each label uploads a file, downloads one,
and writes a log. The steps are Buildbot's own, so the figures are those of a build. Prints medians
and a line of JSON. A ratio above one means that the channel is the faster way. The seconds of CPU
of master, libvirtd and QEMU are those of the same step.

    make bench-channel ROUNDS=5 MB=24
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

import buildmaster
from buildmaster import BuildMaster
from fixture import lab_with_image
from lab import Lab
from latent_libvirt.stress.measure.processes import named, tree
from pools import WORKER_BY_PROPERTY, PoolSettings, master_cfg, write_pool

Seconds = dict[str, float]
"""Of a step, by the clock and of CPU."""
Steps = dict[str, Seconds]
"""The steps of a build, by name."""

PROCESSES = ("master", "libvirtd", "qemu")

WAYS = ("tcp", "channel")

_LABEL = """
{way}:
  image: image
  memory: 512MiB
  network: user
  start: resume
  max_vms: 1
  connection: {way}
"""

_FACTORY = """
import os, time
from latent_libvirt.stress.measure.processes import all_pids, named, tree_usage

HERE = os.path.abspath(".")

def spent():
    qemus = named("qemu-system", all_pids(), "DIRECTORY")
    return {
        "seconds": time.monotonic(),
        "master": time.process_time(),
        "libvirtd": tree_usage(LIBVIRTD).cpu,
        "qemu": sum(tree_usage(pid).cpu for pid in qemus),
    }

def timed(kind):
    class Timed(kind):
        async def run(self):
            before = spent()
            try:
                return await super().run()
            finally:
                found = {name: value - before[name] for name, value in spent().items()}
                with open("times.jsonl", "a") as file:
                    print(json.dumps([self.name, found]), file=file)
    return Timed

factory = util.BuildFactory([
    steps.ShellCommand(name="prepare", command="head -c SIZE /dev/urandom > file"),
    *(
        step
        for block in (16, 256)
        for step in (
            timed(steps.FileUpload)(name=f"upload {block}k", workersrc="file",
                masterdest=HERE + "/up", blocksize=block * 1024, maxsize=None),
            timed(steps.FileDownload)(name=f"download {block}k", mastersrc=HERE + "/down",
                workerdest="got", blocksize=block * 1024),
        )
    ),
    timed(steps.ShellCommand)(name="log", command="seq 1000000 LAST"),
    timed(steps.ShellSequence)(name="50 commands",
        commands=[util.ShellArg(command=["true"], logname="it") for _ in range(50)]),
])
"""

_BYTES_OF_A_LINE = 8
"""Of the log, its end included."""


class Ways:
    """A master whose builds come by each way."""

    def __init__(self, lab: Lab, master: BuildMaster) -> None:
        self._lab = lab
        self._master = master

    def build(self, way: str) -> Steps:
        """Run a build; return what its steps took."""
        times = self._master.directory / "times.jsonl"
        times.unlink(missing_ok=True)
        job = self._master.force(label=way)
        assert self._master.wait_for_result(job) == "SUCCESS"
        assert self._master.builds(job)[0]["properties"]["vm_label"][0] == way
        buildmaster.wait_for("the VM to go", lambda: not self._lab.leftovers())
        return dict(json.loads(line) for line in times.read_text().splitlines())


def measure(lab: Lab, directory: Path, rounds: int, size: int) -> dict[str, list[Steps]]:
    """Return what each round found, by way."""
    directory.mkdir()
    (directory / "down").write_bytes(os.urandom(size))
    labels = "".join(_LABEL.format(way=way) for way in WAYS)
    write_pool(directory, lab.uri, PoolSettings(max_vms=1, slots=1, other_labels=labels))
    last = 10**6 + size // _BYTES_OF_A_LINE
    (libvirtd,) = named("libvirtd", tree(lab.sandbox.pid))
    factory = _FACTORY.replace("SIZE", str(size)).replace("LAST", str(last))
    factory = factory.replace("DIRECTORY", str(lab.sandbox.directory))
    factory = factory.replace("LIBVIRTD", str(libvirtd))
    found: dict[str, list[Steps]] = {way: [] for way in WAYS}
    with buildmaster.running(directory, master_cfg(factory, workers=WORKER_BY_PROPERTY)) as master:
        ways = Ways(lab, master)
        for number in range(rounds):
            for way in WAYS if number % 2 else reversed(WAYS):
                found[way].append(ways.build(way))
    return found


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mb", type=int, default=24, help="size of a file and of a log")
    arguments = parser.parse_args()
    with lab_with_image() as (lab, directory):
        found = measure(lab, directory / "master", arguments.rounds, arguments.mb * 10**6)
    figures = {}
    for name in found["tcp"][0]:
        tcp, channel = (_medians([one[name] for one in found[way]]) for way in WAYS)
        ratio = tcp["seconds"] / channel["seconds"]
        figures[name] = {"tcp": tcp, "channel": channel, "ratio": ratio}
        print(f"{name:14} tcp {_line(tcp)}  channel {_line(channel)}  ratio {ratio:.2f}")
    print(json.dumps(figures))


def _medians(rounds: list[Seconds]) -> Seconds:
    return {kind: statistics.median(one[kind] for one in rounds) for kind in rounds[0]}


def _line(seconds: Seconds) -> str:
    cpu = "/".join(f"{seconds[name]:.2f}" for name in PROCESSES)
    return f"{seconds['seconds']:6.2f} s (CPU {cpu})"


if __name__ == "__main__":
    main()
