# SPDX-License-Identifier: GPL-2.0-only
"""What pools say of themselves, for tests of those who read it."""

from __future__ import annotations

from latent_libvirt.status.hosts import Density, HostStatus, SavedStateStatus, Usage
from latent_libvirt.status.names import BuildRef
from latent_libvirt.status.pool import LabelStatus, PoolStatus
from latent_libvirt.status.queue import QueueStatus
from latent_libvirt.status.vms import LeaseStatus

PHASES = ("prepare", "clone", "boot", "assign", "attach", "build", "tear-down")


def host(name: str = "alpha", *, slots: int = 4, used: int = 0) -> HostStatus:
    """Return a host on which all is well."""
    return HostStatus(
        name=name,
        usable=True,
        trouble="",
        drained=False,
        slots=slots,
        used=used,
        blocked=(),
        connected=True,
        saved=(SavedStateStatus(1, "debian-12", 2**28),),
        saved_state_space=Usage(2**28, 20 * 2**30),
        density=Density(2, 2**29, 8 * 2**30, 2**27),
    )


def label(
    name: str = "debian-12",
    *,
    max_vms: int = 3,
    used: int = 0,
    vcpus: int = 1,
    memory: int = 2**30,
) -> LabelStatus:
    """Return a label that may run on alpha."""
    return LabelStatus(
        name=name,
        drained=False,
        max_vms=max_vms,
        used=used,
        hosts=("alpha",),
        room=True,
        vcpus=vcpus,
        memory=memory,
    )


def lease(
    *,
    phase: str = "build",
    seconds_in_phase: float = 1.0,
    seconds: float = 2.0,
    label: str = "debian-12",
    host: str = "alpha",
    slot: int = 1,
    job: BuildRef | None = None,
) -> LeaseStatus:
    """Return a VM that is as it should be."""
    return LeaseStatus(
        worker=f"{label}-{slot}",
        label=label,
        host=host,
        slot=slot,
        domain=f"latent-libvirt-{slot}",
        vm_id="aa",
        image="bb",
        phase=phase,
        seconds_in_phase=seconds_in_phase,
        seconds=seconds,
        failure="",
        job=job,
    )


def pool(
    *,
    hosts: tuple[HostStatus, ...] = (),
    labels: tuple[LabelStatus, ...] = (),
    leases: tuple[LeaseStatus, ...] = (),
    waiting: tuple[QueueStatus, ...] | None = (),
) -> PoolStatus:
    """Return a pool of these things."""
    return PoolStatus(
        master="m:/srv/master",
        name="pool",
        max_vms=9,
        used=len(leases),
        refused="",
        hosts=hosts,
        labels=labels,
        leases=leases,
        waiting=waiting,
        generation=1,
        loaded_at=1000.0,
    )


def large_pool(*, hosts: int = 20, labels: int = 100, vms: int = 200) -> PoolStatus:
    """Return a pool as large as they get."""
    return pool(
        hosts=tuple(host(f"host-{n}", slots=20, used=10) for n in range(hosts)),
        labels=tuple(label(f"label-{n}", used=2) for n in range(labels)),
        leases=tuple(
            lease(
                phase=PHASES[n % len(PHASES)],
                label=f"label-{n % labels}",
                host=f"host-{n % hosts}",
                slot=n,
            )
            for n in range(vms)
        ),
        waiting=tuple(QueueStatus(f"label-{n}", 250, 60.0) for n in range(labels)),
    )
