# SPDX-License-Identifier: GPL-2.0-only
"""A real master with a pool of simulated VMs: real workers connect from them, in moments.

The simulation is that of the stress harness (``latent_libvirt/stress/simulation``). It is for tests
of what a master shows and does; what hypervisors and guests do is tested with QEMU.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, Self

import children
from buildmaster import DEADLINE, BuildMaster, wait_for
from latent_libvirt.stress.in_master.pool import NODE
from pools import STEP_UNTIL_TOLD

_MASTER_CFG = """
import os
from pathlib import Path
from buildbot.plugins import schedulers, steps, util
from latent_libvirt import Pool
from latent_libvirt.stress.simulation import binding
from latent_libvirt.stress.simulation.times import StartTimes

binding.install(Path({guests!r}), StartTimes({phase}, {phase}, {phase}, {phase}), seed=1)
pool = Pool.from_yaml("pool.yaml")

{step}
def builder(name, label):
    factory = util.BuildFactory([UntilTold()])
    names = pool.worker_names(label)
    return util.BuilderConfig(name, workernames=names, factory=factory, collapseRequests=False)

c = BuildmasterConfig = dict(
    title="simulated",
    services=[pool],
    workers=pool.workers(),
    builders=[builder("check", "small"), builder("other", "large")],
    schedulers=[schedulers.ForceScheduler(name="force", builderNames=["check", "other"])],
    protocols=dict(pb=dict(port=f"tcp:{{WORKER_PORT}}:interface=127.0.0.1")),
    www=dict(port=f"tcp:{{WEB_PORT}}:interface=127.0.0.1", plugins=dict(latent_libvirt={{}})),
    buildbotURL=f"http://127.0.0.1:{{WEB_PORT}}/",
    db=dict(db_url="sqlite:///state.sqlite"),
    buildbotNetUsageData=None,
)
"""


class SimulatedMaster(BuildMaster):
    """A master with simulated hosts, and the process of their guests.

    :param pool: what its ``pool.yaml`` has beyond hosts ``alpha`` and ``beta`` and labels ``small``
        and ``large``.
    :param more: statements at the end of its configuration, where that is ``c``.
    """

    phase = 0.05
    """Seconds of each phase of the start of a VM."""

    def __init__(self, directory: Path, *, more: str = "", **pool: Any) -> None:
        guests = self._socket = _path_of_a_socket(directory)
        configuration = _MASTER_CFG.format(
            guests=str(guests), phase=self.phase, step=STEP_UNTIL_TOLD
        )
        super().__init__(directory, configuration + more)
        (directory / "node.xml").write_text(NODE)
        self.save_pool(**pool)
        self._guests = children.begun(lambda: self._start_guests(guests))
        wait_for("the guests", guests.exists)

    def _start_guests(self, socket: Path) -> subprocess.Popen[bytes]:
        program = [sys.executable, "-m", "latent_libvirt.stress.simulation.guests"]
        files = self.directory / "guests"
        files.mkdir()
        with (files / "output").open("wb") as output:
            return subprocess.Popen(
                [*children.WITH_US, *program, str(socket), str(files)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def save_pool(self, **changes: Any) -> None:
        """Save ``pool.yaml``, with *changes* of what it has."""
        (self.directory / "pool.yaml").write_text(json.dumps(self.pool() | changes))

    def pool(self) -> dict[str, Any]:
        """Return what ``pool.yaml`` has without changes."""
        return {
            "master": {"max_vms": 4, "address": "127.0.0.1"},
            "hosts": {name: self.host(at) for at, name in enumerate(("alpha", "beta"), 1)},
            "images": {"base": {"volume": "base.qcow2"}},
            "labels": {
                "small": {
                    "image": "base",
                    "start": "boot",
                    "max_vms": 2,
                    "launch_attempts": 2,
                    "record_terminals": True,
                },
                "large": {"image": "base", "start": "boot", "spares": 1},
            },
        }

    def host(self, number: int) -> dict[str, Any]:
        """Return a host; each number is another one."""
        return {
            # The slashes make each a separate hypervisor, from one file.
            "uri": f"test://{'/' * number}{self.directory / 'node.xml'}",
            "slots": 2,
            "storage_pool": "builds",
            "accelerator": "tcg",
        }

    def let_go(self) -> None:
        """Let all builds end; those that come later wait again."""
        told = self.directory / "go-on"
        told.touch()
        wait_for("all requests to be done", lambda: not self.get("buildrequests?complete=false"))
        told.unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.end_by(signal.SIGKILL)
        assert self._guests.stdin is not None
        self._guests.stdin.close()
        self._guests.wait(DEADLINE)
        if not self._socket.is_relative_to(self.directory):
            shutil.rmtree(self._socket.parent, ignore_errors=True)


def _path_of_a_socket(directory: Path) -> Path:
    """Return where the guests listen: in *directory*, which goes with the tests, if that is short.

    :param directory: the master's.
    """
    path = directory / "guests.socket"
    if len(os.fsencode(path)) <= _LONGEST:
        return path
    return Path(tempfile.mkdtemp(prefix="guests-")) / "guests"


_LONGEST: Final = 107
"""Bytes of the path of a socket (unix(7))."""
