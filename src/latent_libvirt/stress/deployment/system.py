# SPDX-License-Identifier: GPL-2.0-only
"""A deployment that the harness has started as what is under load."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from latent_libvirt.jobs.client import Client
from latent_libvirt.stress.measure.database import Database
from latent_libvirt.stress.measure.processes import ProcessWatch, named, tree
from latent_libvirt.stress.measure.raw import append
from latent_libvirt.stress.system import About, Sample

if TYPE_CHECKING:
    from latent_libvirt.stress.deployment.deployment import Deployment

QUEUE_EVERY: Final = 1.0
STATEMENTS_EVERY: Final = 5.0
"""Seconds between two samples of the queue, and of the time of statements."""

OF_MASTERS: Final = ("reactor", "leases")
"""Files that masters write."""


class StartedSystem:
    """A deployment that ends with the harness.

    :param slots: how many VMs there may be in all.
    :param hypervisor: what its VMs run on, in words.
    """

    def __init__(self, deployment: Deployment, *, slots: int, hypervisor: str) -> None:
        self._deployment = deployment
        self._slots = slots
        self._hypervisor = hypervisor
        self._database = Database(deployment.db_url)
        self.web_url = deployment.web_url
        self.token = ""  # its readers need none
        self.addresses: tuple[str, ...] = ()
        self._client = Client(f"{self.web_url}jobs", deployment.token)

    def about(self) -> About:
        """Return what a report says of the deployment."""
        names = tuple(master.name for master in self._deployment.masters)
        return About(self._slots, names, self._hypervisor)

    def watch(self, own_name: str) -> ProcessWatch:
        """Return a watch of all processes of the deployment."""
        watch = ProcessWatch(self._deployment.pids(), own_name)
        for sandbox in self._deployment.libvirtds:
            for name, program in (("libvirtd", "libvirtd"), ("qemu", "qemu-system")):
                watch.add_set(name, lambda p=program, s=sandbox: named(p, tree(s.pid)))  # type: ignore[misc]
        return watch

    def samples(self) -> list[Sample]:
        """Return the measurements by way of the database."""
        url = self._deployment.db_url
        return [
            Sample("queue", Database(url).queue, QUEUE_EVERY),
            Sample("database", Database(url).time, STATEMENTS_EVERY),
        ]

    def begin(self) -> None:
        """Begin to measure the time of statements."""
        self._database.install_statistics()
        self._database.measure_statements()

    def see_that_all_run(self) -> None:
        """Raise if a process has ended."""
        self._deployment.see_that_all_run()

    def submit(self, request: Mapping[str, Any]) -> None:
        """Post a job."""
        self._client.submit(request)

    def unfinished(self) -> int:
        """Return how many requests have not ended."""
        (row,) = self._database.queue()
        return int(row["unfinished"])

    def stop(self) -> None:
        """Do nothing: all of it is about to end."""

    def collect(self, raw: Path) -> None:
        """Write down what became of jobs, the slowest statements, and what masters measured.

        Masters end before the last: the VM of the last job may be on its way down.
        """
        append(raw / "jobs.jsonl", self._database.jobs())
        append(raw / "statements.jsonl", self._database.statements())
        self._deployment.end()
        for master in self._deployment.masters:
            for kind in OF_MASTERS:
                measured = master.directory / "measured" / f"{kind}.jsonl"
                if measured.exists():
                    shutil.copy(measured, raw / f"{kind}-{master.name}.jsonl")

    def leave(self) -> list[str]:
        """Do nothing: the deployment ends with its jobs."""
        return []
