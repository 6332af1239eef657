# SPDX-License-Identifier: GPL-2.0-only
"""The VM of a worker, as far as its loss is counted; VMs are on paper."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.master.workers.leased_vm import LeasedVm
from paper_pool import PaperPool, config_of, machine_of


@pytest.mark.parametrize("by_operator", [False, True])
def test_a_vm_that_is_lost_under_its_build_counts_unless_an_operator_has_ended_it(
    by_operator: bool,  # noqa: FBT001 - pytest's
) -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    build: Any = SimpleNamespace(requests=[SimpleNamespace(id=7)], results=None)
    worker: Any = SimpleNamespace(name="worker", master=SimpleNamespace(reactor=pool.clock))
    vm = LeasedVm(lease, pool, worker)
    vm.build, lease.failure = build, "its worker lost its connection"
    lease.vm.is_ended_by_operator = by_operator
    machine_of(lease.vm).dies("it is gone")

    Deferred.fromCoroutine(vm._report_loss())

    counted = [] if by_operator else [lease.vm.host.name]
    assert pool.told.failed_on == counted
    (noted,) = pool.history.failures
    assert (noted.reason, noted.is_ended_by_operator) == ("it is gone", by_operator)
