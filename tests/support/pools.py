# SPDX-License-Identifier: GPL-2.0-only
"""Masters whose builds run in VMs of a lab: their ``pool.yaml`` and ``master.cfg``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import buildmaster
from buildmaster import BuildMaster
from lab import STORAGE_POOL

MakeMaster = Callable[..., BuildMaster]


@dataclass(frozen=True)
class PoolSettings:
    """What a test wants of its pool; the defaults are one VM of one label.

    :param label_keys: lines to add to the label.
    :param other_labels: lines to add to the labels.
    :param other_hosts: lines to add to the hosts, before the one that is there.
    """

    max_vms: int = 1
    slots: int = 2
    label_max_vms: int = 2
    max_starting: int = 9
    memory: str = "512MiB"
    image: str = "{name: debian-12}"
    boot_timeout: str = "4m"
    attach_timeout: str = "2m"
    shutdown: str = "destroy"
    launch_attempts: int = 3
    address: str = "10.0.2.2"
    accelerator: str = "tcg"
    network: str = "user"
    host: str = "here"
    user: str = "worker"
    start: str = "boot"
    connection: str = "tcp"
    metrics: str = ""
    stop_within: str = "3s"
    label_keys: str = ""
    other_labels: str = ""
    other_hosts: str = ""

    def yaml(self, uri: str) -> str:
        """Return the text of ``pool.yaml``."""
        return f"""
master: {{max_vms: {self.max_vms}, address: {self.address}, metrics: {self.metrics},
  stop_within: {self.stop_within}}}
hosts:
{indent(self.other_hosts, "  ")}
  {self.host}:
    uri: "{uri}"
    slots: {self.slots}
    max_starting: {self.max_starting}
    storage_pool: {STORAGE_POOL}
    accelerator: {self.accelerator}
images:
  image: {self.image}
labels:
  debian-12:
    image: image
    memory: {self.memory}
    network: {self.network}
    user: {self.user}
    start: {self.start}
    connection: {self.connection}
    max_vms: {self.label_max_vms}
    boot_timeout: {self.boot_timeout}
    attach_timeout: {self.attach_timeout}
    shutdown: {self.shutdown}
    shutdown_timeout: 2m
    launch_attempts: {self.launch_attempts}
{indent(self.label_keys, "    ")}
{indent(self.other_labels, "  ")}
"""


WORKERS_OF_THE_POOL = """
workers = pool.workers()
"""

WORKER_BY_BROKEN_RENDERER = """
from buildbot.plugins import worker
@util.renderer
def label(properties):
    raise KeyError("no such property")
workers = [worker.LibvirtLatentWorker("by-hand", pool=pool, label=label)]
"""

WORKER_BY_PROPERTY = """
from buildbot.plugins import worker
workers = [worker.LibvirtLatentWorker("by-hand", pool=pool, label=util.Property("label"))]
"""


STEP_UNTIL_TOLD = """
import os
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import RETRY
from twisted.internet import reactor
from twisted.internet.task import deferLater

class UntilTold(BuildStep):
    name = "until told"
    async def run(self):
        while not os.path.exists("go-on"):
            if self.stopped:  # as when its worker is lost
                return RETRY
            await deferLater(reactor, 0.1, lambda: None)
        return 0
"""
"""The class of a step that ends when the file is there."""

UNTIL_TOLD = f"""{STEP_UNTIL_TOLD}
factory = util.BuildFactory([UntilTold()])
"""
"""A build that ends when the test says so, by :func:`go_on`, however slow the machine is."""

IN_TURNS = """
BuildmasterConfig["prioritizeBuilders"] = pool.prioritize_builders
"""


def master_cfg(factory: str, *, workers: str = WORKERS_OF_THE_POOL) -> str:
    """Return a master's configuration with one builder, ``check``.

    :param factory: statements that bind ``factory``.
    :param workers: statements that bind ``workers``.
    """
    statements = f"""
import dataclasses, json
from latent_libvirt import Pool

pool = Pool.from_yaml("pool.yaml")
services = [pool]
{workers}
{factory}

def write_down(report):
    with open("leases.jsonl", "a") as leases:
        print(json.dumps(dataclasses.asdict(report)), file=leases)

pool.add_observer(write_down)
"""
    return buildmaster.master_cfg(statements) + IN_TURNS


def go_on(master: BuildMaster) -> None:
    """Let the builds of ``UNTIL_TOLD`` end, and those that come later."""
    (master.directory / "go-on").touch()


def write_pool(directory: Path, uri: str, settings: PoolSettings) -> None:
    """Write ``pool.yaml`` for the master in *directory*."""
    (directory / "pool.yaml").write_text(settings.yaml(uri))
