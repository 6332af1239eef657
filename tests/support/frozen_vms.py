# SPDX-License-Identifier: GPL-2.0-only
"""Pools on paper whose VMs are frozen, for tests that thaw them."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from latent_libvirt.errors import (
    LatentLibvirtError,
)
from latent_libvirt.pool.holding.frozen import Frozen
from latent_libvirt.pool.lease import Lease
from paper_pool import PaperHost, PaperPool, config_of, machine_of


def a_pool(*, slots: int = 1, **label: object) -> PaperPool:
    one = {"hold_on_failure": "1h", "freeze": True, **label}
    return PaperPool(config_of(hosts=("alpha",), slots=slots, one=one))


def failed(pool: PaperPool, worker: str = "worker") -> Lease:
    """Let a build fail, whose VM is about to be frozen then."""
    lease = pool.building(worker=worker)
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    return lease


def frozen(pool: PaperPool) -> Frozen:
    """Freeze the VM of a build that fails."""
    lease = failed(pool)
    machine_of(lease.vm).goes_on()
    (found,) = pool.frozen
    return found


def thawed(pool: PaperPool, vm: Frozen, seconds: float | None = None) -> Deferred[object]:
    return Deferred.fromCoroutine(pool.thaws.thaw(vm, seconds))


def refusal(asked: Deferred[object]) -> LatentLibvirtError:
    """Return the error with which *asked*, which is over, has failed."""
    errors: list[object] = []
    asked.addErrback(lambda failure: errors.append(failure.value))
    (error,) = errors
    assert isinstance(error, LatentLibvirtError)
    return error


def waits_for_its_slot(pool: PaperPool) -> tuple[Frozen, Lease]:
    """Return a frozen VM that waits for its slot, and the lease of the VM that has that."""
    vm = frozen(pool)
    other = pool.building(worker="other")
    thawed(pool, vm)
    assert pool.thaws.is_waiting(vm)
    return vm, other


def waits_although_its_slot_is_free(pool: PaperPool) -> tuple[Frozen, PaperHost]:
    """Return a frozen VM that waits, and its host, which was not usable when its slot got free."""
    vm, other = waits_for_its_slot(pool)
    host = pool.paper_hosts["alpha"]
    host.usable = False
    pool.given_back(other)
    host.usable = True
    return vm, host
