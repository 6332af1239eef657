# SPDX-License-Identifier: GPL-2.0-only
"""The gauges: what is true of a pool at one moment, all of it from one status.

What has happened since the master started is counted in ``instruments.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import Metric
from prometheus_client.registry import Collector

from latent_libvirt.metrics.families import gauge
from latent_libvirt.status import (
    KINDS,
)

if TYPE_CHECKING:
    from latent_libvirt.status import (
        HostStatus,
        PoolStatus,
    )

_STATES: Final = {
    "prepare": "starting",
    "clone": "starting",
    "boot": "starting",
    "save": "starting",
    "resume": "starting",
    "hand-over": "starting",
    "attach": "starting",
    "build": "building",
    "idle": "idle",
    "waiting": "spare",
    "held": "held",
    "tear-down": "tearing_down",
    "saving": "saving",
}
"""Phases of VMs, as states; what is in another phase is in a state of that name."""

_Rows = Iterable[tuple[Mapping[str, str], float]]


class PoolCollector(Collector):
    """Gives the registry the gauges of the latest status that :meth:`take` was given.

    That is on the reactor's thread; :meth:`collect` may run in any other.
    """

    def __init__(self) -> None:
        self._status: PoolStatus | None = None

    def take(self, status: PoolStatus) -> None:
        """Let the next :meth:`collect` tell of *status*."""
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges; none before there is a status."""
        if self._status is not None:
            yield from gauges(self._status)


def gauges(status: PoolStatus) -> Iterator[Metric]:
    """Yield what *status* says, in numbers."""
    yield from _pool(status)
    yield from _configuration(status)
    yield from _hosts(status)
    yield from _labels(status)
    yield from _waiting(status)


def state_of(phase: str) -> str:
    """Return the state of a VM whose lease is in *phase*."""
    return _STATES.get(phase, phase.replace("-", "_"))


def _pool(status: PoolStatus) -> Iterator[Metric]:
    pool = {"pool": status.name}
    about = {**pool, "master": status.master, "version": version("latent-libvirt")}
    yield gauge("info", "Always 1; its labels say what this is.", [(about, 1)])
    yield gauge("max_vms", "How many VMs the master may have at once.", [(pool, status.max_vms)])
    yield gauge("used_vms", "How many of max_vms are taken or reserved.", [(pool, status.used)])


def _configuration(status: PoolStatus) -> Iterator[Metric]:
    pool = {"pool": status.name}
    yield gauge(
        "config_generation",
        "How many different configurations this process has followed.",
        [(pool, status.generation)],
    )
    yield gauge(
        "config_last_reload_successful",
        "Whether what was last saved in the pool's YAML file is followed.",
        [(pool, not status.refused)],
    )
    yield gauge(
        "config_last_reload_success_timestamp_seconds",
        "When the configuration was last read and found good.",
        [(pool, status.loaded_at)],
    )


def _hosts(status: PoolStatus) -> Iterator[Metric]:
    def of_each(value: Mapping[str, float]) -> _Rows:
        return [({"pool": status.name, "host": name}, value[name]) for name in value]

    hosts = status.hosts
    yield gauge(
        "host_connected",
        "Whether there is a connection to the host's libvirt.",
        of_each({host.name: host.connected for host in hosts}),
    )
    yield gauge(
        "host_usable",
        "Whether VMs can start there: it is connected and swept.",
        of_each({host.name: host.usable for host in hosts}),
    )
    yield gauge(
        "host_slots",
        "Slots of each host by what they are at this moment: each is one of these.",
        [
            ({"pool": status.name, "host": host.name, "state": state}, count)
            for host in hosts
            for state, count in slots(host).items()
        ],
    )
    yield gauge(
        "host_saved_state_bytes",
        "What VMs are resumed from in a slot of the host, of whatever label: memory and disk.",
        [
            ({"pool": status.name, "host": host.name, "slot": str(slot)}, size)
            for host in hosts
            for slot, size in saved(host).items()
        ],
    )
    yield gauge(
        "host_saved_state_space_bytes",
        "How many bytes of it the host may have in all.",
        of_each(
            {host.name: host.saved_state_space.most for host in hosts if host.saved_state_space}
        ),
    )
    yield gauge(
        "host_vms",
        "VMs on each host by state.",
        _vms(status, "host", [host.name for host in hosts]),
    )


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


def _labels(status: PoolStatus) -> Iterator[Metric]:
    def of_each(value: Mapping[str, float]) -> _Rows:
        return [({"pool": status.name, "label": name}, value[name]) for name in value]

    labels = status.labels
    yield gauge(
        "label_max_vms",
        "How many VMs of the label may exist at once.",
        of_each({label.name: label.max_vms for label in labels}),
    )
    yield gauge(
        "label_used_vms",
        "How many of label_max_vms are taken or reserved.",
        of_each({label.name: label.used for label in labels}),
    )
    yield gauge(
        "label_drained",
        "Whether an operator lets nothing new of the label start.",
        of_each({label.name: label.drained for label in labels}),
    )
    yield gauge(
        "label_room",
        "Whether one more VM of the label could start now, by all caps and on a usable host.",
        of_each({label.name: label.room for label in labels}),
    )
    yield gauge(
        "label_vms",
        "VMs of each label by state.",
        _vms(status, "label", [label.name for label in labels]),
    )


def _vms(status: PoolStatus, of: str, names: Iterable[str]) -> _Rows:
    """Return the number of VMs by host or label and state; zeros too, so that no line ends."""
    count: Counter[tuple[str, str]] = Counter()
    count.update({(name, state): 0 for name in names for state in _STATES.values()})
    count.update((getattr(vm, of), state_of(vm.phase)) for vm in status.leases)
    count.update((getattr(vm, of), state_of(vm.phase)) for vm in status.spares)
    count.update((getattr(vm, of), "saving") for vm in status.saving)
    count.update((getattr(vm, of), "held") for vm in status.held)
    return [
        ({"pool": status.name, of: name, "state": state}, number)
        for (name, state), number in count.items()
    ]


def _waiting(status: PoolStatus) -> Iterator[Metric]:
    """Yield the queue; nothing rather than old numbers while it is not known."""
    if status.waiting is None:
        return
    labels = [({"pool": status.name, "label": queue.label}, queue) for queue in status.waiting]
    yield gauge(
        "waiting_requests",
        "Build requests that nobody has claimed, by the label whose VM they would get.",
        [(label, queue.requests) for label, queue in labels],
    )
    yield gauge(
        "waiting_oldest_seconds",
        "How long the oldest of them has waited; 0 if there is none.",
        [(label, queue.oldest) for label, queue in labels],
    )
    held_by = Counter(each.kind for each in status.explained)
    yield gauge(
        "waiting_because",
        "Requests by what holds them, of the 500 that are to start first.",
        [({"pool": status.name, "reason": kind}, held_by[kind]) for kind in KINDS],
    )
