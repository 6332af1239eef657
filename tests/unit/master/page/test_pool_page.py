# SPDX-License-Identifier: GPL-2.0-only
"""The rows that a pool publishes."""

from __future__ import annotations

from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.master.page.pool_page import PoolPage
from pages import PaperMaster
from paper_pool import PaperPool, config_of


def test_the_row_of_a_vm_that_has_ended_is_made_once() -> None:
    pool = PaperPool(config_of(one={}))
    operations = Operations(
        pool, facts=lambda: Facts("m", "", 1, 0.0), undrained=lambda _target: None
    )
    page = PoolPage(PaperMaster(1, reactor=pool.clock), "pool", operations)
    ended, lives = pool.building(worker="first"), pool.building(worker="second")
    pool.given_back(ended)

    before, after = page._rows()["uses"], page._rows()["uses"]

    assert before.keys() == {ended.vm.vm_id, lives.vm.vm_id}
    assert before[ended.vm.vm_id] is after[ended.vm.vm_id]
    assert (before[ended.vm.vm_id]["phase"], before[lives.vm.vm_id]["phase"]) == ("", "build")
    pool.clock.advance(4000)
    assert page._rows()["uses"].keys() == {lives.vm.vm_id}
