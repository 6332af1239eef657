# SPDX-License-Identifier: GPL-2.0-only
"""Gauges: the state of a pool at one moment, all of it from one status.

``instruments.py`` counts what has happened since the master started.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from latent_libvirt.metrics.families import PREFIX, Family
from latent_libvirt.status.queue import KINDS

if TYPE_CHECKING:
    from latent_libvirt.status.hosts import Density, HostStatus
    from latent_libvirt.status.pool import LabelStatus, PoolStatus
    from latent_libvirt.status.queue import QueueStatus

_STATES: Final = {
    "prepare": "starting",
    "clone": "starting",
    "boot": "starting",
    "save": "starting",
    "resume": "starting",
    "assign": "starting",
    "attach": "starting",
    "build": "building",
    "idle": "idle",
    "waiting": "spare",
    "held": "held",
    "tear-down": "tearing_down",
    "saving": "saving",
}
"""The state for each phase of a VM. Another phase is a state of the same name."""

_Rows = Iterable[tuple[tuple[str, ...], float]]
"""Values of a gauge, each with the values of its labels."""


@dataclass(frozen=True)
class Gauge:
    """A gauge and how its values come from a status.

    :param rows: returns the values; ``None`` while they are not known.
    """

    family: Family
    rows: Callable[[PoolStatus], _Rows | None]

    def metric(self, status: PoolStatus) -> GaugeMetricFamily | None:
        """Return the gauge with its values; ``None`` while they are not known."""
        rows = self.rows(status)
        if rows is None:
            return None
        names = ("pool", *self.family.labels)
        metric = GaugeMetricFamily(
            f"{PREFIX}_{self.family.name}", self.family.meaning, labels=names
        )
        for labels, value in rows:
            metric.add_metric([status.name, *labels], value)
        return metric


class PoolCollector(Collector):
    """Gives the registry the gauges of the latest status that :meth:`take` was given.

    That is on the reactor's thread; :meth:`collect` may run in any other.
    """

    def __init__(self) -> None:
        self._status: PoolStatus | None = None

    def take(self, status: PoolStatus) -> None:
        """Use *status* for the next :meth:`collect`."""
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; none before there is a status."""
        if self._status is not None:
            yield from gauges(self._status)


def gauges(status: PoolStatus) -> Iterator[Metric]:
    """Yield the gauges with the values of *status*."""
    for gauge in GAUGES:
        if (metric := gauge.metric(status)) is not None:
            yield metric


def state_of(phase: str) -> str:
    """Return the state of a VM whose lease is in *phase*."""
    return _STATES.get(phase, phase.replace("-", "_"))


def slots(host: HostStatus) -> dict[str, int]:
    """Return how many slots of a host are in each state; more than it has if it shrank."""
    blocked = sum(slot <= host.slots for slot in host.blocked)
    rest = max(0, host.slots - host.used - blocked)
    why = "free" if host.usable else "unusable"
    states = {"used": host.used, "blocked": blocked, "free": 0, "drained": 0, "unusable": 0}
    return {**states, ("drained" if host.usable and host.drained else why): rest}


def saved(host: HostStatus) -> dict[int, int]:
    """Return the bytes that the saved states of each slot take."""
    sizes: Counter[int] = Counter()
    for state in host.saved:
        sizes[state.slot] += state.size
    return dict(sizes)


def _pool(name: str, meaning: str, value: Callable[[PoolStatus], float]) -> Gauge:
    return Gauge(Family(name, "gauge", meaning), lambda status: [((), value(status))])


def _host(name: str, meaning: str, value: Callable[[HostStatus], float]) -> Gauge:
    return Gauge(
        Family(name, "gauge", meaning, ("host",)),
        lambda status: [((host.name,), value(host)) for host in status.hosts],
    )


def _label(name: str, meaning: str, value: Callable[[LabelStatus], float]) -> Gauge:
    return Gauge(
        Family(name, "gauge", meaning, ("label",)),
        lambda status: [((label.name,), value(label)) for label in status.labels],
    )


def _queue(name: str, meaning: str, value: Callable[[QueueStatus], float]) -> Gauge:
    """Return a gauge of the queue; it has no values, rather than old ones, if that is unknown."""

    def rows(status: PoolStatus) -> _Rows | None:
        queues = status.waiting
        return None if queues is None else [((queue.label,), value(queue)) for queue in queues]

    return Gauge(Family(name, "gauge", meaning, ("label",)), rows)


def _about(status: PoolStatus) -> _Rows:
    return [((status.master, version("latent-libvirt")), 1)]


def _slots(status: PoolStatus) -> _Rows:
    return [
        ((host.name, state), count) for host in status.hosts for state, count in slots(host).items()
    ]


def _saved(status: PoolStatus) -> _Rows:
    return [
        ((host.name, str(slot)), size)
        for host in status.hosts
        for slot, size in saved(host).items()
    ]


def _saved_state_space(status: PoolStatus) -> _Rows:
    return [
        ((host.name,), host.saved_state_space.most)
        for host in status.hosts
        if host.saved_state_space
    ]


def _density(name: str, meaning: str, value: Callable[[Density], float | None]) -> Gauge:
    """Return a gauge of memory; it has no values of hosts where that is unknown."""

    def rows(status: PoolStatus) -> _Rows:
        known = {host.name: value(host.density) for host in status.hosts if host.density}
        return [((host,), found) for host, found in known.items() if found is not None]

    return Gauge(Family(name, "gauge", meaning, ("host",)), rows)


