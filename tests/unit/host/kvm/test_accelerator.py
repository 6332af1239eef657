# SPDX-License-Identifier: GPL-2.0-only
"""Which of libvirt's errors mean that a host has no KVM, and for how long that is believed.

libvirt is a fake: no host can be brought to refuse each of these calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import libvirt
import pytest
import pytest_twisted
from twisted.internet.task import Clock

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.kvm.accelerator import (
    TRY_AGAIN_AFTER,
    Accelerator,
    ProbeResult,
    Verdict,
)


class Error(libvirt.libvirtError):  # type: ignore[misc]
    """An error of libvirt's with this code."""

    def __init__(self, code: int) -> None:
        self.err = (code, 0, "why", 0, "", "", "", 0, 0)


class Hypervisor:
    """What libvirt answers, and the connection to it.

    :ivar errors: by the name of the call.
    """

    host = "alpha"

    def __init__(self, **errors: int) -> None:
        self.errors = errors
        self.alive = True

    async def call(self, _operation: str, _what: str, function: Callable[..., Any]) -> Any:
        return function(self)

    def isAlive(self) -> bool:  # noqa: N802 - libvirt's
        return self.alive

    def getDomainCapabilities(self, *_of_what: object) -> str:  # noqa: N802
        self._refuse("getDomainCapabilities")
        return "<domainCapabilities/>"

    def getCPUStats(self, _cpus: int) -> dict[str, int]:  # noqa: N802
        self._refuse("getCPUStats")
        return {"idle": 10**15}

    def getInfo(self) -> list[Any]:  # noqa: N802
        return ["x86_64", 1024, 1]

    def _refuse(self, call: str) -> None:
        if call in self.errors:
            raise Error(self.errors[call])


class Memory:
    """Remembers the last probe."""

    def __init__(self) -> None:
        self.result: ProbeResult | None = None

    async def load(self, _host_uuid: str) -> ProbeResult | None:
        return self.result

    async def save(self, _host_uuid: str, result: ProbeResult) -> None:
        self.result = result


class Probe:
    """A probe that finds this.

    :ivar runs: how often it ran.
    """

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.runs = 0

    async def __call__(self) -> Verdict:
        self.runs += 1
        return self.verdict


def accelerator(hypervisor: Any, memory: Memory, clock: Clock | None = None) -> Accelerator:
    return Accelerator("auto", connection=hypervisor, memory=memory, reactor=clock or Clock())


@pytest.mark.parametrize(
    "code",
    [
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_NO_MEMORY,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        libvirt.VIR_ERR_ACCESS_DENIED,
        libvirt.VIR_ERR_NO_CONNECT,
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_host_that_cannot_say_whether_it_has_kvm_is_not_one_without(code: int) -> None:
    hypervisor = Hypervisor(getDomainCapabilities=code)
    asked = accelerator(hypervisor, Memory())
    probe = Probe(Verdict(""))

    with pytest.raises(libvirt.libvirtError):
        await asked.domain_type("uuid", probe)
    hypervisor.errors.clear()

    assert await asked.domain_type("uuid", probe) == "kvm"


@pytest.mark.parametrize("code", [libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_INTERNAL_ERROR])
@pytest_twisted.ensureDeferred
async def test_a_host_whose_libvirt_knows_no_kvm_emulates(code: int) -> None:
    hypervisor = Hypervisor(getDomainCapabilities=code)
    probe = Probe(Verdict(""))

    assert await accelerator(hypervisor, Memory()).domain_type("uuid", probe) == "qemu"
    assert probe.runs == 0
    hypervisor.alive = False
    with pytest.raises(libvirt.libvirtError):
        await accelerator(hypervisor, Memory()).domain_type("uuid", probe)


@pytest_twisted.ensureDeferred
async def test_a_host_that_does_not_know_how_long_it_is_up_is_tried_again() -> None:
    hypervisor, memory = Hypervisor(getCPUStats=libvirt.VIR_ERR_NO_SUPPORT), Memory()
    probe = Probe(Verdict(""))

    for _ in range(2):
        assert await accelerator(hypervisor, memory).domain_type("uuid", probe) == "kvm"

    assert probe.runs == 2


@pytest.mark.parametrize("cpus", [0, -1])
@pytest_twisted.ensureDeferred
async def test_a_host_that_counts_no_cpus_is_tried_again(cpus: int) -> None:
    class NoCpus(Hypervisor):
        def getInfo(self) -> list[Any]:  # noqa: N802
            return ["x86_64", 1024, cpus]

    hypervisor, memory, probe = NoCpus(), Memory(), Probe(Verdict(""))

    for _ in range(2):
        assert await accelerator(hypervisor, memory).domain_type("uuid", probe) == "kvm"

    assert probe.runs == 2


@pytest_twisted.ensureDeferred
async def test_a_probe_that_could_not_be_started_is_repeated_and_not_remembered() -> None:
    clock, memory = Clock(), Memory()
    probe = Probe(Verdict("Cannot allocate memory", was_tried=False))
    asked = accelerator(Hypervisor(), memory, clock)

    for _ in range(3):
        assert await asked.domain_type("uuid", probe) == "qemu"
    assert probe.runs == 1
    probe.verdict = Verdict("")
    clock.advance(TRY_AGAIN_AFTER)

    assert await asked.domain_type("uuid", probe) == "kvm"
    assert await accelerator(Hypervisor(), memory).domain_type("uuid", probe) == "kvm"
    assert probe.runs == 2


@pytest_twisted.ensureDeferred
async def test_a_start_of_the_master_believes_no_probe_that_could_not_be_started() -> None:
    memory = Memory()
    await accelerator(Hypervisor(), memory).domain_type("uuid", Probe(Verdict("no", False)))
    probe = Probe(Verdict(""))

    assert await accelerator(Hypervisor(), memory).domain_type("uuid", probe) == "kvm"


@pytest_twisted.ensureDeferred
async def test_a_kernel_that_did_not_run_is_remembered() -> None:
    memory = Memory()
    await accelerator(Hypervisor(), memory).domain_type("uuid", Probe(Verdict("did not run")))
    probe = Probe(Verdict(""))

    assert await accelerator(Hypervisor(), memory).domain_type("uuid", probe) == "qemu"
    assert probe.runs == 0


@pytest_twisted.ensureDeferred
async def test_a_guest_of_another_architecture_is_emulated_and_says_nothing_of_kvm() -> None:
    probe, memory = Probe(Verdict("")), Memory()
    connection: Any = Hypervisor()

    asked = accelerator(connection, memory)
    assert await asked.domain_type("uuid", probe, foreign="aarch64") == "qemu"
    assert (probe.runs, memory.result) == (0, None)

    strict = Accelerator("kvm", connection=connection, memory=memory, reactor=Clock())
    with pytest.raises(ConfigurationError, match="has no KVM for aarch64"):
        await strict.domain_type("uuid", probe, foreign="aarch64")
