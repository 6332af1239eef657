# SPDX-License-Identifier: GPL-2.0-only
"""Names for a ``master.cfg``: ``Pool.from_yaml(...)``, its workers and their names.

The service itself is in ``service/``, which knows nothing of workers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from buildbot.config.errors import ConfigErrors
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.master.pool_yaml import load_for_buildbot
from latent_libvirt.master.running import running
from latent_libvirt.master.service.pool_service import (
    DEFAULT_NAME,
    PoolService,
)
from latent_libvirt.master.workers import possible
from latent_libvirt.master.workers.possible import PossibleWorker
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from latent_libvirt.pool.vm_pool import no_such_label
from latent_libvirt.upstream.calls import written_like

log = Logger()

_NAME = re.compile(r"\w[\w.-]{0,39}")  # it is part of the name of a socket


class Pool(PoolService):
    """A pool with its workers.

    ::

        pool = Pool.from_yaml("pool.yaml")
        c["services"] = [pool]
        c["workers"] = pool.workers()
        c["prioritizeBuilders"] = pool.prioritize_builders
    """

    @classmethod
    @written_like('Pool.from_yaml("pool.yaml")')
    def from_yaml(cls, path: Any, *, name: Any = DEFAULT_NAME) -> Pool:
        """Return the pool that a YAML file describes (``docs/reference/configuration.md``).

        :param path: relative paths start at the master's base directory.
        :param name: distinguishes several pools of one master.
        :raises ConfigErrors: with all that is wrong with the file.
        """
        if not isinstance(path, str | os.PathLike):
            given = type(path).__name__
            raise ConfigErrors(
                [f"Pool.from_yaml() takes the path of a YAML file, like 'pool.yaml', not a {given}"]
            )
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            wanted = "a text of up to 40 letters, digits, '_', '.' and '-', like 'arm'"
            raise ConfigErrors([f"Pool.from_yaml(): name has to be {wanted}, not {name!r:.60}"])
        config = load_for_buildbot(path)
        return cls(config, path=str(Path(path).absolute()), name=name)

    @written_like("pool.workers()")
    def workers(self) -> list[LibvirtLatentWorker | PossibleWorker]:
        """Return a worker for each VM that each label may have at once.

        Those of a large pool exist once they are of use (``workers/possible.py``).
        """
        names = {label: self.worker_names(label) for label in self.config.labels}
        make = self._maker(sum(map(len, names.values())))
        return [make(name, pool=self.name, label=label) for label in names for name in names[label]]

    def _maker(self, count: int) -> Callable[..., LibvirtLatentWorker | PossibleWorker]:
        """Return what makes each of *count* workers."""
        if possible.are_made_on_demand(count):
            return partial(PossibleWorker, make=LibvirtLatentWorker)
        return LibvirtLatentWorker

    @written_like('pool.worker_names("debian-12")')
    def worker_names(self, label: Any) -> list[str]:
        """Return the names of the workers of *label*, for a builder's ``workernames``.

        A worker whose VM runs right now stays among them when a reconfig lowers ``max_vms``: taking
        it away would end its build. And there is always one, since Buildbot refuses a builder
        without workers: at ``max_vms: 0``, its builds wait.

        :raises ConfigErrors: if there is no such label.
        """
        if not isinstance(label, str):
            wanted = "the name of a label, like 'debian-12'"
            raise ConfigErrors([f"pool.worker_names() takes {wanted}, not {label!r:.60}"])
        if label not in self.config.labels:
            raise ConfigErrors([str(no_such_label(label, self.config))])
        prefix = f"{self.config.master.name}-" if self.config.master.name else ""
        count = max(1, self.config.labels[label].max_vms)
        names = [f"{prefix}{label}-{number}" for number in range(1, count + 1)]
        return names + [name for name in self._still_running(label) if name not in names]

    @written_like('c["prioritizeBuilders"] = pool.prioritize_builders')
    def prioritize_builders(self, _master: Any, builders: list[Any]) -> Any:
        """Let builders take turns (see ``pool/fair_share.py``): for ``c["prioritizeBuilders"]``."""
        pool = running.get(self.name)
        if pool is None:
            return builders
        return Deferred.fromCoroutine(
            pool.order.prioritize(builders, pool.vm_pool.leases.builders())
        )

    def workers_wanted(self) -> None:
        """Make the workers that a larger cap allows, for the builders that use the label already.

        Buildbot learns of them as of any worker, and at the next reconfig finds them in master.cfg.
        """
        names = {label: self.worker_names(label) for label in self.config.labels}
        make = self._maker(sum(map(len, names.values())))
        self._add_workers(
            [
                make(name, pool=self.name, label=label)
                for label in names
                for name in self._new_names(names[label])
            ]
        )

    def _new_names(self, names: list[str]) -> list[str]:
        """Return those of a label's *names* that are new to its builders, which learn of them."""
        known, demand = self.master.workers.namedServices, possible.of(self.master.workers)
        new = [name for name in names if name not in known and name not in demand]
        of_label = set(names)
        builders = [b for b in self._builders() if not of_label.isdisjoint(b.config.workernames)]
        for builder in builders if new else ():
            builder.config.workernames = [*builder.config.workernames, *new]
        return new if builders else []

    def _builders(self) -> list[Any]:
        builders: dict[str, Any] = self.master.botmaster.builders
        return [builder for builder in builders.values() if builder.config is not None]

    def _add_workers(self, workers: Sequence[LibvirtLatentWorker | PossibleWorker]) -> None:
        if later := [worker for worker in workers if isinstance(worker, PossibleWorker)]:
            configured = [builder.config for builder in self._builders()]
            possible.of(self.master.workers).add(later, configured)
        for worker in workers:
            if isinstance(worker, LibvirtLatentWorker):
                added = worker.setServiceParent(self.master.workers)
                in_background(added, f"worker {worker.name} cannot be added")

    def _still_running(self, label: str) -> list[str]:
        service = running.get(self.name)
        return service.workers_with_leases(label) if service is not None else []