def _vms_of_hosts(status: PoolStatus) -> _Rows:
    return _vms(status, "host", [host.name for host in status.hosts])


def _vms_of_labels(status: PoolStatus) -> _Rows:
    return _vms(status, "label", [label.name for label in status.labels])


def _vms(status: PoolStatus, of: str, names: Iterable[str]) -> _Rows:
    """Return the number of VMs by host or label and state; zeros too, so that no line ends."""
    count: Counter[tuple[str, ...]] = Counter()
    count.update({(name, state): 0 for name in names for state in _STATES.values()})
    count.update((getattr(vm, of), state_of(vm.phase)) for vm in status.leases)
    count.update((getattr(vm, of), state_of(vm.phase)) for vm in status.spares)
    count.update((getattr(vm, of), "saving") for vm in status.saving)
    count.update((getattr(vm, of), "held") for vm in status.held)
    return count.items()


def _held_by(status: PoolStatus) -> _Rows | None:
    held_by = Counter(each.kind for each in status.explained)
    return None if status.waiting is None else [((kind,), held_by[kind]) for kind in KINDS]


GAUGES: Final = (
    Gauge(
        Family(
            "info",
            "gauge",
            "Always 1. Its labels name the master and the version of this package.",
            ("master", "version"),
        ),
        _about,
    ),
    _pool(
        "max_vms",
        "Cap on VMs at one time, as `master.max_vms` sets it.",
        lambda status: status.max_vms,
    ),
    _pool(
        "used_vms",
        "VMs that count against the cap, and room reserved for VMs about to start.",
        lambda status: status.used,
    ),
    _pool(
        "config_generation",
        "Number of different configurations that this process has followed.",
        lambda status: status.generation,
    ),
    _pool(
        "config_last_reload_successful",
        "1 if the pool follows the `pool.yaml` that was saved last. 0 while that file has a "
        "mistake and the pool follows the configuration before it.",
        lambda status: not status.refused,
    ),
    _pool(
        "config_last_reload_success_timestamp_seconds",
        "Time at which the pool last read a valid configuration.",
        lambda status: status.loaded_at,
    ),
    _host(
        "host_connected",
        "1 if the master has a connection to the host's libvirt.",
        lambda host: host.connected,
    ),
    _host(
        "host_usable",
        "1 if the host is connected and swept, and not in back-off after failures. A drained host "
        "is usable, too.",
        lambda host: host.usable,
    ),
    Gauge(
        Family(
            "host_slots",
            "gauge",
            "Slots of the host. Each has one state: `used`, `blocked` (by a domain that is not "
            "this pool's), `free`, or, where nothing can start, `drained` or `unusable`.",
            ("host", "state"),
        ),
        _slots,
    ),
    Gauge(
        Family(
            "host_vms",
            "gauge",
            "VMs on the host. The state is `starting`, `spare`, `building`, `idle` (between two "
            "builds), `held`, `tearing_down` or `saving` (started only to be saved).",
            ("host", "state"),
        ),
        _vms_of_hosts,
    ),
    Gauge(
        Family(
            "host_saved_state_bytes",
            "gauge",
            "Size of the saved states in a slot of the host, memory and disk, of all labels.",
            ("host", "slot"),
        ),
        _saved,
    ),
    Gauge(
        Family(
            "host_saved_state_space_bytes",
            "gauge",
            "Space that the host's saved states may take, as `saved_state_space` sets it.",
            ("host",),
        ),
        _saved_state_space,
    ),
    _density(
        "host_domains",
        "Domains that run under the host's libvirt, of all owners, at the last reading. It is made "
        "every half minute. Absent before the first one.",
        lambda density: density.vms,
    ),
    _density(
        "host_domains_memory_bytes",
        "Memory that these domains have. What several of them share counts for each.",
        lambda density: density.used,
    ),
    _density(
        "host_memory_bytes",
        "Memory of the host.",
        lambda density: density.most,
    ),
    _density(
        "host_shared_memory_bytes",
        "Memory that the host saves by kernel same-page merging (KSM). Absent if the host's "
        "libvirt does not say.",
        lambda density: density.shared,
    ),
    _label(
        "label_max_vms",
        "Cap on VMs of the label at one time.",
        lambda label: label.max_vms,
    ),
    _label(
        "label_used_vms",
        "VMs that count against the label's cap, and room reserved for VMs about to start.",
        lambda label: label.used,
    ),
    _label(
        "label_drained",
        "1 if the label is drained. No new VM of it starts.",
        lambda label: label.drained,
    ),
    _label(
        "label_room",
        "1 if one more VM of the label could start now, within all caps and on a usable host.",
        lambda label: label.room,
    ),
    Gauge(
        Family(
            "label_vms",
            "gauge",
            "VMs of the label. The states are those of `latent_libvirt_host_vms`.",
            ("label", "state"),
        ),
        _vms_of_labels,
    ),
    _queue(
        "waiting_requests",
        "Build requests that no master has claimed, each counted once. The label is empty for "
        "builders that have workers of several labels, or of a label that depends on the job. "
        "Absent while the database does not answer.",
        lambda queue: queue.requests,
    ),
    _queue(
        "waiting_oldest_seconds",
        "How long the oldest of these requests has waited, or 0. Absent while the database does "
        "not answer.",
        lambda queue: queue.oldest,
    ),
    Gauge(
        Family(
            "waiting_because",
            "gauge",
            "Requests by the kind of reason that holds them, of the 500 that are to start first. "
            "Absent while the database does not answer.",
            ("reason",),
        ),
        _held_by,
    ),
)
"""All gauges, in the order of the reference."""
