# SPDX-License-Identifier: GPL-2.0-only
"""What a worker's connection carries: through the channel and by TCP, in turn, in one run.

Both have the same master, image and hardware. A build of each label uploads a file, downloads one,
and writes a log. The steps are Buildbot's own, so the figures are those of a build. Prints medians
and a line of JSON. A ratio above one means that the channel is the faster way.

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
from pools import PoolSettings, master_cfg, write_pool

Seconds = dict[str, float]
"""Of each step of a build, by its name."""

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

HERE = os.path.abspath(".")

def timed(kind):
    class Timed(kind):
        async def run(self):
            began = time.monotonic()
            try:
                return await super().run()
            finally:
                with open("times.jsonl", "a") as file:
                    print(json.dumps([self.name, time.monotonic() - began]), file=file)
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

    def build(self, way: str) -> Seconds:
        """Run a build; return the seconds of its steps."""
        times = self._master.directory / "times.jsonl"
        times.unlink(missing_ok=True)
        assert self._master.wait_for_result(self._master.force(label=way)) == "SUCCESS"
        buildmaster.wait_for("the VM to go", lambda: not self._lab.leftovers())
        return dict(json.loads(line) for line in times.read_text().splitlines())


def measure(lab: Lab, directory: Path, rounds: int, size: int) -> dict[str, list[Seconds]]:
    """Return what each round found, by way."""
    directory.mkdir()
    (directory / "down").write_bytes(os.urandom(size))
    labels = "".join(_LABEL.format(way=way) for way in WAYS)
    write_pool(directory, lab.uri, PoolSettings(max_vms=1, slots=1, other_labels=labels))
    last = 10**6 + size // _BYTES_OF_A_LINE
    factory = _FACTORY.replace("SIZE", str(size)).replace("LAST", str(last))
    found: dict[str, list[Seconds]] = {way: [] for way in WAYS}
    with buildmaster.running(directory, master_cfg(factory)) as master:
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
        tcp, channel = (statistics.median(one[name] for one in found[way]) for way in WAYS)
        figures[name] = {"tcp": tcp, "channel": channel, "ratio": tcp / channel}
        print(f"{name:14} tcp {tcp:6.2f} s  channel {channel:6.2f} s  ratio {tcp / channel:.2f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
