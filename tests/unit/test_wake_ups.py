# SPDX-License-Identifier: GPL-2.0-only
"""Which builders are tried when room has appeared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from buildbot.process.properties import Property

from latent_libvirt import wake_ups
from latent_libvirt.worker import LibvirtLatentWorker


class Desk:
    """The desk of a pool with room for VMs of ``small`` only."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def may_have_room(self, label: str) -> bool:
        self.asked.append(label)
        return label == "small"


def worker(name: str, label: Any, *, pool: str = "pool") -> LibvirtLatentWorker:
    return LibvirtLatentWorker(name, label=label, pool=pool)


def builder(*workers: Any) -> Any:
    return SimpleNamespace(workers=[SimpleNamespace(worker=worker) for worker in workers])


def test_only_builders_with_a_worker_that_could_start_are_tried() -> None:
    builders = {
        "small": builder(worker("small-1", "small")),
        "large": builder(worker("large-1", "large")),
        "both": builder(worker("large-2", "large"), worker("small-2", "small")),
        "any": builder(worker("any-1", Property("label"))),
        "of another pool": builder(worker("small-3", "small", pool="other")),
        "of other workers": builder(SimpleNamespace(name="by hand")),
        "without workers": builder(),
    }

    assert wake_ups.builders(Desk(), "pool", builders) == ["any", "both", "small"]


def test_a_worker_whose_vm_serves_a_build_is_no_reason_to_try() -> None:
    busy: Any = worker("small-1", "small")
    busy._lease = SimpleNamespace(idle=None)

    assert wake_ups.builders(Desk(), "pool", {"small": builder(busy)}) == []


def test_the_desk_is_asked_once_for_each_label() -> None:
    desk = Desk()
    workers = [worker(f"large-{number}", "large") for number in range(50)]

    wake_ups.builders(
        desk, "pool", {f"builder-{number}": builder(*workers) for number in range(20)}
    )

    assert desk.asked == ["large"]
