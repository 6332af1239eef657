# SPDX-License-Identifier: GPL-2.0-only
"""From a label and the place that was taken for it to what the VM is to be, and whose it is.

Everything in a plan comes from the configuration: what a build asks for has chosen the label, and
does nothing else. The size is the place's, not the label's, which may have been changed since: a VM
is never larger than what counts for it.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from latent_libvirt.capacity import Place
from latent_libvirt.config import PoolConfig
from latent_libvirt.host.domain_xml import LeaseRecord, Network
from latent_libvirt.host.machine import MachinePlan
from latent_libvirt.host.names import Owner


def machine_plan(config: PoolConfig, place: Place, *, worker: str, owner: Owner) -> MachinePlan:
    """Return the plan of a new VM in *place*, under a lease id that no other VM has had."""
    label = config.labels[place.label]
    record = LeaseRecord(
        owner_id=owner.id,
        master=owner.master,
        pool=owner.pool,
        lease=secrets.token_hex(8),
        label=place.label,
        worker=worker,
        image=label.image,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return MachinePlan(
        slot=place.slot,
        record=record,
        image=config.image_for(label),
        vcpus=place.size.vcpus,
        memory=place.size.memory,
        disk=label.disk,
        network=Network(label.network.kind, label.network.source),
    )
