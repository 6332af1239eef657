# SPDX-License-Identifier: GPL-2.0-only
"""When workers are woken, spares are looked after, and the clock is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from latent_libvirt import housekeeping, wake_ups
from latent_libvirt.housekeeping import IMAGE_INTERVAL, INTERVAL, TIDY_AFTER, Housekeeping


class House:
    """A pool that writes down what is done with it, in order."""

    def __init__(self) -> None:
        self.name = "pool"
        self.config = object()
        self.done: list[str] = []
        self.aside: dict[str, str] = {}
        self.clock = Clock()
        botmaster = SimpleNamespace(
            builders={}, maybeStartBuildsForBuilder=lambda name: self.done.append(f"try {name}")
        )
        self.master = SimpleNamespace(reactor=self.clock, botmaster=botmaster)
        self.set_aside = SimpleNamespace(hosts=lambda: self.aside, labels=dict)
        self.spares = SimpleNamespace(tidy=self.tidy, check_images=self.check_images)
        self.sealer = SimpleNamespace(tidy=self.seal, check_images=self.check_sealed)
        self.desk = object()
        self.breaks = False
        self.steps: list[Callable[[], object]] = []

    def hosts_changed(self) -> None:
        self.done.append("hosts changed")

    def tidy(self, config: object) -> Iterator[None]:
        assert config is self.config
        self.done.append("tidy")
        for during_step in self.steps:
            yield
            during_step()
            self.done.append("step")
        if self.breaks:
            raise ZeroDivisionError

    def seal(self, config: object) -> Iterator[None]:
        assert config is self.config
        self.done.append("seal")
        yield

    async def check_sealed(self, config: object) -> None:
        assert config is self.config
        self.done.append("images of what is sealed")

    async def check_images(self, config: object) -> None:
        assert config is self.config
        self.done.append("images")
        if self.breaks:
            raise ZeroDivisionError


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(wake_ups, "builders", lambda _desk, _pool, _builders: ["check", "docs"])
    return House()


@pytest.fixture
def keeping(house: House) -> Housekeeping:
    return Housekeeping(house)


def pass_time(house: House, seconds: float) -> list[str]:
    """Return what is done in the next *seconds*."""
    house.done.clear()
    steps = round(seconds / 0.5)
    house.clock.pump([0.5] * steps)
    return list(house.done)


def test_jobs_come_before_spares_when_there_is_room(house: House, keeping: Housekeeping) -> None:
    keeping.wake_soon()
    assert not house.done, "not in the same turn: whoever made the room has not ended yet"

    house.clock.advance(0)
    assert house.done == ["try check", "try docs"]
    house.clock.pump([TIDY_AFTER, 0])
    assert house.done == ["try check", "try docs", "tidy", "seal"]


def test_room_that_appears_many_times_at_once_wakes_workers_once(
    house: House, keeping: Housekeeping
) -> None:
    for _ in range(100):
        keeping.wake_soon()

    assert pass_time(house, 60) == ["try check", "try docs", "tidy", "seal"]


def test_room_that_appears_later_wakes_them_again(house: House, keeping: Housekeeping) -> None:
    keeping.wake_soon()
    house.clock.advance(0)
    keeping.wake_soon()
    house.clock.advance(0)

    assert house.done == ["try check", "try docs"] * 2


def test_spares_and_images_are_looked_after_by_the_clock(
    house: House, keeping: Housekeeping
) -> None:
    keeping.start()

    done = pass_time(house, IMAGE_INTERVAL)

    assert done.count("tidy") == IMAGE_INTERVAL / INTERVAL
    assert done.count("images") == done.count("images of what is sealed") == 1
    keeping.stop()


def test_a_change_of_what_is_set_aside_is_told_once(house: House, keeping: Housekeeping) -> None:
    keeping.start()
    house.aside = {"alpha": "it fails"}
    assert pass_time(house, 2 * INTERVAL).count("hosts changed") == 1

    house.aside = {}
    assert pass_time(house, 2 * INTERVAL).count("hosts changed") == 1
    keeping.stop()


def test_spares_that_cannot_be_tidied_stop_nothing_else(
    house: House, keeping: Housekeeping
) -> None:
    keeping.start()
    house.breaks = True
    keeping.wake_soon()

    done = pass_time(house, 4 * INTERVAL)

    assert done.count("tidy") >= 3
    assert done.count("seal") == done.count("tidy")
    assert "try check" in done
    keeping.stop()


def test_jobs_get_room_that_appears_between_two_steps_of_tidying(
    house: House, keeping: Housekeeping
) -> None:
    keeping.wake_soon()
    house.clock.advance(0)
    house.steps = [keeping.wake_soon, lambda: None]

    done = pass_time(house, TIDY_AFTER)

    assert done == ["tidy", "step", "try check", "try docs", "step", "seal"]


def test_tidying_is_not_begun_again_before_it_is_over(house: House, keeping: Housekeeping) -> None:
    keeping.start()
    house.steps = [lambda: house.clock.advance(2 * INTERVAL)]

    done = pass_time(house, 2 * INTERVAL)

    assert done[:4] == ["tidy", "step", "seal", "tidy"]
    keeping.stop()


def test_images_that_cannot_be_looked_at_once_are_looked_at_again(
    house: House, keeping: Housekeeping
) -> None:
    keeping.start()
    house.breaks = True

    done = pass_time(house, 3 * IMAGE_INTERVAL)

    assert done.count("images") == 3
    keeping.stop()


def test_nothing_is_done_after_the_end(house: House, keeping: Housekeeping) -> None:
    keeping.start()
    keeping.wake_soon()

    keeping.stop()

    assert pass_time(house, 2 * IMAGE_INTERVAL) == []
    assert not house.clock.getDelayedCalls()


def test_it_may_be_ended_before_it_has_begun(house: House, keeping: Housekeeping) -> None:
    keeping.stop()

    assert pass_time(house, INTERVAL) == []


def test_spares_are_looked_at_before_images_are(house: House) -> Any:
    assert housekeeping.TIDY_AFTER < INTERVAL < IMAGE_INTERVAL
