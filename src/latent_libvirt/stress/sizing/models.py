# SPDX-License-Identifier: GPL-2.0-only
"""Model of a load file: each key with its type, its bounds, its meaning and an example.

``latent-libvirt plan`` has an option for each key.
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, Strict, model_validator

from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.fields.numbers import DEFAULT_VCPUS, Overcommit, VcpuCount
from latent_libvirt.config.fields.sizes import DEFAULT_MEMORY, DiskSize, Memory
from latent_libvirt.config.fields.times import LongTime
from latent_libvirt.config.section import Section
from latent_libvirt.config.units import GIB, format_size
from latent_libvirt.stress.arrivals import DAY
from latent_libvirt.stress.simulation.times import Start
from latent_libvirt.stress.sizing.waiting import MOST_BUSY

PEAK: Final = round(max(DAY) * len(DAY) / sum(DAY), 2)
"""The busiest hour of a day as the stress harness has it, in hours of the average."""

VM_OVERHEAD: Final = 64 * 2**20
"""Bytes of memory that QEMU takes beside the guest's."""

Number = Annotated[float, Written("number")]
Count = Annotated[int, Strict()]


class Load(Section):
    """A load, and the machines that are to carry it."""

    jobs_per_hour: Annotated[Number, Field(ge=0.01, le=1e7)] = Field(examples=[600])
    """Jobs in an hour, on average over a day. A job that triggers others counts once for each."""

    job_time: LongTime = Field(examples=["10m"])
    """Time that a job runs, without the start of its VM."""

    peak: Annotated[Number, Field(ge=1.0, le=1000.0)] = Field(default=PEAK, examples=[3])
    """Jobs in the busiest hour, as a factor of the average. The default is that of a working day.
    With `1`, `jobs_per_hour` is the busiest hour."""

    lines: Annotated[Number, Field(ge=0, le=1e7)] = Field(default=1000, examples=[20000])
    """Lines that a job logs."""

    readers: Annotated[Count, Field(ge=0, le=100_000)] = Field(default=10, examples=[50])
    """Number of people and programs that use the web at the same time."""

    read_every: Annotated[Number, Field(ge=0.1, le=86400.0)] = Field(default=10.0, examples=[1.0])
    """Seconds between two requests of a reader."""

    start: Start = Field(default="resumed", examples=["booted"])
    """Kind of start of the VMs."""

    vm_vcpus: VcpuCount = Field(default=DEFAULT_VCPUS, examples=[2])
    """vCPUs of a VM."""

    vm_memory: Memory = Field(
        default=DEFAULT_MEMORY, examples=["4GiB"], json_schema_extra={"default": "512MiB"}
    )
    """Memory of a VM."""

    vm_disk: DiskSize = Field(
        default=2 * GIB, examples=["10GiB"], json_schema_extra={"default": "2GiB"}
    )
    """Space that a VM takes in its host's storage pool while it runs, with its saved state."""

    host_vcpus: VcpuCount = Field(default=32, examples=[64])
    """Processors of a host."""

    vcpu_overcommit: Overcommit = Field(default=1.0, examples=[2.0])
    """vCPUs that VMs may have for each processor of their host."""

    host_memory: Memory = Field(
        default=128 * GIB, examples=["256GiB"], json_schema_extra={"default": "128GiB"}
    )
    """Memory of a host that VMs may have."""

    host_disk: DiskSize = Field(
        default=1024 * GIB, examples=["2TiB"], json_schema_extra={"default": "1TiB"}
    )
    """Space of a host's storage pool that VMs may have."""

    wait: LongTime = Field(default=30.0, examples=["5s"], json_schema_extra={"default": "30s"})
    """Time that 95 of 100 jobs may wait for a slot at most, in the busiest hour."""

    rebuild: Annotated[Count, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, examples=[2000]
    )
    """Jobs of a mass rebuild, which all come at once in the busiest hour. The answer has the time
    until the last one ends. It adds nothing to what is needed."""

    slots: Annotated[Count, Field(ge=1, le=2 * MOST_BUSY)] | None = Field(
        default=None, examples=[200]
    )
    """Slots that there are. Without this key, there are as many as `wait` needs."""

    busy: Annotated[Number, Field(ge=0.1, le=0.95)] = Field(default=0.6, examples=[0.5])
    """Share of a core that a master may use in the busiest hour. A master is one thread. Above
    this, its answers are late more and more."""

    database_busy: Annotated[Number, Field(ge=0.1, le=0.95)] = Field(default=0.7, examples=[0.5])
    """Share of the database's cores that may be used in the busiest hour."""

    cores: Annotated[Count, Field(ge=1, le=1024)] | None = Field(default=None, examples=[4])
    """Processors of the machine that has all masters, the router and the database. Without this
    key, each is taken to have the processors that it needs."""

    @property
    def slots_of_a_host(self) -> int:
        """How many VMs fit on a host."""
        return int(
            min(
                self.host_vcpus * self.vcpu_overcommit / self.vm_vcpus,
                self.host_memory / (self.vm_memory + VM_OVERHEAD),
                self.host_disk / self.vm_disk,
            )
        )

    @model_validator(mode="after")
    def _a_vm_fits(self) -> Self:
        if self.slots_of_a_host < 1:
            what = (
                f"a VM with {self.vm_vcpus} vCPUs, {format_size(self.vm_memory)} and a disk of "
                f"{format_size(self.vm_disk)} does not fit on a host"
            )
            raise fault(what, "give hosts more, or VMs less")
        return self

    @model_validator(mode="after")
    def _in_reach(self) -> Self:
        busy = self.jobs_per_hour * self.peak * self.job_time / 3600
        if busy > MOST_BUSY:
            what = f"these jobs take {busy:,.0f} slots at a time, which is out of reach"
            raise fault(what, f"write fewer or shorter jobs, for at most {MOST_BUSY:,}")
        return self
