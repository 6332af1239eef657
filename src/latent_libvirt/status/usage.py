# SPDX-License-Identifier: GPL-2.0-only
"""Usage: what builds have used of their VMs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BuildUsage:
    """What a build has used of its VM, as it is stored with the build.

    :param vcpus: that the VM had.
    :param memory: that the VM had, in bytes.
    :param seconds: for which the build had them.
    :param cpu_seconds: of processor time, with that of the VM's start.
    :param peak_cpus: the most that were busy at once, on average of half a minute, 0 if unknown.
    :param peak_memory: the most bytes that the VM's process had in memory.
    :param read: bytes from disks.
    :param written: bytes to disks.
    :param received: bytes from networks, where libvirt counts them.
    :param sent: bytes to networks, likewise.
    :param vm_id: of the VM, which may have served more builds.
    """

    label: str
    host: str
    vcpus: int
    memory: int
    seconds: float
    cpu_seconds: float
    peak_cpus: float
    peak_memory: int
    read: int
    written: int
    received: int
    sent: int
    vm_id: str = ""


@dataclass(frozen=True)
class UsageSum:
    """What several builds have used together.

    :param name: what they have in common.
    :param vcpu_seconds: for which they had vCPUs.
    :param memory_seconds: bytes of memory that they had, times seconds.
    :param peak_memory: the most that one of them needed.
    """

    name: str
    builds: int
    seconds: float
    vcpu_seconds: float
    cpu_seconds: float
    memory_seconds: float
    peak_memory: int
    read: int
    written: int
    received: int
    sent: int


@dataclass(frozen=True)
class UsageReport:
    """What builds have used, and what follows from it.

    :param sums: the largest first.
    :param advice: which labels are too large, in a sentence each.
    """

    sums: tuple[UsageSum, ...]
    advice: tuple[str, ...]
