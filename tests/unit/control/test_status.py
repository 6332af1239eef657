# SPDX-License-Identifier: GPL-2.0-only
"""What a pool says of its hosts and labels."""

from __future__ import annotations

from typing import Any, cast

from latent_libvirt.capacity import Caps, LabelCap, Ledger, Target
from latent_libvirt.config import PoolConfig
from latent_libvirt.control import status
from latent_libvirt.control.status import HostStatus, LabelStatus

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


class AHost:
    """What is asked of a host that has been started."""

    usable = True
    trouble = ""
    blocked_slots = frozenset({3, 2})


def a_ledger() -> Ledger:
    caps = Caps(3, {"alpha": 4}, {"debian-12": LabelCap(3, ("alpha",))})
    ledger = Ledger(caps)
    assert ledger.take("debian-12")
    return ledger


def test_a_host_says_what_is_taken_and_what_cannot_be() -> None:
    running: Any = {"alpha": AHost()}

    assert status.hosts(CONFIG, a_ledger(), running) == (
        HostStatus("alpha", True, "", False, 4, 1, (2, 3)),
        HostStatus("beta", False, "not started yet", False, 1, 0, ()),
    )


def test_a_label_says_what_is_taken_and_where_it_may_run() -> None:
    assert status.labels(CONFIG, a_ledger()) == (
        LabelStatus("debian-12", False, 3, 1, ("alpha",)),
        LabelStatus("large", False, 2, 0, ("alpha", "beta")),
    )


def test_what_is_drained_says_so() -> None:
    ledger = a_ledger()
    ledger.drained = frozenset({Target("host", "beta"), Target("label", "large")})

    hosts = status.hosts(CONFIG, ledger, cast("Any", {}))
    labels = status.labels(CONFIG, ledger)

    assert [host.drained for host in hosts] == [False, True]
    assert [label.drained for label in labels] == [False, True]
