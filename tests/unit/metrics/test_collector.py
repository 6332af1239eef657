# SPDX-License-Identifier: GPL-2.0-only
"""What a status becomes in numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import statuses
from latent_libvirt.metrics.collector import PoolCollector, slots, state_of
from latent_libvirt.metrics.families import Registry
from latent_libvirt.status.hosts import Density, HostStatus
from latent_libvirt.status.pool import PoolStatus
from latent_libvirt.status.queue import QueueStatus, WaitingStatus
from latent_libvirt.status.vms import HeldStatus, SpareStatus

HOST = statuses.host(slots=4, used=1)
LABEL = statuses.label(max_vms=3, used=1)
POOL = statuses.pool(hosts=(HOST,), labels=(LABEL,), leases=(statuses.lease(),))


def scraped(status: PoolStatus) -> Registry:
    registry = Registry()
    collector = PoolCollector()
    collector.take(status)
    registry.register(collector)
    return registry


def value(status: PoolStatus, name: str, **labels: str) -> float | None:
    all_labels = {"pool": "pool", **labels}
    return scraped(status).get_sample_value(f"latent_libvirt_{name}", all_labels)


def test_before_there_is_a_status_nothing_is_told() -> None:
    assert list(PoolCollector().collect()) == []


@pytest.mark.parametrize(
    ("host", "states"),
    [
        (HOST, {"used": 1, "free": 3}),
        (replace(HOST, blocked=(2, 3)), {"used": 1, "blocked": 2, "free": 1}),
        (replace(HOST, blocked=(3, 7)), {"used": 1, "blocked": 1, "free": 2}),
        (replace(HOST, drained=True), {"used": 1, "drained": 3}),
        (replace(HOST, usable=False), {"used": 1, "unusable": 3}),
        (replace(HOST, usable=False, drained=True), {"used": 1, "unusable": 3}),
        (replace(HOST, slots=0), {"used": 1}),
    ],
)
def test_each_slot_of_a_host_is_in_one_state(host: HostStatus, states: dict[str, int]) -> None:
    assert {state: count for state, count in slots(host).items() if count} == states


@given(
    st.builds(
        HostStatus,
        slots=st.integers(0, 9),
        used=st.integers(0, 9),
        blocked=st.frozensets(st.integers(1, 12)).map(tuple),
    )
)
def test_slots_are_never_fewer_than_none_and_add_up(host: HostStatus) -> None:
    states = slots(host)

    assert min(states.values()) >= 0
    if host.used + len(host.blocked) <= host.slots and max(host.blocked, default=0) <= host.slots:
        assert sum(states.values()) == host.slots


def test_vms_are_counted_by_state_and_a_state_without_any_is_told_too() -> None:
    leases = tuple(statuses.lease(phase=p) for p in ("clone", "boot", "build", "tear-down"))
    status = replace(POOL, leases=leases)

    for of in ({"label": "debian-12"}, {"host": "alpha"}):
        name = f"{next(iter(of))}_vms"
        assert value(status, name, state="starting", **of) == 2
        assert value(status, name, state="building", **of) == 1
        assert value(status, name, state="tearing_down", **of) == 1
        assert value(replace(status, leases=()), name, state="starting", **of) == 0


def test_spares_and_held_vms_are_counted_with_those_of_jobs() -> None:
    spares = tuple(
        SpareStatus("debian-12", "alpha", "latent-libvirt-2", "cc", "bb", phase, 5.0)
        for phase in ("boot", "waiting")
    )
    held = HeldStatus("debian-12-1", "debian-12", "alpha", "latent-libvirt-3", "dd", 60.0, None)
    status = replace(POOL, leases=(), spares=spares, held=(held,))

    for state in ("starting", "spare", "held"):
        assert value(status, "label_vms", label="debian-12", state=state) == 1
        assert value(status, "host_vms", host="alpha", state=state) == 1


def test_a_phase_that_is_new_is_a_state_of_its_own() -> None:
    assert state_of("held-for-debugging") == "held_for_debugging"
    moved = replace(POOL, leases=(statuses.lease(phase="migrated"),))
    assert value(moved, "label_vms", label="debian-12", state="migrated") == 1


def test_vms_of_what_has_left_the_configuration_are_still_counted() -> None:
    status = replace(POOL, hosts=(), labels=())

    assert value(status, "host_vms", host="alpha", state="building") == 1
    assert value(status, "label_vms", label="debian-12", state="building") == 1


def test_a_label_says_whether_one_more_vm_of_it_could_start() -> None:
    full = replace(POOL, labels=(replace(LABEL, room=False),))

    assert value(POOL, "label_room", label="debian-12") == 1
    assert value(full, "label_room", label="debian-12") == 0


def test_a_configuration_that_is_refused_shows_while_the_generation_stays() -> None:
    refused = replace(POOL, refused="pool.yaml:2: no", generation=3)

    assert value(POOL, "config_last_reload_successful") == 1
    assert value(refused, "config_last_reload_successful") == 0
    assert value(refused, "config_generation") == 3
    assert value(refused, "config_last_reload_success_timestamp_seconds") == 1000


def test_the_queue_is_told_by_label_and_while_it_is_not_known_it_is_absent() -> None:
    waiting = (QueueStatus("debian-12", 7, 75.0), QueueStatus("", 1, 5.0))
    status = replace(POOL, waiting=waiting)

    assert value(status, "waiting_requests", label="debian-12") == 7
    assert value(status, "waiting_oldest_seconds", label="debian-12") == 75
    assert value(status, "waiting_requests", label="") == 1
    assert value(replace(POOL, waiting=None), "waiting_requests", label="debian-12") is None


def test_what_is_not_known_of_a_hosts_memory_is_absent() -> None:
    said, unsaid = Density(12, 3000, 9000, 0), Density(1, 500, 9000)
    hosts = [
        replace(HOST, name=f"host-{at}", density=each) for at, each in enumerate((said, unsaid))
    ]
    status = replace(POOL, hosts=(*hosts, replace(HOST, density=None)))
    known = [
        [value(status, name, host=host) for host in ("host-0", "host-1", "alpha")]
        for name in ("host_domains", "host_domains_memory_bytes", "host_memory_bytes")
    ]

    assert known == [[12, 1, None], [3000, 500, None], [9000, 9000, None]]
    assert value(status, "host_shared_memory_bytes", host="host-0") == 0
    assert value(status, "host_shared_memory_bytes", host="host-1") is None


def test_requests_are_counted_by_what_holds_them() -> None:
    explained = [WaitingStatus(n, "check", 0, 1.0, (), "lock", "held") for n in range(3)]
    status = replace(POOL, waiting=(), explained=tuple(explained))

    assert value(status, "waiting_because", reason="lock") == 3
    assert value(status, "waiting_because", reason="veto") == 0
    assert value(replace(POOL, waiting=None), "waiting_because", reason="lock") is None


def test_hosts_say_whether_they_are_connected_and_usable() -> None:
    down = replace(POOL, hosts=(replace(HOST, usable=False, connected=False),))

    for name in ("host_connected", "host_usable"):
        assert value(POOL, name, host="alpha") == 1
        assert value(down, name, host="alpha") == 0


def test_a_large_pool_is_told_without_a_series_for_every_pair_of_host_and_label() -> None:
    text = generate_latest(scraped(statuses.large_pool(hosts=20, labels=100, vms=200))).decode()

    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    assert len(samples) < 20 * 100
    assert not any({"host", "label"} <= set(sample.labels) for sample in samples)
