# SPDX-License-Identifier: GPL-2.0-only
"""Builders of a stressed master: one runs a shape's work, one triggers children besides.

The ``master.cfg`` of a deployment that runs already can have them, too::

    from latent_libvirt.stress.in_master import builders as stress

    c["builders"] += stress.builders(pool.worker_names("debian-12"), "this-master")
    c["schedulers"] += stress.triggers("this-master")
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from buildbot.plugins import schedulers, steps, util

from latent_libvirt.stress.shapes import CHILDREN, MOST_CHILDREN, PARENT, WORK
from latent_libvirt.stress.simulation.work import Work

SCRIPT: Final = 'seq -f "line %.0f of a stress build" 1 "$1"; sleep "$2"; exit "$3"'
"""The work in a real VM, for any POSIX shell with coreutils. All lines come first."""


@util.renderer
def _simulated(properties: Any) -> list[str]:
    return ["simulate", json.dumps(_work_of(properties))]


@util.renderer
def _real(properties: Any) -> list[str]:
    work = Work(**_work_of(properties))
    return ["sh", "-c", SCRIPT, "stress", *map(str, (work.lines, work.seconds, work.exit_status))]


def _work_of(properties: Any) -> dict[str, Any]:
    work = {name: properties.getProperty(name) for name in ("lines", "seconds", "exit_status")}
    return {name: value for name, value in work.items() if value is not None}


def _work(*, simulated: bool) -> Any:
    return steps.ShellCommand(name="work", command=_simulated if simulated else _real)


class _Children(steps.Trigger):
    """Triggers as many of its schedulers as the build's property says."""

    def getSchedulersAndProperties(self) -> list[dict[str, Any]]:  # noqa: N802 - Buildbot's
        """Return those that are to be triggered."""
        chosen: list[dict[str, Any]] = super().getSchedulersAndProperties()
        return chosen[: self.build.getProperty(CHILDREN, 0)]


def _children(name: str) -> _Children:
    return _Children(name="children", schedulerNames=_names(name), waitForFinish=True)


def _names(name: str) -> list[str]:
    return [f"stress-{name}-{number}" for number in range(MOST_CHILDREN)]


def builders(workers: Sequence[str], name: str, *, simulated: bool = False) -> list[Any]:
    """Return the builders.

    :param workers: the names of those that may run their builds.
    :param name: of the master, whose builds trigger children on that master.
    :param simulated: whether the workers are those of simulated VMs.
    """
    work = _work(simulated=simulated)
    common = {"workernames": list(workers), "collapseRequests": False}
    return [
        util.BuilderConfig(name=WORK, factory=util.BuildFactory([work]), **common),
        util.BuilderConfig(
            name=PARENT, factory=util.BuildFactory([work, _children(name)]), **common
        ),
    ]


def triggers(name: str) -> list[Any]:
    """Return the schedulers by which builds of the master trigger children."""
    return [schedulers.Triggerable(name=each, builderNames=[WORK]) for each in _names(name)]
