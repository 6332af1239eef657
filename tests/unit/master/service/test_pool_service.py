# SPDX-License-Identifier: GPL-2.0-only
"""What the pool's service does with Buildbot's workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from latent_libvirt.master.service.pool_service import PoolService
from latent_libvirt.status.names import Target
from paper_pool import config_of


class Resting:
    """A worker of a pool, of which only its rest matters."""

    def __init__(self, label: str, pool_name: str = "pool") -> None:
        self.fixed_label, self.pool_name = label, pool_name
        self.rests = True
        self.rests_next_for = 40

    def resetQuarantine(self) -> None:  # noqa: N802 - Buildbot's
        self.rests_next_for = 10

    def stopQuarantineTimer(self) -> None:  # noqa: N802 - Buildbot's
        self.rests = False


@pytest.mark.parametrize(
    ("target", "still"),
    [
        (Target("host", "alpha"), ["of another pool"]),
        (Target("label", "one"), ["two", "of another pool"]),
    ],
    ids=str,
)
def test_an_operator_who_undrains_ends_the_rest_of_workers(
    target: Target, still: list[str]
) -> None:
    workers = {name: Resting(name) for name in ("one", "two")}
    workers["any"] = Resting("")
    workers["of another pool"] = Resting("one", pool_name="other")
    all_workers = {**workers, "static": SimpleNamespace()}
    service: Any = PoolService(config_of(one={}), name="pool")
    master = SimpleNamespace(workers=SimpleNamespace(workers=all_workers))
    service.parent = SimpleNamespace(master=master)

    service._undrained(target)

    assert [name for name, worker in workers.items() if worker.rests] == still
    assert workers["any"].rests_next_for == 10
