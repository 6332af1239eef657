# SPDX-License-Identifier: GPL-2.0-only
"""Plans of VMs: what each is made of, in which slot it goes, and whose it is.

Everything in a plan comes from the configuration. What a build asks for has chosen the label, and
does nothing else. The size is the allocation's. That of the label may have been changed since, and
a VM is never larger than what counts for it.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from latent_libvirt.config.hardware import choice
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.domains.vm_spec import (
    vm_spec,
)
from latent_libvirt.pool.records.rollout.canaries import NEWEST
from latent_libvirt.pool.room.amounts import Size

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.domains.plan import Start
    from latent_libvirt.host.domains.vm_spec import (
        VmSpec,
    )
    from latent_libvirt.host.names import Owner
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.pool.records.rollout.canaries import Choice
    from latent_libvirt.pool.room.allocations import Allocation


def machine_plan(  # noqa: PLR0913 - what the metadata of a domain says
    config: PoolConfig,
    allocation: Allocation,
    *,
    worker: str,
    owner: Owner,
    now: float,
    only_to_save: bool = False,
    choice: Choice = NEWEST,
) -> MachinePlan:
    """Return the plan of a new VM in *allocation*, under an id that no other VM has had.

    :param worker: whose build it is for, empty for one that waits.
    :param now: seconds since the epoch, by the clock that its age will be taken from.
    :param only_to_save: whether it is not to wait for a job.
    :param choice: which version of its image it takes. One on trial boots: what is saved in the
        slot is of the version in use.
    """
    record = VmRecord(
        owner_id=owner.id,
        master=owner.master,
        pool=owner.pool,
        vm_id=secrets.token_hex(8),
        label=allocation.label,
        worker=worker,
        image=config.labels[allocation.label].image,
        since=datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        state="saving" if only_to_save else "job" if worker else "spare",
        spec_hash=_spec_of(config, allocation).hash,
        size=_chosen(config, allocation),
    )
    plan = replace(plan_of(config, allocation, record), version=choice.version)
    return replace(plan, start="boot") if choice.is_trial else plan


def plan_of(config: PoolConfig, allocation: Allocation, record: VmRecord) -> MachinePlan:
    """Return the plan of the VM in *allocation* that *record* is about."""
    label = config.labels[allocation.label]
    start: Start = "save" if record.state == "saving" else label.start
    return MachinePlan(allocation.slot, record, _spec_of(config, allocation), start)


def _chosen(config: PoolConfig, allocation: Allocation) -> str:
    size = allocation.size
    has_choice = config.labels[allocation.label].choice
    return choice.size_text(size.vcpus, size.memory) if has_choice else ""


def size_of(config: PoolConfig, record: VmRecord) -> Size | None:
    """Return the size that a build has chosen for a VM of an earlier master, or ``None`` for none.

    Anyone who may change a domain may write anything there. Only what a build may choose counts.
    """
    label, size = config.labels.get(record.label), choice.parse_size_text(record.size)
    if label is None or size is None or not choice.is_allowed(label, *size):
        return None
    return Size(*size)


def size_of_frozen(config: PoolConfig, vm: FrozenVm) -> Size | None:
    """Return the size that a frozen VM has again once it is thawed, or ``None`` for its label's.

    Neither its label nor what builds may choose need be what they were.
    """
    has_size = vm.vcpus > 0 and vm.memory > 0
    return Size(vm.vcpus, vm.memory) if has_size else size_of(config, vm.record)


def _spec_of(config: PoolConfig, allocation: Allocation) -> VmSpec:
    return vm_spec(
        config, allocation.label, vcpus=allocation.size.vcpus, memory=allocation.size.memory
    )
