# SPDX-License-Identifier: GPL-2.0-only
"""What is stored of a build is its own, although the next one may have begun."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from latent_libvirt.host.meters.usage import Meter, Reading
from latent_libvirt.master.workers.leased_vm import LeasedVm


class Master:
    """A master: what is stored with its builds, by their ids."""

    def __init__(self) -> None:
        self.reactor = Clock()
        self.stored: dict[int, Any] = {}
        self.data = SimpleNamespace(
            updates=SimpleNamespace(setBuildData=self._set, setBuildProperties=self._nothing)
        )

    async def _set(self, build: int, _name: str, value: bytes, _source: str) -> None:
        self.stored[build] = json.loads(value)

    async def _nothing(self, *_arguments: object) -> None:
        pass


def build(number: int) -> Any:
    async def url() -> str:
        return ""

    return SimpleNamespace(
        buildid=number,
        number=number,
        builder=SimpleNamespace(name="check"),
        requests=[],
        setProperty=lambda *_: None,
        getUrl=url,
        finished=True,
    )


def test_a_build_is_charged_for_its_own_time_although_the_vm_serves_another_one() -> None:
    master, measured, meter = Master(), Deferred[None](), Meter()
    meter.note(Reading(1.0, cpu=7.0))
    machine = SimpleNamespace(measure=lambda: measured, meter=meter)
    allocation = SimpleNamespace(label="one", size=SimpleNamespace(vcpus=1, memory=1))
    leased = SimpleNamespace(
        vm_id="aa",
        machine=machine,
        allocation=allocation,
        host=SimpleNamespace(name="alpha"),
        fetched=None,
    )
    lease: Any = SimpleNamespace(
        vm=leased, is_silent=False, properties={}, serve_again=lambda _requests: None
    )
    worker: Any = SimpleNamespace(name="worker", master=master)
    vm = LeasedVm(lease, SimpleNamespace(), worker)  # type: ignore[arg-type]
    vm.serve_again(build(1))
    master.reactor.advance(60.0)

    Deferred.fromCoroutine(vm.count())
    vm.serve_again(build(2))
    master.reactor.advance(5.0)
    measured.callback(None)

    assert master.stored[1]["seconds"] == 60.0
    assert master.stored[1]["cpu_seconds"] == 7.0
