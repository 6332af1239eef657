# SPDX-License-Identifier: GPL-2.0-only
"""Plans of VMs: what each is made of, in which place it goes, and whose it is.

Everything in a plan comes from the configuration: what a build asks for has chosen the label, and
does nothing else. The size is the place's, not the label's, which may have been changed since: a VM
is never larger than what counts for it.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from latent_libvirt.host.domains.domain_xml import LeaseRecord
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.vm_spec import (
    vm_spec,
)

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.domains.plan import Start
    from latent_libvirt.host.domains.vm_spec import (
        VmSpec,
    )
    from latent_libvirt.host.names import Owner
    from latent_libvirt.pool.capacity import Allocation


def machine_plan(
    config: PoolConfig, place: Allocation, *, worker: str, owner: Owner, only_to_save: bool = False
) -> MachinePlan:
    """Return the plan of a new VM in *place*, under a lease id that no other VM has had.

    :param worker: whose build it is for; empty for one that waits.
    :param only_to_save: whether it is not to wait for a job.
    """
    record = LeaseRecord(
        owner_id=owner.id,
        master=owner.master,
        pool=owner.pool,
        lease=secrets.token_hex(8),
        label=place.label,
        worker=worker,
        image=config.labels[place.label].image,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        state="saving" if only_to_save else "job" if worker else "spare",
        spec_hash=_spec_of(config, place).hash,
    )
    return plan_of(config, place, record)


def plan_of(config: PoolConfig, place: Allocation, record: LeaseRecord) -> MachinePlan:
    """Return the plan of the VM in *place* that *record* is about."""
    label = config.labels[place.label]
    start: Start = "save" if record.state == "saving" else label.start
    return MachinePlan(place.slot, record, _spec_of(config, place), start)


def _spec_of(config: PoolConfig, place: Allocation) -> VmSpec:
    return vm_spec(config, place.label, vcpus=place.size.vcpus, memory=place.size.memory)
