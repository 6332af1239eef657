# SPDX-License-Identifier: GPL-2.0-only
"""What a pool says of its hosts and labels."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.units import MIB
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states.saved_states import (
    SavedState,
    SavedStates,
)
from latent_libvirt.master.queue.queue_report import waiting
from latent_libvirt.master.queue.queues import Queue
from latent_libvirt.pool import report
from latent_libvirt.pool.room.capacity import Capacity
from latent_libvirt.pool.room.caps import Caps, LabelCap
from latent_libvirt.pool.timeline import Timeline
from latent_libvirt.status.answers import Thawed
from latent_libvirt.status.hosts import Density, HostStatus, SavedStateStatus, Usage
from latent_libvirt.status.names import Target
from latent_libvirt.status.pool import LabelStatus
from latent_libvirt.status.queue import QueueStatus
from paper_pool import PaperPool, config_of, machine_of

CONFIG = PoolConfig.model_validate(
    {
        "master": {"max_vms": 3},
        "hosts": {
            "alpha": {"uri": "qemu:///system", "slots": 4, "storage_pool": "builds"},
            "beta": {"uri": "qemu+ssh://beta/system", "slots": 1, "storage_pool": "builds"},
        },
        "labels": {
            "debian-12": {"image": "debian-12", "hosts": ["alpha"]},
            "large": {"image": "debian-12", "max_vms": 2},
        },
    }
)


DRAIN = {"drain": True}


def changed(section: str, name: str, keys: dict[str, Any]) -> PoolConfig:
    sections = CONFIG.model_dump(mode="json", exclude_none=True)
    sections[section][name] |= keys
    return PoolConfig.model_validate(sections)


class AHost:
    """What is asked of a host that has been started."""

    usable = True
    trouble = ""
    blocked_slots = frozenset({3, 2})
    squatters = ()
    is_shared = True
    density = Density(12, 2**31, 2**34, 2**30)
    connection = SimpleNamespace(is_up=True)

    def __init__(self) -> None:
        name = OwnedVolume("0123456789ab", 2, "aa", "0" * 24)
        record = VmRecord("0123456789ab", "m", "p", "aa", "large", "", "i", "now")
        states = SavedStates()
        states.add(SavedState(name, record, "<domain/>", "/path", 2**28))
        self.saved = SimpleNamespace(states=states)


def a_capacity() -> Capacity:
    caps = Caps(3, {"alpha": 4}, {"debian-12": LabelCap(3, ("alpha",))})
    capacity = Capacity(caps)
    assert capacity.take("debian-12")
    return capacity


def test_a_host_says_what_is_taken_and_what_cannot_be() -> None:
    running: Any = {"alpha": AHost()}

    assert report.hosts(CONFIG, a_capacity(), running, resumable={"alpha": 8}) == (
        HostStatus(
            *("alpha", True, "", False, 4, 1, (2, 3), True),
            starting=1,
            saved=(SavedStateStatus(2, "large", 2**28),),
            saved_state_space=Usage(2**28, 20 * 2**30),
            resumable=8,
            shared=True,
            density=AHost.density,
        ),
        HostStatus("beta", False, "not started yet", False, 1, 0, (), False),
    )


@pytest.mark.parametrize(
    ("changes", "backoff", "usable", "connected", "trouble"),
    [
        ({}, "", True, True, ""),
        ({}, "in back-off", False, True, "in back-off"),
        ({"usable": False, "trouble": "no route"}, "in back-off", False, True, "no route"),
        ({"connection": SimpleNamespace(is_up=False)}, "", True, False, ""),
        ({"usable": False, "trouble": "not swept yet"}, "", False, True, "not swept yet"),
    ],
)
def test_a_host_is_usable_if_it_says_so_and_is_in_no_back_off(
    changes: dict[str, Any], backoff: str, trouble: str, *, usable: bool, connected: bool
) -> None:
    host: Any = AHost()
    vars(host).update(changes, is_shared=False, squatters=("a stranger",))

    found, _ = report.hosts(
        CONFIG, a_capacity(), {"alpha": host}, {"alpha": backoff} if backoff else {}
    )

    assert (found.usable, found.connected, found.trouble) == (usable, connected, trouble)
    assert (found.shared, found.squatters) == (False, ("a stranger",))


def test_saved_states_are_shown_by_slot_and_label_and_again_when_they_change() -> None:
    host: Any = AHost()
    states = host.saved.states
    (large,) = states
    record = replace(large.record, label="debian-12")
    states.add(SavedState(replace(large.name, slot=1, vm_id="bb"), record, "", "/b", 2))
    states.add(SavedState(replace(large.name, vm_id="cc"), record, "", "/c", 3))

    def shown() -> list[tuple[int, str]]:
        found, _ = report.hosts(CONFIG, a_capacity(), {"alpha": host})
        return [(state.slot, state.label) for state in found.saved]

    assert shown() == [(1, "debian-12"), (2, "debian-12"), (2, "large")]
    states.retire(large)
    assert shown() == [(1, "debian-12"), (2, "debian-12")]


def test_a_label_says_why_some_hosts_do_not_suit_it_and_whether_it_has_a_screen() -> None:
    config = changed("labels", "large", {"graphics": True})

    _, large = report.labels(config, a_capacity(), {"large": {"beta": "it is too small"}})

    assert (large.unfit, large.graphics) == (("host beta: it is too small",), True)


def operated(**label: object) -> tuple[PaperPool, Operations]:
    pool = PaperPool(config_of(slots=4, one={"max_vms": 4, **label}))
    return pool, Operations(pool, facts=lambda: Facts("m", "", 1, 0.0), undrained=lambda _: None)


def test_vms_of_workers_are_shown_with_the_one_that_began_first_before_the_others() -> None:
    pool, operations = operated()
    leases = [pool.building(worker=name) for name in ("first", "second")]
    for lease, seconds in zip(leases, (5, 9), strict=True):
        lease.timeline = Timeline(pool.clock.seconds)
        pool.clock.advance(seconds)
    machine_of(leases[0].vm).connection = "channel"
    leases[0].vm.fetched = SimpleNamespace(count=7, refused=2)  # type: ignore[assignment]

    first, second = operations.status().leases

    assert [first.worker, second.worker] == ["first", "second"]
    assert (first.seconds, second.seconds) == (14, 9)
    assert (first.connection, first.requests, first.refused) == ("channel", 7, 2)
    assert (second.connection, second.requests, second.refused) == ("", None, 0)


def test_spares_are_shown_with_their_phase_and_the_oldest_first() -> None:
    pool, operations = operated(spares=2)
    pool.tidy()
    old, new = pool.spares
    machine_of(new).comes_up()
    since = "1970-01-12T13:46:00+00:00"
    machine_of(new).record = replace(machine_of(new).record, since=since)

    shown = operations.status().spares

    assert [spare.vm_id for spare in shown] == [new.vm_id, old.vm_id]
    waiting, starting = shown
    assert (waiting.label, waiting.host, waiting.domain) == ("one", new.host.name, "domain-1")
    assert (waiting.image, waiting.phase, waiting.seconds) == ("newest", "waiting", new.age)
    assert (starting.image, starting.phase) == ("", "prepare")


def test_held_vms_are_shown_with_the_one_first_that_goes_first() -> None:
    pool, operations = operated()
    for worker, seconds in (("later", 90.0), ("sooner", 60.0)):
        lease = pool.building(worker=worker)
        lease.hold_for = seconds
        pool.given_back(lease)

    assert [(vm.worker, vm.seconds_left) for vm in operations.status().held] == [
        ("sooner", 60),
        ("later", 90),
    ]


def test_frozen_vms_are_shown_with_the_one_first_that_goes_first() -> None:
    pool, operations = operated(hold_on_failure="1h", freeze=True)
    for worker in ("a", "b"):
        lease = pool.building(worker=worker)
        Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
        machine_of(lease.vm).goes_on()
        pool.clock.advance(60)
    hosts = pool.paper_hosts.values()
    for host in hosts:
        for vm in list(host.frozen):
            host.frozen.add(replace(vm, saved_at=pool.now - 5))

    shown = operations.status().frozen
    assert [(vm.worker, vm.seconds_left, vm.seconds) for vm in shown] == [
        ("a", 3480, 5),
        ("b", 3540, 5),
    ]

    pool.frozen_notes.look()
    pool.configure(config_of(hosts=("gamma",), one={"hold_on_failure": "1h", "freeze": True}))
    pool.clock.advance(3)
    away = operations.status().frozen
    assert [(vm.worker, vm.seconds_left, vm.seconds) for vm in away] == [
        ("a", 3477, 8),
        ("b", 3537, 8),
    ]
    assert all(vm.trouble for vm in away)


def test_a_frozen_vm_says_what_its_thaw_would_wait_for() -> None:
    pool, operations = operated(hold_on_failure="1h", freeze=True)
    lease = pool.building()
    host, slot = lease.vm.host.name, lease.vm.allocation.slot
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    machine_of(lease.vm).goes_on()

    def shown() -> tuple[int, str, str]:
        (vm,) = operations.status().frozen
        return vm.slot, vm.would_wait_for, vm.waits_for

    assert shown() == (slot, "", "")
    operations.drain(Target("host", host))
    why = f"host {host} is drained ('latent-libvirt undrain' ends that)"
    assert shown() == (slot, why, "")
    thawed: list[Thawed] = []
    Deferred.fromCoroutine(operations.holding.thaw(lease.vm.vm_id, None)).addCallback(thawed.append)
    assert shown() == (slot, why, why)
    assert f"stays frozen for now, since {why}.\nIt continues as" in str(thawed[0])
    operations.holding.cancel_thaw(lease.vm.vm_id)
    operations.undrain(Target("host", host))
    assert shown() == (slot, "", "")

    other = pool.capacity.take_slot("one", host, slot)
    assert shown() == (slot, f"another VM has slot {slot} of host {host}", "")
    assert other is not None
    pool.capacity.give_back(other)
    pool.configure(config_of(slots=4, two={"max_vms": 4}))
    assert shown() == (slot, "", ""), "it would be refused"


def test_a_frozen_vm_says_on_which_hosts_it_may_be_thawed_its_own_first() -> None:
    keys: dict[str, object] = {"hold_on_failure": "1h", "freeze": True}
    pool, operations = operated(**keys)
    lease = pool.building()
    own, slot = lease.vm.host.name, lease.vm.allocation.slot
    (other,) = {"alpha", "beta"} - {own}
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    machine_of(lease.vm).goes_on()

    def shown() -> tuple[str, ...]:
        (vm,) = operations.status().frozen
        return vm.hosts

    assert shown() == (own, other)
    for name in (own, other):
        pool.paper_hosts[name].usable = False
        assert shown() == (own,), "nothing can be copied"
        pool.paper_hosts[name].usable = True
    pool.configure(config_of(slots=slot - 1, one=keys))
    assert shown() == (), "no host has its slot"
    pool.configure(config_of(slots=4, one={**keys, "hosts": [other]}))
    assert shown() == (other,)


def test_a_label_says_what_is_taken_and_where_it_may_run() -> None:
    assert report.labels(CONFIG, a_capacity()) == (
        LabelStatus("debian-12", False, 3, 1, ("alpha",), True, vcpus=1, memory=512 * MIB),
        LabelStatus("large", False, 2, 0, ("alpha", "beta"), False, vcpus=1, memory=512 * MIB),
    )


def test_a_host_with_a_budget_says_what_its_vms_take_of_it() -> None:
    budget = {"vcpus": 4, "vcpu_overcommit": 2.0, "memory": "1GiB"}
    config = changed("hosts", "alpha", budget)
    capacity = Capacity(Caps.of(config))
    capacity.set_unusable({"beta": None})
    assert capacity.take("debian-12")

    alpha, beta = report.hosts(config, capacity, cast("Any", {}))

    assert (alpha.vcpus, alpha.memory) == (Usage(1, 8), Usage(512 * MIB, 1024 * MIB))
    assert (beta.vcpus, beta.memory) == (None, None)


def test_what_the_configuration_drains_says_so_too() -> None:
    host, label = changed("hosts", "beta", DRAIN), changed("labels", "large", DRAIN)

    hosts = report.hosts(host, Capacity(Caps.of(host)), cast("Any", {}))
    labels = report.labels(label, Capacity(Caps.of(label)))

    assert [host.drained for host in hosts] == [False, True]
    assert [label.drained for label in labels] == [False, True]


def test_every_label_has_a_queue_and_others_are_told_after_them() -> None:
    now = time.time()
    queues = {"": Queue(2, now - 60), "large": Queue(1, now + 60)}

    debian, large, others = waiting(CONFIG, queues) or ()

    assert debian == QueueStatus("debian-12", 0, 0.0)
    assert large == QueueStatus("large", 1, 0.0)  # clocks of several masters may differ
    assert (others.label, others.requests) == ("", 2)
    assert others.oldest >= 60


def test_a_queue_that_is_not_known_is_not_an_empty_one() -> None:
    assert waiting(CONFIG, None) is None


def test_what_is_drained_says_so() -> None:
    capacity = a_capacity()
    capacity.drained = frozenset({Target("host", "beta"), Target("label", "large")})

    hosts = report.hosts(CONFIG, capacity, cast("Any", {}))
    labels = report.labels(CONFIG, capacity)

    assert [host.drained for host in hosts] == [False, True]
    assert [label.drained for label in labels] == [False, True]
