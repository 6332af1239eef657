# SPDX-License-Identifier: GPL-2.0-only
"""A frozen VM whose host nobody can ask is known still, with what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.config import PoolConfig
from latent_libvirt.control.messages import ControlError
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.pool.holding import notes
from latent_libvirt.status.names import BuildRef
from latent_libvirt.status.vms import FrozenStatus
from paper_pool import PaperPool, config_of, machine_of

HOUR = 3600.0
ONE = {"hold_on_failure": "1h", "freeze": True}


def config(*hosts: str) -> PoolConfig:
    return config_of(hosts=hosts, slots=1, one=ONE)


def with_a_frozen_vm() -> PaperPool:
    """Return a pool with a VM that is frozen on alpha."""
    pool = with_one_that_nobody_has_noted()
    pool.frozen_notes.look()
    return pool


def with_one_that_nobody_has_noted() -> PaperPool:
    """Return the same before anybody has looked for frozen VMs."""
    pool = PaperPool(config("alpha"))
    pool.configure(config("alpha", "beta"))
    lease = pool.building()
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    machine_of(lease.vm).goes_on()
    return pool


def operations(pool: PaperPool) -> Operations:
    return Operations(pool, facts=lambda: Facts("m", "", 1, 0.0), undrained=lambda _target: None)


def shown(pool: PaperPool) -> list[FrozenStatus]:
    return list(operations(pool).status().frozen)


def after_a_restart(pool: PaperPool, configured: PoolConfig) -> None:
    pool.begin(configured)
    assert Deferred.fromCoroutine(pool.frozen_notes.load()).called


def refused(pool: PaperPool, name: str) -> str:
    """Return why a VM of that name can be neither released nor thawed."""
    whys: set[str] = set()
    for asked in (
        operations(pool).holding.release(name),
        operations(pool).holding.thaw(name, None),
    ):
        done: Deferred[object] = Deferred.fromCoroutine(asked)
        done.addErrback(lambda failure: whys.add(str(failure.value)))
    (why,) = whys
    return why


@pytest.mark.parametrize("restarts", [False, True])
def test_a_vm_on_a_host_that_has_left_the_file_is_shown_with_what_to_do(*, restarts: bool) -> None:
    pool = with_a_frozen_vm()
    (before,) = shown(pool)
    assert (before.host, before.trouble) == ("alpha", "")

    if restarts:
        after_a_restart(pool, config("beta"))
    else:
        pool.configure(config("beta"))
    pool.frozen_notes.look()

    (vm,) = shown(pool)
    assert "Host alpha is not in the pool's YAML file any more. Put it back" in vm.trouble
    assert (vm.vm_id, vm.worker, vm.size) == (before.vm_id, before.worker, before.size)
    assert vm.seconds_left == pytest.approx(before.seconds_left)
    assert "cannot be reached" in refused(pool, vm.vm_id)
    with pytest.raises(ControlError, match="cannot be reached"):
        operations(pool).exports.begin(vm.worker, "user")

    pool.configure(config("alpha", "beta"))
    assert [(each.vm_id, each.trouble) for each in shown(pool)] == [(vm.vm_id, "")]


def test_a_frozen_vm_keeps_its_job_without_its_master_and_without_its_host() -> None:
    pool = PaperPool(config("alpha"))
    lease = pool.building()
    lease.job = BuildRef("broken", 4, "http://ci/#/builders/1/builds/4")
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    machine_of(lease.vm).goes_on()
    pool.frozen_notes.look()
    assert [vm.job for vm in shown(pool)] == [lease.job]
    with pytest.raises(ControlError, match=r"job broken/4.*is frozen"):
        operations(pool).vm("broken/4")
    assert [each.job for each in pool.frozen] == [lease.job]

    after_a_restart(pool, config("beta"))

    assert [vm.job for vm in shown(pool)] == [lease.job]
    assert "job broken/4" in refused(pool, "broken/4")


def test_a_note_of_an_earlier_version_has_no_job() -> None:
    pool = with_a_frozen_vm()
    (vm,) = shown(pool)
    (note,) = json.loads(pool.notes.saved)
    del note["build"]
    pool.notes.saved = json.dumps([note])

    after_a_restart(pool, config("beta"))

    assert [(each.vm_id, each.job) for each in shown(pool)] == [(vm.vm_id, None)]


def test_a_vm_that_was_frozen_just_before_its_host_leaves_the_file_is_known() -> None:
    pool = with_one_that_nobody_has_noted()

    pool.configure(config("beta"))

    assert [vm.host for vm in shown(pool)] == ["alpha"]


def test_a_vm_that_was_frozen_just_before_its_master_stops_is_known_to_the_next_one() -> None:
    pool = with_one_that_nobody_has_noted()

    Deferred.fromCoroutine(pool.stop(keep=True))
    after_a_restart(pool, config("beta"))

    assert [vm.host for vm in shown(pool)] == ["alpha"]


def test_a_vm_that_its_host_has_no_more_is_noted_no_longer() -> None:
    pool = with_a_frozen_vm()
    (vm,) = pool.frozen

    Deferred.fromCoroutine(pool.thaws.release(vm))
    assert shown(pool) == []
    pool.frozen_notes.look()

    assert json.loads(pool.notes.saved) == []


def test_a_host_that_is_not_usable_hides_no_vm_from_the_next_master() -> None:
    pool = with_a_frozen_vm()
    alpha = pool.paper_hosts["alpha"]
    alpha.usable, alpha.trouble = False, "no route to it"
    alpha.frozen.clear()

    after_a_restart(pool, config("alpha", "beta"))

    (vm,) = shown(pool)
    assert vm.trouble.startswith("Host alpha is not usable: no route to it.")
    alpha.usable = True
    assert shown(pool) == [], "its host knows better"


def test_a_vm_on_a_machine_that_has_lost_its_name_is_shown() -> None:
    pool = with_a_frozen_vm()
    alpha = pool.paper_hosts["alpha"]
    alpha.frozen.clear()
    alpha.uuid = "another"

    (vm,) = shown(pool)

    assert "alpha is another machine now" in vm.trouble
    assert "uuid-of-alpha" in vm.trouble


def test_a_vm_is_forgotten_long_after_its_deadline() -> None:
    pool = with_a_frozen_vm()
    pool.configure(config("beta"))

    pool.clock.advance(2 * HOUR)
    assert [vm.seconds_left for vm in shown(pool)] == [0.0]
    pool.clock.advance(notes.KEPT_AFTER_DEADLINE - HOUR)
    assert [vm.seconds_left for vm in shown(pool)] == [0.0]
    pool.clock.advance(1)

    assert shown(pool) == []


def test_a_vm_is_forgotten_although_its_host_is_never_usable_again() -> None:
    pool = with_a_frozen_vm()
    pool.paper_hosts["alpha"].usable = False
    pool.frozen_notes.look()
    assert len(json.loads(pool.notes.saved)) == 1

    pool.clock.advance(2 * HOUR + notes.KEPT_AFTER_DEADLINE)
    pool.frozen_notes.look()

    assert json.loads(pool.notes.saved) == []


def test_notes_are_saved_when_they_change_and_not_else() -> None:
    pool = with_a_frozen_vm()
    pool.frozen_notes.look()

    assert pool.notes.saves == 1


def test_a_vm_is_noted_again_for_another_deadline_and_not_for_another_size() -> None:
    pool = with_a_frozen_vm()
    frozen = pool.paper_hosts["alpha"].frozen
    (vm,) = frozen
    frozen.add(replace(vm, size=vm.size + 1))
    pool.frozen_notes.look()
    assert pool.notes.saves == 1

    frozen.add(replace(vm, record=replace(vm.record, until="2030-01-01T00:00:00+00:00")))
    pool.frozen_notes.look()

    (note,) = json.loads(pool.notes.saved)
    assert (note["until"], pool.notes.saves) == ("2030-01-01T00:00:00+00:00", 2)


def test_what_changes_while_notes_are_saved_is_saved_after_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = with_one_that_nobody_has_noted()
    gates: list[Deferred[None]] = []
    save = pool.notes.save_frozen

    async def slowly(found: Sequence[Mapping[str, Any]]) -> None:
        gates.append(Deferred())
        await gates[-1]
        await save(found)

    monkeypatch.setattr(pool.notes, "save_frozen", slowly)
    pool.frozen_notes.look()
    frozen = pool.paper_hosts["alpha"].frozen
    (vm,) = frozen
    frozen.add(replace(vm, record=replace(vm.record, until="2030-01-01T00:00:00+00:00")))
    pool.frozen_notes.look()
    assert len(gates) == 1, "one after the other"

    gates[0].callback(None)
    assert [note["until"] for note in json.loads(pool.notes.saved)] == [vm.record.until]
    gates[1].callback(None)

    (note,) = json.loads(pool.notes.saved)
    assert note["until"] == "2030-01-01T00:00:00+00:00"
    assert (pool.notes.saves, len(gates)) == (2, 2)
    frozen.clear()
    pool.frozen_notes.look()
    assert len(gates) == 3


def test_what_another_version_has_noted_is_left_out() -> None:
    pool = with_a_frozen_vm()
    (note,) = json.loads(pool.notes.saved)
    wrong = {"vm_id": "other", "size": "large"}
    pool.notes.saved = json.dumps([{"vm_id": "x"}, 3, note | wrong, note])

    after_a_restart(pool, config("beta"))

    assert [vm.vm_id for vm in shown(pool)] == [note["vm_id"]]
