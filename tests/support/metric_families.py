# SPDX-License-Identifier: GPL-2.0-only
"""All metrics that there are, each with its type, its labels and the names of its series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prometheus_client import Metric

import statuses
from latent_libvirt.config import PoolConfig
from latent_libvirt.errors import HostError
from latent_libvirt.metrics.collector import PoolCollector
from latent_libvirt.metrics.instruments import Instruments
from latent_libvirt.pool.lease import LeaseReport
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.status.queue import QueueStatus

_SUFFIXES: Final = {"counter": "_total"}

CONFIG: Final = PoolConfig.model_validate(
    {
        "master": {"max_vms": 3},
        "hosts": {"alpha": {"uri": "qemu:///system", "slots": 4, "storage_pool": "builds"}},
        "labels": {"debian-12": {"image": "debian-12"}},
    }
)

PLACE: Final = Allocation("debian-12", "alpha", 1, Size())

REPORT: Final = LeaseReport(
    vm_id="aa",
    label="debian-12",
    worker="debian-12-1",
    host="alpha",
    domain="latent-libvirt-1",
    image="bb",
    failure="",
    phases={"clone": 1.0, "boot": 8.0, "attach": 2.0, "build": 100.0, "tear-down": 0.5},
)


@dataclass(frozen=True)
class Family:
    """A metric.

    :param labels: without those that Prometheus' format gives a meaning.
    """

    name: str
    type: str
    labels: frozenset[str]
    series: frozenset[str]


def everything_happened() -> Instruments:
    """Return instruments on which each event has been told once."""
    instruments = Instruments("pool")
    instruments.configured(CONFIG)
    instruments.vm_started(PLACE)
    instruments.vm_is_up(PLACE, {"boot": 8.0})
    instruments.vm_failed(PLACE, HostError("no answer"))
    instruments.trial_ended(image="debian-12", accepted=True)
    instruments.lease_began(REPORT, seconds=11.0)
    instruments.lease_ended(REPORT)
    instruments.vm_ended(PLACE, {"tear-down": 0.5})
    for was_ready in (True, False):
        instruments.spare_asked_for(label="debian-12", was_ready=was_ready)
    instruments.call_ended("alpha", "survey", "ok", 0.1)
    instruments.connection_lost("alpha")
    for kind in ("domain", "overlay", "saved"):
        instruments.leaks_freed("alpha", kind, 1)
    instruments.vm_saved("alpha")
    instruments.state_rejected("alpha")
    return instruments


def families() -> dict[str, Family]:
    """Return all metrics by name."""
    registry = everything_happened().registry
    collector = PoolCollector()
    queue = QueueStatus("debian-12", 1, 1.0)
    collector.take(
        statuses.pool(
            hosts=(statuses.host(),),
            labels=(statuses.label(),),
            leases=(statuses.lease(),),
            waiting=(queue,),
        )
    )
    registry.register(collector)
    return {family.name: family for family in map(_family, registry.collect())}


def _family(metric: Metric) -> Family:
    labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
    return Family(
        name=metric.name + _SUFFIXES.get(metric.type, ""),
        type=metric.type,
        labels=frozenset(labels),
        series=frozenset(sample.name for sample in metric.samples),
    )
