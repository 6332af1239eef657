# SPDX-License-Identifier: GPL-2.0-only
"""A VM is thawed only where it may run and its slot is free.

The VMs are on paper; real ones are in tests/integration/host/test_freezing.py.
"""

from __future__ import annotations

import pytest

from frozen_vms import a_pool, frozen, refusal, thawed, waits_for_its_slot
from latent_libvirt.config import PoolConfig
from latent_libvirt.errors import (
    ConfigurationError,
)
from paper_pool import config_of


def test_a_vm_of_a_label_that_is_gone_cannot_be_thawed() -> None:
    pool = a_pool()
    vm = frozen(pool)
    pool.configure(config_of(hosts=("alpha",), other={}))

    error = refusal(thawed(pool, vm))

    assert isinstance(error, ConfigurationError)
    assert error.brief == (
        "VM latent-libvirt-1 on host alpha cannot be thawed: label 'one' is not configured any more"
    )
    assert error.resolution == "Put the label back into the pool's YAML file."
    assert list(pool.frozen)


@pytest.mark.parametrize(
    "changes", [{"labels": {"one": {"hosts": ["beta"]}}}, {"hosts": {"alpha": {"memory": "2GiB"}}}]
)
def test_a_vm_that_can_never_be_thawed_is_refused_and_keeps_no_slot(
    changes: dict[str, dict[str, dict[str, object]]],
) -> None:
    pool = a_pool(memory="4GiB")
    vm, _ = waits_for_its_slot(pool)
    small = {"hold_on_failure": "1h", "freeze": True, "memory": "1GiB"}
    plain = config_of(slots=1, one=small, two={"memory": "1GiB"}).model_dump(mode="json")
    plain["labels"]["one"].update(changes.get("labels", {}).get("one", {}))
    plain["hosts"]["alpha"].update(changes.get("hosts", {}).get("alpha", {}))
    pool.configure(PoolConfig.model_validate(plain))
    errors: list[object] = []

    thawed(pool, vm).addErrback(lambda failure: errors.append(failure.value))

    assert isinstance(errors[0], ConfigurationError)
    assert pool.thaws.reserved() == {}


def test_a_vm_that_is_thawed_already_is_not_thawed_again() -> None:
    pool = a_pool()
    vm = frozen(pool)
    thawed(pool, vm)

    error = refusal(thawed(pool, vm))

    assert error.brief == "VM latent-libvirt-1 on host alpha is being thawed already"
    assert not pool.thaws.is_waiting(vm)


def test_a_slot_with_a_domain_of_somebody_else_is_waited_for() -> None:
    pool = a_pool()
    vm = frozen(pool)
    pool.paper_hosts["alpha"].blocked_slots = frozenset({1})

    thawed(pool, vm)

    assert pool.thaws.is_waiting(vm)
    pool.paper_hosts["alpha"].blocked_slots = frozenset()
    pool.hosts_changed()
    assert not pool.thaws.is_waiting(vm)
