# SPDX-License-Identifier: GPL-2.0-only
"""What a job can have, and which spares are evicted for it."""

from __future__ import annotations

import gc

import pytest
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import PoolConfig
from latent_libvirt.pool.allocator import Evictable
from latent_libvirt.pool.room.amounts import Size
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


def test_there_would_be_room_where_spares_would_go_and_none_goes_for_the_question() -> None:
    pool = pool_with(spares=4)
    assert pool.allocator.would_have([("job", None)]) == {("job", None)}
    assert not pool.going

    while pool.allocator.take("spare") is not None:
        pass  # jobs have them
    assert not pool.allocator.would_have([("job", None)])


def test_what_may_be_evicted_is_looked_at_once_for_all_that_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = pool_with(spares=4)
    looks: list[int] = []
    evictable = pool.allocator.evictable

    def look() -> list[Evictable]:
        looks.append(1)
        return list(evictable())

    monkeypatch.setattr(pool.allocator, "evictable", look)
    job, pinned, spare = ("job", None), ("pinned", None), ("spare", None)

    assert pool.allocator.would_have([spare]) == {spare}
    assert not looks, "one waits"
    assert pool.allocator.would_have([job, pinned, spare]) == {job, pinned, spare}
    assert len(looks) == 1


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


def test_no_more_go_than_it_takes_on_a_host_that_has_more_of_them_than_the_others() -> None:
    sizes: dict[str, int] = {"vcpus": 1, "spares": 3}
    config = config_of(slots=3, large={"vcpus": 2, "hosts": ["beta"]}, small={**sizes})
    hosts = {
        name: host.model_copy(update={"vcpus": vcpus})
        for (name, host), vcpus in zip(config.hosts.items(), (1, 2), strict=True)
    }
    pool = Pool(config.model_copy(update={"hosts": hosts}))
    assert sorted(vm.host.name for vm in pool.spares) == ["alpha", "beta", "beta"]

    pool.allocator.make_room("large")

    assert [machine.host.name for machine in pool.going] == ["beta", "beta"]


def test_where_no_host_alone_makes_room_all_that_may_go_go() -> None:
    pool = pool_with(spares=4)
    pool.configure(config_of(slots=2, max_vms=2, spare={"spares": 2}, job={}))

    pool.allocator.make_room("job")

    assert len(pool.going) == 4
    pool.end()
    assert pool.allocator.has("job")


def test_no_more_goes_for_a_label_until_that_which_is_going_has_gone() -> None:
    pool = pool_with(spares=4)

    pool.allocator.make_room("job")
    assert not pool.allocator.can_make_room("job")
    assert pool.allocator.can_make_room("pinned")
    pool.end()

    assert pool.allocator.can_make_room("job")


def test_the_log_names_all_that_goes_for_a_job() -> None:
    pool = pool_with(spares=4)
    pool.configure(config_of(slots=2, max_vms=2, spare={"spares": 2}, job={}))
    names = {str(vm) for vm in pool.spares}

    with capturedLogs() as logged:
        pool.allocator.make_room("job")

    (line,) = [line for event in logged if "needs the room" in (line := formatEvent(event))]
    begin, listed = line.split(" needs the room of ")
    assert begin == "a job of label job"
    assert set(listed.split(", ")) == {f"spare {name}" for name in names}


def test_a_tear_down_that_fails_is_logged_and_others_may_go_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = pool_with(spares=4)

    async def fail(_machine: object) -> None:
        raise ZeroDivisionError

    for host in pool.paper_hosts.values():
        monkeypatch.setattr(host, "discard", fail)
    with capturedLogs() as logged:
        pool.allocator.make_room("job")
        gc.collect()  # Twisted logs what nobody has handled once more, when it is collected

    assert pool.allocator.can_make_room("job")
    assert [event.get("what") for event in logged if "log_failure" in event] == ["eviction"]


def test_what_may_go_is_looked_for_once_until_something_changes() -> None:
    pool = pool_with(spares=2)
    for worker in "ab":
        pool.give("job", worker)
    looks: list[str] = []
    evictable = pool.allocator.evictable

    def look() -> list[Evictable]:
        looks.append("look")
        return list(evictable())

    pool.allocator.evictable = look
    for _ in range(3):
        pool.allocator.make_room("job")
    assert len(looks) == 1

    pool.allocator.changed()
    pool.allocator.make_room("job")
    assert len(looks) == 2


def test_a_job_can_have_a_spare_where_no_other_vm_could_start() -> None:
    pool = pool_with(spares=4)

    assert pool.allocator.has("spare")
    assert not pool.capacity.room("spare")


def test_a_spare_is_no_room_for_a_job_that_has_chosen_another_size() -> None:
    choice = {"min": 1, "max": 2, "default": 1}
    pool = Pool(config_of(hosts=("alpha",), slots=1, one={"vcpus": choice, "spares": 1}))
    (spare,) = pool.spares
    usual = spare.allocation.size

    assert pool.allocator.has("one", usual)
    assert not pool.allocator.has("one", Size(2, usual.memory))
    assert pool.allocator.take("one", size=Size(2, usual.memory)) is None


def test_a_spare_that_was_given_back_is_the_next_one_that_is_given_out() -> None:
    pool = pool_with(spares=2)
    first = pool.allocator.take("spare")
    assert first is not None
    assert (first.way, first.spare in list(pool.spares)) == ("spare", False)

    pool.allocator.give_back(first)
    again = pool.allocator.take("spare")

    assert again is not None
    assert again.spare is first.spare


def test_room_that_was_not_used_is_free_again() -> None:
    pool = pool_with(spares=0)
    grant = pool.allocator.take("job")
    assert grant is not None
    assert grant.way == "cold"

    pool.allocator.give_back(grant)

    assert not pool.capacity.taken


def test_a_host_to_avoid_is_used_only_if_there_is_no_other() -> None:
    pool = Pool(config_of(job={}))

    grants = [pool.allocator.take("job", avoid={"alpha"}) for _ in range(4)]

    hosts = [grant.allocation.host for grant in grants if grant is not None]
    assert hosts == ["beta", "beta", "alpha", "alpha"]


def test_a_spare_on_a_host_to_avoid_is_not_given_out() -> None:
    pool = pool_with(spares=1)
    (spare,) = pool.spares

    elsewhere = pool.allocator.take("spare", avoid={spare.host.name})
    here = pool.allocator.take("spare")

    assert elsewhere is not None
    assert elsewhere.spare is None
    assert elsewhere.allocation.host != spare.host.name
    assert here is not None
    assert (here.spare, here.allocation) == (spare, spare.allocation)


def test_a_slot_to_avoid_is_used_only_if_no_other_is_free() -> None:
    pool = Pool(config_of(hosts=("alpha",), job={}))

    grants = [pool.allocator.take("job", avoid_slots={("alpha", 1)}) for _ in range(2)]

    assert [grant.allocation.slot for grant in grants if grant is not None] == [2, 1]
