# SPDX-License-Identifier: GPL-2.0-only
"""What a pool says of its hosts and labels."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.units import MIB
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states.saved_states import (
    SavedState,
    SavedStates,
)
from latent_libvirt.master.queue.queue_report import waiting
from latent_libvirt.master.queue.queues import Queue
from latent_libvirt.pool import report
from latent_libvirt.pool.capacity import (
    Capacity,
    Caps,
    LabelCap,
)
from latent_libvirt.status import (
    Density,
    HostStatus,
    LabelStatus,
    QueueStatus,
    SavedStateStatus,
    Target,
    Usage,
)

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
