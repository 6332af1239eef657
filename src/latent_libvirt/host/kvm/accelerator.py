# SPDX-License-Identifier: GPL-2.0-only
"""The accelerator of a host: KVM if it really works, which booting something 64-bit finds out once.

libvirt's capabilities only say that ``/dev/kvm`` is there. On a cloud VM it may be there and
useless: the BIOS runs, then a 64-bit kernel spins for ever. The
caller runs the probe's domain; here is when to run it and what to remember.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import libvirt
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.host.domains.hardware_xml import DomainType
    from latent_libvirt.host.libvirtd.connection import Connection

log = Logger()

_NEVER: Final = float("inf")


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    :param defect: why KVM does not work; empty if it does.
    :param at: when the probe ended, seconds since the epoch; 0 if nothing could be started. Then
        it says little of KVM, and is not believed later.
    """

    defect: str
    at: float


@dataclass(frozen=True)
class Verdict:
    """What a probe has to say.

    :param defect: why KVM does not work; empty if it does.
    :param was_tried: whether a domain was started under KVM.
    """

    defect: str
    was_tried: bool = True


Probe = Callable[[], Awaitable[Verdict]]
"""Boots something 64-bit under KVM."""

TRY_AGAIN_AFTER = 600.0
"""Seconds until a probe is repeated that could not be started: for want of memory, or of an image
with a kernel, or since QEMU may not open ``/dev/kvm``. All of that may change without a reboot."""


class ProbeMemory(Protocol):
    """Where results of probes are kept between starts of the master."""

    async def load(self, host_uuid: str) -> ProbeResult | None:
        """Return the last result for that host, whenever it was."""

    async def save(self, host_uuid: str, result: ProbeResult) -> None:
        """Keep *result* in place of the last one."""


class Accelerator:
    """Decides between KVM and emulation for one host."""

    def __init__(
        self,
        setting: Literal["auto", "kvm", "tcg"],
        *,
        connection: Connection,
        memory: ProbeMemory,
        reactor: Any,
    ) -> None:
        self._setting = setting
        self._connection = connection
        self._memory = memory
        self._reactor = reactor
        self._one_at_a_time = DeferredLock()
        self._decision: DomainType | None = None
        self._decide_again_at = _NEVER

    def forget(self) -> None:
        """Decide again at the next start: the host may have been booted in the meantime."""
        self._decision = None

    async def domain_type(self, host_uuid: str, probe: Probe, *, foreign: str = "") -> DomainType:
        """Return the type that domains of this host should have.

        :param probe: called at most once per boot of the host.
        :param foreign: the architecture of the guest, if it is not the host's.
        :raises ConfigurationError: if the guest has to be emulated, and must not be.
        """
        if foreign:
            return self._emulated(foreign)
        if self._setting != "auto":
            return "kvm" if self._setting == "kvm" else "qemu"
        async with self._one_at_a_time:
            if self._decision is None or passed(self._reactor) >= self._decide_again_at:
                self._decide_again_at = _NEVER
                defect = await self._defect_of_kvm(host_uuid, probe)
                self._decision = "qemu" if defect else "kvm"
                self._announce(defect)
            return self._decision

    def _emulated(self, arch: str) -> DomainType:
        if self._setting == "kvm":
            raise ConfigurationError(
                f"host {self._connection.host} has no KVM for {arch}, and its accelerator is kvm",
                resolution="Write accelerator: auto, or name other hosts in the label's hosts.",
            )
        return "qemu"

    async def _defect_of_kvm(self, host_uuid: str, probe: Probe) -> str:
        if not await self._connection.call("probe_kvm", "say whether it has KVM", has_kvm):
            return "libvirt finds none"
        last = await self._memory.load(host_uuid)
        booted_at = await self._connection.call(
            "probe_kvm", "say since when it is up", latest_boot_time
        )
        if last is not None and booted_at < last.at:
            return last.defect
        verdict = await probe()
        if not verdict.was_tried:
            self._decide_again_at = passed(self._reactor) + TRY_AGAIN_AFTER
        result = ProbeResult(verdict.defect, time.time() if verdict.was_tried else 0.0)
        await self._memory.save(host_uuid, result)
        return result.defect

    def _announce(self, defect: str) -> None:
        if defect:
            log.warn(_NO_KVM, host=self._connection.host, defect=defect)
        else:
            log.info("host {host}: KVM works", host=self._connection.host)


_NO_KVM = (
    "host {host}: NO WORKING KVM ({defect}). Its VMs run under emulation (TCG), some ten times "
    "slower. If it should have KVM: enable virtualisation (nested, if the host is itself a VM), "
    "load the kvm_intel or kvm_amd module, and let QEMU's user open /dev/kvm."
)


def has_kvm(connection: libvirt.virConnect) -> bool:
    """Whether libvirt would start a KVM domain there; not whether that would run. Blocks.

    :raises libvirt.libvirtError: if it cannot say.
    """
    try:
        connection.getDomainCapabilities(None, None, None, "kvm")
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NO or not connection.isAlive():
            raise
        return False
    return True


_NO = (
    libvirt.VIR_ERR_INVALID_ARG,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_INTERNAL_ERROR,
)


def latest_boot_time(connection: libvirt.virConnect) -> float:
    """Return a time (seconds since the epoch) at or before which the host was booted. Blocks.

    libvirt has no boot time, but how long the host's CPUs have been in each state since then.
    Time stolen from them is not in it, so the result may be too late but never too early: a probe
    older than it may be repeated for nothing, but one made before a reboot is never believed.
    Where libvirt cannot tell even that, the time is now.
    """
    try:
        in_each_state = connection.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS).values()
        cpus = int(connection.getInfo()[2])
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NO or not connection.isAlive():
            raise
        return time.time()
    # A host that counts no CPUs says nothing of each.
    return time.time() - float(sum(in_each_state)) / 1e9 / cpus if cpus > 0 else time.time()
