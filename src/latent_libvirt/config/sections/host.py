# SPDX-License-Identifier: GPL-2.0-only
"""A section of ``hosts``: one machine with libvirt and QEMU."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    Strict,
)

from latent_libvirt.config.budgets import budget
from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.addresses import Address, Uri
from latent_libvirt.config.fields.hardware import CpuSets
from latent_libvirt.config.fields.names import LibvirtName
from latent_libvirt.config.fields.numbers import MOST_VMS, Flag, Overcommit, VcpuCount, VmCount
from latent_libvirt.config.fields.sizes import DEFAULT_SAVED_STATE_SPACE, Memory, SavedStateSpace
from latent_libvirt.config.hardware.devices import HostDevices
from latent_libvirt.config.section import Section


class HostConfig(Section):
    """One machine with libvirt and QEMU."""

    uri: Uri = Field(examples=["qemu+ssh://buildbot@alpha/system"])
    """URI by which libvirt connects to the host. No two hosts may have the same."""

    slots: VmCount = Field(examples=[8])
    """Cap on VMs on the host at one time, of all masters that use it. With `0`, no new VM
    starts."""

    max_starting: Annotated[int, Strict(), Field(ge=1, le=MOST_VMS)] | None = Field(
        default=None, examples=[4]
    )
    """Cap on VMs that start at the same time, until they wait for a job. VMs that boot at the same
    time slow each other down, so one per processor is a good first value. Without this key, there
    is no cap."""

    vcpus: VcpuCount | None = Field(default=None, examples=[16])
    """vCPUs that the VMs may have in all, before `vcpu_overcommit`. Without this key, only `slots`
    counts."""

    vcpu_overcommit: Overcommit = Field(default=1.0, examples=[2.0])
    """Factor for `vcpus`, from `0.1` to `100.0`. With `2.0`, VMs may have twice as many."""

    memory: Memory | None = Field(default=None, examples=["64GiB"])
    """Memory that the VMs may have in all, before `memory_overcommit`. Leave some for the host, and
    50 MiB for each QEMU. Without this key, only `slots` counts."""

    memory_overcommit: Overcommit = Field(default=1.0, examples=[1.5])
    """Factor for `memory`, like `vcpu_overcommit`."""

    pinned_cpus: CpuSets = Field(default=(), examples=["['2-3', '4-5']"])
    """CPUs of the host for VMs with `cpu_pinning`, a set for each slot. A VM has the set of its
    slot. All masters that share the host need the same sets. Drain it before you change them."""

    devices: HostDevices = Field(
        default=(), examples=["[{name: gpu, addresses: ['0000:01:00.0']}]"]
    )
    """PCI and USB devices of the host for VMs whose label asks for them. All masters that share the
    host need the same."""

    drain: Flag = Field(default=False, examples=["true"])
    """With `true`, VMs that run there finish, and no new one starts."""

    storage_pool: LibvirtName = Field(examples=["default"])
    """libvirt storage pool for the base images and the overlays of VMs."""

    saved_state_space: SavedStateSpace = Field(
        default=DEFAULT_SAVED_STATE_SPACE,
        examples=["8GiB"],
        json_schema_extra={"default": "20GiB"},
    )
    """Space that saved states may take in the storage pool. Each slot and label needs 150 to 300
    MiB. When the space is used up, the pool deletes the states that were not used for the longest
    time."""

    frozen_space: SavedStateSpace = Field(
        default=DEFAULT_SAVED_STATE_SPACE,
        examples=["100GiB"],
        json_schema_extra={"default": "20GiB"},
    )
    """Space that frozen VMs may take in the storage pool, with their disks. A VM for which not
    enough is left is held in its slot."""

    accelerator: Literal["auto", "kvm", "tcg"] = Field(default="auto", examples=["kvm"])
    """`auto` tries KVM at the first start on the host. If KVM does not work there, it uses
    emulation, and the log says so. `kvm` refuses emulation. `tcg` is emulation, which works
    everywhere and is slow."""

    address: Address | None = Field(default=None, examples=["192.0.2.1"])
    """Host name or IP address of the master, as guests on this host see it. It comes before
    `master.address`. A label's `address` comes before it."""

    @property
    def vcpu_budget(self) -> int | None:
        """Return how many vCPUs may be given out in all; ``None`` without a limit."""
        return None if self.vcpus is None else budget(self.vcpus, self.vcpu_overcommit)

    @property
    def memory_budget(self) -> int | None:
        """Return how many bytes of memory may be given out in all; ``None`` without a limit."""
        return None if self.memory is None else budget(self.memory, self.memory_overcommit)


def _no_default(_: object) -> str:
    raise fault("no two hosts have the same URI", "write it in each host")


class HostDefaults(HostConfig):
    """Keys that all hosts have unless they say otherwise."""

    uri: Annotated[str, BeforeValidator(_no_default)] = Field(default="", exclude=True)
    slots: VmCount = 0
    storage_pool: LibvirtName = ""
