# SPDX-License-Identifier: GPL-2.0-only
"""Builders of a stressed master: one runs simulated work, one triggers children besides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from buildbot.plugins import schedulers, steps, util

from latent_libvirt.stress.shapes import CHILDREN, MOST_CHILDREN, PARENT, WORK


@util.renderer
def _command(properties: Any) -> list[str]:
    work = {name: properties.getProperty(name) for name in ("lines", "seconds", "exit_status")}
    return [
        "simulate",
        json.dumps({key: value for key, value in work.items() if value is not None}),
    ]


def _work() -> Any:
    return steps.ShellCommand(name="work", command=_command)


class _Children(steps.Trigger):
    """Triggers as many of its schedulers as the build's property says."""

    def getSchedulersAndProperties(self) -> list[dict[str, Any]]:  # noqa: N802 - Buildbot's
        """Return those that are to be triggered."""
        chosen: list[dict[str, Any]] = super().getSchedulersAndProperties()
        return chosen[: self.build.getProperty(CHILDREN, 0)]


def _children(name: str) -> _Children:
    return _Children(name="children", schedulerNames=_names(name), waitForFinish=True)


def _names(name: str) -> list[str]:
    return [f"{name}-{number}" for number in range(MOST_CHILDREN)]


def builders(workers: Sequence[str], name: str) -> list[Any]:
    """Return the builders.

    :param workers: the names of those that may run their builds.
    :param name: of the master, whose builds trigger children on that master.
    """
    common = {"workernames": list(workers), "collapseRequests": False}
    return [
        util.BuilderConfig(name=WORK, factory=util.BuildFactory([_work()]), **common),
        util.BuilderConfig(
            name=PARENT, factory=util.BuildFactory([_work(), _children(name)]), **common
        ),
    ]


def triggers(name: str) -> list[Any]:
    """Return the schedulers by which builds of the master trigger children."""
    return [schedulers.Triggerable(name=each, builderNames=[WORK]) for each in _names(name)]
