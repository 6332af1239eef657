# SPDX-License-Identifier: GPL-2.0-only
"""The rules by which spares are kept; real ones are in tests/integration/test_spares.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from latent_libvirt.config import PoolConfig
from latent_libvirt.errors import GuestError
from latent_libvirt.pool.capacity import (
    Capacity,
    Caps,
)
from latent_libvirt.pool.spares import (
    BACKOFF,
    Spares,
)
from latent_libvirt.status import Target
from paper_stock import OWNER, PaperStock, machine_of
from synchronous import all_of

HOST = {"uri": "qemu:///system", "storage_pool": "default"}


def config_of(*, slots: int = 4, max_vms: int = 10, **labels: dict[str, object]) -> PoolConfig:
    """Return a configuration with two hosts, and labels with what is said of each."""
    return PoolConfig.model_validate(
        {
            "master": {"max_vms": max_vms},
            "hosts": {
                "alpha": {**HOST, "slots": slots},
                "beta": {**HOST, "uri": "qemu:///session", "slots": slots},
            },
            "labels": {name: {"image": "debian-12", **label} for name, label in labels.items()},
        }
    )


class Shelf:
    """Spares, with all that they need."""

    def __init__(self, config: PoolConfig) -> None:
        self.clock = Clock()
        self.config = config
        self.capacity = Capacity(Caps.of(config))
        self.registry = PaperStock(self.capacity, self.clock)
        self.spares = self.next_master()

    def next_master(self) -> Spares:
        """Return the spares of a master that begins again."""
        return Spares(self.registry.as_stock, self.capacity, owner=OWNER, reactor=self.clock)

    def tidy(self, config: PoolConfig | None = None) -> None:
        if config is not None:
            self.config = config
            self.capacity.caps = Caps.of(config)
        all_of(self.spares.tidy(self.config))

    def all_up(self) -> None:
        for vm in self.registry.vms:
            if not machine_of(vm).booted:
                machine_of(vm).is_up()

    def labels(self) -> list[str]:
        return sorted(vm.allocation.label for vm in self.spares)


def test_as_many_are_started_as_the_label_says() -> None:
    shelf = Shelf(config_of(one={"spares": 2}, none={}))
    shelf.tidy()

    assert shelf.labels() == ["one", "one"]


def test_a_spare_rehearses_as_soon_as_it_is_up_but_one_that_a_job_has_does_not() -> None:
    shelf = Shelf(config_of(one={"spares": 2}))
    shelf.tidy()
    claimed = shelf.spares.claim("one")
    assert claimed is not None

    shelf.all_up()

    assert machine_of(claimed).rehearsals == 0
    assert [machine_of(vm).rehearsals for vm in shelf.spares] == [1]


def test_labels_share_what_room_there_is() -> None:
    shelf = Shelf(config_of(slots=2, one={"spares": 4}, two={"spares": 4}))
    shelf.tidy()

    assert shelf.labels() == ["one", "one", "two", "two"]


def test_what_a_job_has_taken_is_replaced() -> None:
    shelf = Shelf(config_of(one={"spares": 1}))
    shelf.tidy()
    shelf.all_up()

    claimed = shelf.spares.claim("one")
    shelf.tidy()

    assert claimed is not None
    assert claimed not in list(shelf.spares)
    assert len(shelf.registry.vms) == 2


def test_a_job_gets_one_that_waits_before_one_that_is_on_its_way() -> None:
    shelf = Shelf(config_of(one={"spares": 2}))
    shelf.tidy()
    _on_its_way, waiting = shelf.registry.vms
    machine_of(waiting).is_up()

    assert shelf.spares.claim("one") is waiting


def test_a_job_gets_one_that_is_on_its_way_before_it_gets_none() -> None:
    shelf = Shelf(config_of(one={"spares": 1}))
    shelf.tidy()

    assert shelf.spares.has("one")
    assert shelf.spares.claim("one") is shelf.registry.vms[0]
    assert not shelf.spares.has("one")


def test_none_is_given_out_from_a_host_that_cannot_be_used() -> None:
    shelf = Shelf(config_of(one={"spares": 1}))
    shelf.tidy()
    shelf.registry.hosts[shelf.registry.vms[0].host.name].usable = False

    assert not shelf.spares.has("one")
    assert shelf.spares.claim("one") is None


def test_hosts_to_avoid_are_avoided() -> None:
    shelf = Shelf(config_of(one={"spares": 2}))
    shelf.tidy()
    other = next(vm for vm in shelf.registry.vms if vm.host.name == "beta")

    assert shelf.spares.claim("one", avoid={"alpha"}) is other
    assert shelf.spares.claim("one", avoid={"alpha"}) is None


def test_one_that_is_too_old_is_replaced() -> None:
    shelf = Shelf(config_of(one={"spares": 1, "spare_max_age": "1h"}))
    shelf.tidy()
    shelf.all_up()
    shelf.clock.advance(3600)
    shelf.tidy()
    assert not shelf.registry.gone

    shelf.clock.advance(2)
    shelf.tidy()

    assert shelf.registry.gone == shelf.registry.vms[:1]
    assert len(shelf.registry.vms) == 2


@pytest.mark.parametrize("change", [{"memory": "1GiB"}, {"vcpus": 2}, {"image": "other"}])
def test_one_that_was_made_for_another_label_is_replaced(change: dict[str, object]) -> None:
    before = config_of(one={"spares": 1})
    after = before.model_dump(mode="json")
    after["labels"]["one"].update(change)
    after["images"] = {"other": {}}
    shelf = Shelf(before)
    shelf.tidy()
    shelf.all_up()

    shelf.tidy(PoolConfig.model_validate(after))

    assert shelf.registry.gone == shelf.registry.vms[:1]
    assert len(shelf.registry.vms) == 2


def test_a_change_that_does_not_concern_the_vm_replaces_nothing() -> None:
    shelf = Shelf(config_of(one={"spares": 1}))
    shelf.tidy()
    shelf.all_up()

    shelf.tidy(config_of(one={"spares": 1, "attach_timeout": "5m", "max_vms": 3}))

    assert not shelf.registry.gone


def test_those_of_a_label_that_is_not_configured_any_more_end() -> None:
    shelf = Shelf(config_of(one={"spares": 1}, two={}))
    shelf.tidy()

    shelf.tidy(config_of(two={}))

    assert not list(shelf.spares)
    assert not shelf.capacity.taken


def test_those_of_a_drained_host_end_and_start_elsewhere() -> None:
    shelf = Shelf(config_of(one={"spares": 2}))
    shelf.tidy()
    shelf.capacity.drained = frozenset([Target("host", "alpha")])

    shelf.tidy()

    assert [vm.host.name for vm in shelf.spares] == ["beta", "beta"]


def test_their_number_follows_the_clock() -> None:
    periods = [{"when": "* 8-17 * * *", "count": 3}]
    spares = {"count": 1, "periods": periods, "time_zone": "Etc/GMT-2"}
    shelf = Shelf(config_of(one={"spares": spares}))
    counts = []
    for hour in (5, 6, 15, 16):  # 8 o'clock there is 6 o'clock in UTC, the Clock's own
        shelf.clock.advance(hour * 3600 - shelf.clock.seconds())
        shelf.tidy()
        counts.append(len(list(shelf.spares)))

    assert counts == [1, 3, 3, 1]


def test_one_that_dies_is_replaced_after_a_rest() -> None:
    shelf = Shelf(config_of(one={"spares": 1}))
    shelf.tidy()
    shelf.all_up()

    machine_of(shelf.registry.vms[0]).dies()
    shelf.tidy()
    assert not list(shelf.spares)

    shelf.clock.advance(BACKOFF.first)
    shelf.tidy()
    assert len(list(shelf.spares)) == 1


def test_those_that_never_come_up_are_tried_less_and_less_often() -> None:
    shelf = Shelf(config_of(one={"spares": 1}))
    for _second in range(3600):
        shelf.tidy()
        for vm in shelf.spares:
            machine_of(vm).up.errback(GuestError("silent"))
        shelf.clock.advance(1)

    assert 5 <= len(shelf.registry.vms) <= 12


def test_one_that_a_job_has_taken_may_die_without_being_missed() -> None:
    shelf = Shelf(config_of(one={"spares": 1}))
    shelf.tidy()
    shelf.all_up()
    claimed = shelf.spares.claim("one")
    assert claimed is not None

    machine_of(claimed).dies()
    shelf.tidy()

    assert not shelf.registry.gone
    assert len(list(shelf.spares)) == 1


@pytest_twisted.ensureDeferred
async def test_those_with_an_older_image_are_replaced() -> None:
    shelf = Shelf(config_of(one={"spares": 2}))
    shelf.tidy()
    shelf.all_up()
    await shelf.spares.check_images(shelf.config)
    assert not shelf.registry.gone

    shelf.registry.hosts["beta"].newest = "newer"
    await shelf.spares.check_images(shelf.config)

    assert [vm.host.name for vm in shelf.registry.gone] == ["beta"]


@pytest_twisted.ensureDeferred
async def test_the_next_master_goes_on_with_them() -> None:
    shelf = Shelf(config_of(one={"spares": 1}))
    shelf.tidy()
    shelf.all_up()
    (vm,) = shelf.registry.vms
    await shelf.spares.leave_running()
    assert shelf.registry.left == [vm]

    successor = shelf.next_master()
    record = replace(vm.machine.record)

    assert successor.adopt(shelf.config, vm.host.name, vm.allocation.slot, record)
    assert [(v.host.name, v.allocation.slot) for v in successor] == [
        (vm.host.name, vm.allocation.slot)
    ]
    assert not successor.adopt(shelf.config, vm.host.name, vm.allocation.slot, record), (
        "one is enough"
    )


@pytest.mark.parametrize(
    "config",
    [
        config_of(one={"spares": 0}),
        config_of(one={"spares": 1, "memory": "2GiB"}),
        config_of(one={"spares": 1, "drain": True}),
        config_of(other={"spares": 1}),
        config_of(slots=0, one={"spares": 1}),
        config_of(max_vms=0, one={}),
    ],
    ids=["not wanted", "another label", "drained", "no label", "no slot", "no room"],
)
def test_the_next_master_does_not_go_on_with_what_it_would_not_start(config: PoolConfig) -> None:
    before = Shelf(config_of(one={"spares": 1}))
    before.tidy()
    (vm,) = before.registry.vms
    after = Shelf(config)

    assert not after.spares.adopt(config, vm.host.name, vm.allocation.slot, vm.machine.record)
    assert not after.capacity.taken
