# SPDX-License-Identifier: GPL-2.0-only
"""What a job can have, and which spares are evicted for it."""

from __future__ import annotations

from latent_libvirt.config import PoolConfig
from paper_pool import PaperMachine, PaperPool, config_of, machine_of


class Pool(PaperPool):
    """A pool whose spares are up, and go when the test says so."""

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self.tidy()
        for vm in self.spares:
            machine_of(vm).comes_up()
        for host in self.paper_hosts.values():
            host.frees_at_once = False

    @property
    def going(self) -> list[PaperMachine]:
        """The spares that are being ended, or have been."""
        return [machine for host in self.paper_hosts.values() for machine in host.discarded]

    def end(self) -> None:
        """Let those that are going be gone."""
        for host in self.paper_hosts.values():
            host.frees()


def pool_with(spares: int, *, max_vms: int = 4) -> Pool:
    """Return a pool with that many spares, and two labels without."""
    return Pool(
        config_of(
            slots=2,
            max_vms=max_vms,
            spare={"spares": spares},
            job={"max_vms": 2},
            pinned={"hosts": ["beta"]},
        )
    )


def test_nothing_is_evicted_that_is_not_in_the_way() -> None:
    pool = pool_with(spares=2)

    assert pool.allocator.has("job")
    assert pool.allocator.take("job") is not None
    assert not pool.going


def test_one_spare_goes_for_one_job() -> None:
    pool = pool_with(spares=4)
    assert not pool.allocator.has("job")

    pool.allocator.make_room("job")
    pool.allocator.make_room("job")

    assert len(pool.going) == 1
    pool.end()
    assert pool.allocator.has("job")


def test_what_goes_is_on_a_host_where_the_job_may_run() -> None:
    pool = pool_with(spares=4)

    pool.allocator.make_room("pinned")

    assert [machine.host.name for machine in pool.going] == ["beta"]


def test_where_the_masters_cap_is_in_the_way_any_spare_will_do() -> None:
    pool = pool_with(spares=2, max_vms=2)

    pool.allocator.make_room("pinned")

    assert len(pool.going) == 1
    pool.end()
    assert pool.allocator.has("pinned")


def test_nothing_is_evicted_where_that_does_not_help() -> None:
    pool = pool_with(spares=2)
    for worker in "ab":
        pool.give("job", worker)

    pool.allocator.make_room("job")

    assert not pool.going, "the label is at its own cap"
    assert not pool.allocator.can_make_room("job")
    pool.allocator.changed()
    assert pool.allocator.can_make_room("job")


def test_a_large_job_evicts_as_many_small_spares_as_it_takes() -> None:
    config = config_of(slots=9, small={"spares": 8, "vcpus": 1}, large={"vcpus": 3})
    hosts = {name: host.model_copy(update={"vcpus": 4}) for name, host in config.hosts.items()}
    pool = Pool(config.model_copy(update={"hosts": hosts}))

    pool.allocator.make_room("large")

    assert len(pool.going) == 3
    assert len({machine.host.name for machine in pool.going}) == 1
    pool.end()
    assert pool.allocator.has("large")
