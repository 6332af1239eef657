# SPDX-License-Identifier: GPL-2.0-only
"""Frozen VMs are those that their hosts know.

The VMs are on paper; real ones are in tests/integration/host/test_freezing.py.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from frozen_vms import a_pool, frozen


def test_vms_stay_frozen_when_their_master_stops_and_not_when_their_pool_goes() -> None:
    pool = a_pool()
    frozen(pool)

    Deferred.fromCoroutine(pool.stop(keep=True))
    assert list(pool.paper_hosts["alpha"].frozen)
    pool.begin()
    Deferred.fromCoroutine(pool.stop(keep=False))

    assert not list(pool.paper_hosts["alpha"].frozen)
