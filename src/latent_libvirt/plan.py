# SPDX-License-Identifier: GPL-2.0-only
"""From a label and the place that was taken for it to what the VM is to be, and whose it is.

Everything in a plan comes from the configuration: what a build asks for has chosen the label, and
does nothing else. The size is the place's, not the label's, which may have been changed since: a VM
is never larger than what counts for it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime

from latent_libvirt.capacity import Place
from latent_libvirt.config import LabelConfig, PoolConfig
from latent_libvirt.host.domain_xml import LeaseRecord, Network
from latent_libvirt.host.machine import MachinePlan, Start
from latent_libvirt.host.names import Owner


def machine_plan(
    config: PoolConfig, place: Place, *, worker: str, owner: Owner, only_to_seal: bool = False
) -> MachinePlan:
    """Return the plan of a new VM in *place*, under a lease id that no other VM has had.

    :param worker: whose build it is for; empty for one that waits.
    :param only_to_seal: whether it is not to wait for a job.
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
        state="sealing" if only_to_seal else "job" if worker else "spare",
        made_for=wishes(config, place.label),
    )
    return plan_of(config, place, record)


def plan_of(config: PoolConfig, place: Place, record: LeaseRecord) -> MachinePlan:
    """Return the plan of the VM in *place* that *record* is about."""
    label = config.labels[place.label]
    start: Start = "seal" if record.state == "sealing" else label.start
    return MachinePlan(
        slot=place.slot,
        record=record,
        image=config.image_for(label),
        vcpus=place.size.vcpus,
        memory=place.size.memory,
        disk=label.disk,
        network=network_of(label),
        start=start,
    )


def network_of(label: LabelConfig) -> Network:
    """Return how guests of *label* are connected."""
    return Network(label.network.kind, label.network.source, label.filter)


def wishes(config: PoolConfig, label_name: str) -> str:
    """Return what tells apart labels that ask for different VMs; the other keys do not count.

    A VM that was made for other wishes is none of the label's any more.
    """
    label = config.labels[label_name]
    asked = label.model_dump(mode="json", include={"vcpus", "memory", "disk", "network"})
    if label.network.source is not None:
        asked["filter"] = label.filter
    image = config.image_for(label).model_dump(mode="json")
    text = json.dumps([asked, image], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
