# SPDX-License-Identifier: GPL-2.0-only
"""When a request that comes has its builder tried."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from latent_libvirt.master.choosing.prompt_tries import INTERVAL, PromptTries


class House:
    """A distributor with builders 1 to 3, and the clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.tried: list[list[str]] = []
        names = {1: "one", 2: "two", 3: "three"}
        builders = {number: SimpleNamespace(name=name) for number, name in names.items()}
        distributor: Any = SimpleNamespace(
            botmaster=SimpleNamespace(getBuilderById=builders.get),
            maybeStartBuildsOn=self.tried.append,
        )
        self.tries = PromptTries(distributor, self.clock)

    def announce(self, *builders: int) -> None:
        for builder in builders:
            self.tries.hear({"builderid": builder})


@pytest.fixture
def house() -> House:
    return House()


def test_a_request_has_its_builder_tried_in_the_next_turn(house: House) -> None:
    house.announce(2)
    assert house.tried == []  # others that listen are to hear it first
    house.clock.advance(0)
    assert house.tried == [["two"]]


def test_those_of_one_turn_are_tried_together(house: House) -> None:
    house.announce(3, 1, 3)
    house.clock.advance(0)
    assert house.tried == [["one", "three"]]


def test_those_that_follow_are_tried_together_later(house: House) -> None:
    house.announce(1)
    house.clock.advance(0)
    house.announce(2)
    house.clock.advance(INTERVAL / 2)
    house.announce(1)
    assert house.tried == [["one"]]
    house.clock.advance(INTERVAL / 2)
    assert house.tried == [["one"], ["one", "two"]]


def test_requests_that_do_not_cease_are_tried_at_each_interval(house: House) -> None:
    for _ in range(100):
        house.announce(1)
        house.clock.advance(INTERVAL / 10)
    assert len(house.tried) == pytest.approx(10, abs=1)


def test_after_an_interval_of_silence_the_next_is_tried_at_once(house: House) -> None:
    house.announce(1)
    house.clock.pump([0, INTERVAL, 0])
    assert house.tried == [["one"]]
    assert house.clock.getDelayedCalls() == []
    house.announce(2)
    house.clock.advance(0)
    assert house.tried == [["one"], ["two"]]


def test_a_request_for_a_builder_of_other_masters_has_none_tried(house: House) -> None:
    house.announce(7)
    house.clock.advance(0)
    assert house.tried == []
    assert house.clock.getDelayedCalls() == []
