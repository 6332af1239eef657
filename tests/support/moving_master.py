# SPDX-License-Identifier: GPL-2.0-only
"""Master that only moves a frozen VM between two hosts, as a process that can be killed.

It never gets beyond the step that it is started for: it waits there, and prints that it does.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from forgetful import Forgetful
from lab import STORAGE_POOL
from latent_libvirt.config import HostConfig
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.machine import Machine
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import Owner
from latent_libvirt.host.states.moving.move import Move
from specs import a_spec

BEFORE_IT_RUNS = "thaw"
"""Everything is copied, and the first host knows that the VM may run on the other one."""

BEFORE_IT_IS_DELETED = "delete"
"""The VM is about to run on the other host, and is still on the first one."""


async def _wait(*_arguments: object) -> None:
    sys.stdout.write("waiting\n")
    sys.stdout.flush()
    await Deferred()


async def move(_reactor: Any, master: str, step: str, *uris: str) -> None:
    """Move the frozen VM of the first host to the second one, up to *step*."""
    machines: dict[str, Machine] = {}
    owner = Owner(master, "pool")
    context = PoolContext(
        owner, machines, Forgetful(), lambda: None, reactor, adopt=lambda *_: False
    )
    source, target = map(_started, ("alpha", "beta"), uris, [context] * 2)
    while not (source.usable and target.usable):
        await deferLater(reactor, 0.05, lambda: None)
    (frozen,) = source.frozen
    record = replace(frozen.record, state="held", saved="", moved_to="")
    spec = a_spec(image="remembering", memory="128MiB")
    machine = target.new_machine(MachinePlan(slot=1, record=record, vm=spec))
    if step == BEFORE_IT_RUNS:
        setattr(target.freezing, "thaw", _wait)  # noqa: B010 - mypy would see another type
    setattr(Move, "_delete", _wait)  # noqa: B010
    await target.freezing.move_of(frozen, source).run(machine)
    await Deferred()


def _started(name: str, uri: str, context: PoolContext) -> Host:
    config = HostConfig(uri=uri, slots=2, storage_pool=STORAGE_POOL, accelerator="tcg")
    host = Host(name, config, context)
    host.start()
    return host


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(move(*arguments)), sys.argv[1:])
