# SPDX-License-Identifier: GPL-2.0-only
"""When workers are woken, spares are looked after, and the clock is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from buildbot.process.properties import Property
from twisted.internet.task import Clock

from latent_libvirt.master import maintenance
from latent_libvirt.master.maintenance import (
    IMAGE_INTERVAL,
    INTERVAL,
    TIDY_AFTER,
    Maintenance,
    builders_to_wake,
)
from latent_libvirt.master.workers.worker import LibvirtLatentWorker


class House:
    """A pool that writes down what is done with it, in order."""

    def __init__(self) -> None:
        self.name = "pool"
        self.done: list[str] = []
        self.aside: dict[str, str] = {}
        self.clock = Clock()
        botmaster = SimpleNamespace(
            builders={}, maybeStartBuildsForBuilder=lambda name: self.done.append(f"try {name}")
        )
        self.master = SimpleNamespace(reactor=self.clock, botmaster=botmaster)
        self.host_backoff = SimpleNamespace(hosts=lambda: self.aside, labels=dict)
        self.spares = SimpleNamespace(tidy=self.tidy)
        self.frozen_notes = SimpleNamespace(look=lambda: None)
        self.state_saver = SimpleNamespace(tidy=self.save)
        self.image_check = SimpleNamespace(run=self.check_images, look=self.look_at_images)
        self.breaks = False
        self.looks = 0
        self.steps: list[Callable[[], object]] = []

    def hosts_changed(self) -> None:
        self.done.append("hosts changed")

    def tidy(self) -> Iterator[None]:
        self.done.append("tidy")
        for during_step in self.steps:
            yield
            during_step()
            self.done.append("step")
        if self.breaks:
            raise ZeroDivisionError

    def save(self) -> Iterator[None]:
        self.done.append("save")
        yield

    async def look_at_images(self) -> None:
        self.looks += 1

    async def check_images(self) -> None:
        self.done.append("images")
        if self.breaks:
            raise ZeroDivisionError
        self.done.append("images of what is saved")


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(maintenance, "builders_to_wake", lambda _pool, _builders: ["check", "docs"])
    return House()


@pytest.fixture
def keeping(house: House) -> Maintenance:
    return Maintenance(cast("Any", house), botmaster=house.master.botmaster, reactor=house.clock)


def pass_time(house: House, seconds: float) -> list[str]:
    """Return what is done in the next *seconds*."""
    house.done.clear()
    steps = round(seconds / 0.5)
    house.clock.pump([0.5] * steps)
    return list(house.done)


def test_jobs_come_before_spares_when_there_is_room(house: House, keeping: Maintenance) -> None:
    keeping.wake_soon()
    assert not house.done, "not in the same turn: the one that made the room has not ended yet"

    house.clock.advance(0)
    assert house.done == ["try check", "try docs"]
    house.clock.pump([TIDY_AFTER, 0])
    assert house.done == ["try check", "try docs", "tidy", "save"]


def test_room_that_appears_many_times_at_once_wakes_workers_once(
    house: House, keeping: Maintenance
) -> None:
    for _ in range(100):
        keeping.wake_soon()

    assert pass_time(house, 60) == ["try check", "try docs", "tidy", "save"]


def test_room_that_appears_later_wakes_them_again(house: House, keeping: Maintenance) -> None:
    keeping.wake_soon()
    house.clock.advance(0)
    keeping.wake_soon()
    house.clock.advance(0)

    assert house.done == ["try check", "try docs"] * 2


def test_spares_and_images_are_looked_after_by_the_clock(
    house: House, keeping: Maintenance
) -> None:
    keeping.start()

    done = pass_time(house, IMAGE_INTERVAL)

    assert done.count("tidy") == IMAGE_INTERVAL / INTERVAL
    assert done.count("images") == 1
    assert house.looks == IMAGE_INTERVAL / INTERVAL
    keeping.stop()


def test_a_change_of_what_is_set_aside_is_told_once(house: House, keeping: Maintenance) -> None:
    keeping.start()
    house.aside = {"alpha": "it fails"}
    assert pass_time(house, 2 * INTERVAL).count("hosts changed") == 1

    house.aside = {}
    assert pass_time(house, 2 * INTERVAL).count("hosts changed") == 1
    keeping.stop()


def test_spares_that_cannot_be_tidied_stop_nothing_else(house: House, keeping: Maintenance) -> None:
    keeping.start()
    house.breaks = True
    keeping.wake_soon()

    done = pass_time(house, 4 * INTERVAL)

    assert done.count("tidy") >= 3
    assert done.count("save") == done.count("tidy")
    assert "try check" in done
    keeping.stop()


def test_jobs_get_room_that_appears_between_two_steps_of_tidying(
    house: House, keeping: Maintenance
) -> None:
    keeping.wake_soon()
    house.clock.advance(0)
    house.steps = [keeping.wake_soon, lambda: None]

    done = pass_time(house, TIDY_AFTER)

    assert done == ["tidy", "step", "try check", "try docs", "step", "save"]


def test_tidying_is_not_begun_again_before_it_is_over(house: House, keeping: Maintenance) -> None:
    keeping.start()
    house.steps = [lambda: house.clock.advance(2 * INTERVAL)]

    done = pass_time(house, 2 * INTERVAL)

    assert done[:4] == ["tidy", "step", "save", "tidy"]
    keeping.stop()


def test_images_that_cannot_be_looked_at_once_are_looked_at_again(
    house: House, keeping: Maintenance
) -> None:
    keeping.start()
    house.breaks = True

    done = pass_time(house, 3 * IMAGE_INTERVAL)

    assert done.count("images") == 3
    keeping.stop()


def test_nothing_is_done_after_the_end(house: House, keeping: Maintenance) -> None:
    keeping.start()
    keeping.wake_soon()

    keeping.stop()

    assert pass_time(house, 2 * IMAGE_INTERVAL) == []
    assert not house.clock.getDelayedCalls()


def test_it_may_be_ended_before_it_has_begun(house: House, keeping: Maintenance) -> None:
    keeping.stop()

    assert pass_time(house, INTERVAL) == []


def test_spares_are_looked_at_before_images_are(house: House) -> Any:
    assert maintenance.TIDY_AFTER < INTERVAL < IMAGE_INTERVAL


class Small:
    """A pool with room for VMs of ``small`` only."""

    name = "pool"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.admission = self

    def may_have_room(self, label: str) -> bool:
        self.asked.append(label)
        return label == "small"


def worker(name: str, label: Any, *, pool: str = "pool") -> LibvirtLatentWorker:
    return LibvirtLatentWorker(name, label=label, pool=pool)


def builder(*workers: Any) -> Any:
    return SimpleNamespace(workers=[SimpleNamespace(worker=worker) for worker in workers])


def test_only_builders_with_a_worker_that_could_start_are_tried() -> None:
    builders = {
        "small": builder(worker("small-1", "small")),
        "large": builder(worker("large-1", "large")),
        "both": builder(worker("large-2", "large"), worker("small-2", "small")),
        "any": builder(worker("any-1", Property("label"))),
        "of another pool": builder(worker("small-3", "small", pool="other")),
        "of other workers": builder(SimpleNamespace(name="by hand")),
        "without workers": builder(),
    }

    assert builders_to_wake(cast("Any", Small()), builders) == ["any", "both", "small"]


def test_a_worker_whose_vm_serves_a_build_is_no_reason_to_try() -> None:
    busy: Any = worker("small-1", "small")
    busy._vm = SimpleNamespace(is_idle=False)

    assert builders_to_wake(cast("Any", Small()), {"small": builder(busy)}) == []


def test_the_pool_is_asked_once_for_each_label() -> None:
    pool = Small()
    workers = [worker(f"large-{number}", "large") for number in range(50)]

    builders_to_wake(
        cast("Any", pool), {f"builder-{number}": builder(*workers) for number in range(20)}
    )

    assert pool.asked == ["large"]
