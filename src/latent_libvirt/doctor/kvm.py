# SPDX-License-Identifier: GPL-2.0-only
"""Check that KVM really runs a kernel, and that libvirt quickly knows what QEMU can do.

Both fail where libvirt sees nothing wrong: with a ``/dev/kvm`` that has no hardware behind it, and
with one that QEMU's user cannot open, which makes libvirt look QEMU over again and again (89 s per
start were measured). The probe itself is ``host/kvm/kvm_probe.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from latent_libvirt.doctor.finding import Status, failed, fine, warning
from latent_libvirt.doctor.stopwatch import Stopwatch
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host import inspection
from latent_libvirt.host.kvm import accelerator
from latent_libvirt.host.libvirtd.connection import NO_ANSWER

if TYPE_CHECKING:
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import (
        HostUnderTest,
    )

CHECK = "KVM"
CAPABILITIES = "capabilities"

SLOW_ANSWER = 0.2
"""Seconds. libvirt remembers what QEMU can do, and then needs a few milliseconds; to look QEMU over
it needs 0.6 s or more, and at each start of a VM it does that 19 times (measured, libvirt 9.0)."""

_QUESTIONS = 3

PERMISSION_ADVICE = (
    "Let the user QEMU runs as open /dev/kvm, on the host: chgrp kvm /dev/kvm; chmod 0660 /dev/kvm "
    "(udev does so where it runs), and put that user into the group kvm."
)
HARDWARE_ADVICE = (
    "If it should have KVM: enable virtualisation in its firmware (nested virtualisation, if the "
    "host is itself a VM), load the module kvm_intel or kvm_amd, and let QEMU's user open /dev/kvm."
)


async def capabilities(tested: HostUnderTest) -> list[Finding]:
    """Measure how long libvirt needs to say whether it has KVM, apart from the way there."""
    try:
        answer = await _quickest(tested, accelerator.has_kvm)
        way = await _quickest(tested, inspection.library_version)
    except HostError as error:
        return [failed(CAPABILITIES, error, resolution=PERMISSION_ADVICE)]
    return [answer_time(max(0.0, answer - way))]


async def _quickest(tested: HostUnderTest, question: Callable[[Any], object]) -> float:
    """Return the seconds of the quickest of several answers.

    The first may be slow for good reason, and any because of the machine's load.
    """
    answers = []
    for _ in range(_QUESTIONS):
        taken = Stopwatch()
        await tested.host.connection.call("examine", "say what QEMU can do", question)
        answers.append(taken.seconds)
    return min(answers)


def answer_time(seconds: float) -> Finding:
    """Say what it means that libvirt needed that long."""
    brief = f"libvirt says in {seconds:.2f} s what QEMU can do"
    if seconds < SLOW_ANSWER:
        return fine(CAPABILITIES, brief)
    return warning(
        CAPABILITIES,
        brief,
        details="It looks QEMU over each time, also at each start of a VM, and such a start may "
        "fail because it takes too long. It does that where /dev/kvm is there and the user that "
        "QEMU runs as cannot open it.",
        resolution=PERMISSION_ADVICE,
    )


def explained(found: Finding, capabilities: Finding | None) -> Finding:
    """Return *found*, with slow capabilities as its probable cause if libvirt did not answer.

    :param capabilities: the finding on them; ``None`` if there is none yet.
    """
    if capabilities is None or capabilities.status is Status.FINE or found.status is Status.FINE:
        return found
    if NO_ANSWER not in f"{found.brief}\n{found.details}":
        return found
    cause = f"The probable cause is above, at {CAPABILITIES}: {capabilities.brief}."
    details = f"{found.details}\n{cause}" if found.details else cause
    return replace(found, details=details, resolution=capabilities.resolution)


async def offered(tested: HostUnderTest) -> list[Finding]:
    """Say whether libvirt would start a VM under KVM, without trying."""
    if tested.config.accelerator == "tcg":
        return [_EMULATION_IS_WANTED]
    if await tested.host.connection.call(
        "probe_kvm", "say whether it has KVM", accelerator.has_kvm
    ):
        return [fine(CHECK, "libvirt offers it (not tried)")]
    return [verdict("libvirt finds none", insisted=tested.config.accelerator == "kvm")]


async def works(tested: HostUnderTest, label: str, slot: int) -> list[Finding]:
    """Boot a kernel under KVM, unless the configuration wants emulation.

    :param label: whose image's kernel to boot.
    """
    if tested.config.accelerator == "tcg":
        return [_EMULATION_IS_WANTED]
    machine = tested.machine(label, slot)
    try:
        await machine.prepare()
    finally:
        await tested.host.discard(machine)
    result = tested.probes.result
    defect = "libvirt finds none" if result is None else result.defect
    return [verdict(defect, insisted=tested.config.accelerator == "kvm")]


def verdict(defect: str, *, insisted: bool) -> Finding:
    """Say what a defect of KVM (nothing, if it has none) means.

    :param insisted: whether the configuration allows nothing but KVM.
    """
    if not defect:
        return fine(CHECK, "a 64-bit kernel runs under it")
    denied = "ermission denied" in defect or "Could not access KVM" in defect
    advice = PERMISSION_ADVICE if denied else HARDWARE_ADVICE
    if insisted:
        error = ConfigurationError("KVM does not work, and accelerator is kvm", details=defect)
        return failed(CHECK, error, resolution=f"{advice} Else: accelerator: auto.")
    brief = "KVM does not work: VMs are emulated, some ten times slower"
    silence = "To be content with that: accelerator: tcg."
    return warning(CHECK, brief, details=defect, resolution=f"{advice} {silence}")


_EMULATION_IS_WANTED = fine(CHECK, "not used: accelerator is tcg")
