# SPDX-License-Identifier: GPL-2.0-only
"""A master whose pool might have many VMs: 50 simulated hosts with 40 slots each, 100 labels."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from buildmaster import wait_for
from simulated_master import SimulatedMaster

HOSTS, SLOTS = 50, 40
LABELS = ("small", "large", *(f"label-{number}" for number in range(98)))

_BUILDERS = """
command = ["simulate", '{"seconds": 0}']
c["builders"] = [
    util.BuilderConfig(
        f"of-{label}",
        workernames=pool.worker_names(label),
        factory=util.BuildFactory([steps.ShellCommand(name="true", command=command)]),
        collapseRequests=False,
    )
    for label in pool.config.labels
]
names = [builder.name for builder in c["builders"]]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=names)]
"""


class Start(NamedTuple):
    """What the start of a master took, the second one: its database has the builders."""

    seconds: float
    """Until it took jobs."""

    cpu: float
    """Seconds of a processor until then."""

    rss: float
    """MiB of memory after a job."""


class WithManyWorkers(SimulatedMaster):
    """The master.

    :param most: VMs that each label may have; ``None`` as many as there are slots.
    """

    def __init__(self, directory: Path, most: int | None) -> None:
        self._most = most
        super().__init__(directory, more=_BUILDERS)

    def pool(self) -> dict[str, Any]:
        """Return its ``pool.yaml``."""
        cap = {} if self._most is None else {"max_vms": self._most}
        host = self.host(1) | {"slots": SLOTS}
        return super().pool() | {
            "master": {"max_vms": HOSTS * SLOTS, "address": "127.0.0.1"},
            # The slashes make each a separate hypervisor, from one file.
            "hosts": {
                f"host-{number}": host | {"uri": f"test://{'/' * number}{self.directory}/node.xml"}
                for number in range(1, HOSTS + 1)
            },
            "labels": {name: {"image": "base", "start": "boot", **cap} for name in LABELS},
        }

    def measured(self) -> Start:
        """Start it twice; return what the second time took."""
        self._timed()
        self.stop()
        seconds, cpu = self._timed()
        request = self.force("of-label-7")
        wait_for("the job", lambda: self.get(f"buildrequests/{request}")[0]["complete"])
        return Start(seconds, cpu, self._rss())

    def _timed(self) -> tuple[float, float]:
        runs, began = self.log.count("BuildMaster is running"), time.monotonic()
        self.launch()
        wait_for("the master", lambda: self.log.count("BuildMaster is running") > runs)
        return time.monotonic() - began, self._cpu()

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _rss(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (line,) = [line for line in status if line.startswith("VmRSS:")]
        return int(line.split()[1]) / 1024


def measure(directory: Path, most: int | None) -> Start:
    """Measure the start of a master whose labels may each have *most* VMs."""
    master = WithManyWorkers(directory, most)
    try:
        return master.measured()
    finally:
        master.__exit__()
