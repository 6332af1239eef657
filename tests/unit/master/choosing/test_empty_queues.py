# SPDX-License-Identifier: GPL-2.0-only
"""Which queues need not be read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.mq.simple import SimpleMQ
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from latent_libvirt.master.choosing.empty_queues import TRUSTED, EmptyQueues


class House:
    """Queues, the clock, and Buildbot's messages."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.mq: Any = SimpleMQ()
        self.queues = EmptyQueues(self.clock)

    def read(self, builder: str = "check", *, is_empty: bool = True) -> None:
        self.queues.read(builder, self.queues.moment, is_empty=is_empty)

    def announce(self, event: str) -> None:
        self.mq.produce(("buildrequests", "7", event), {})


@pytest.fixture
def house() -> House:
    house = House()
    house.queues.listen(SimpleNamespace(mq=house.mq))
    return house


def test_a_queue_that_was_never_read_is_not_known(house: House) -> None:
    assert not house.queues.is_known("check")


def test_a_queue_that_was_empty_is_known_as_that(house: House) -> None:
    house.read()
    assert house.queues.is_known("check")
    assert not house.queues.is_known("other")


def test_a_queue_with_requests_is_read_again(house: House) -> None:
    house.read()
    house.read(is_empty=False)
    assert not house.queues.is_known("check")


@pytest.mark.parametrize("event", ["new", "unclaimed"])
def test_a_request_that_is_announced_lets_queues_be_read(house: House, event: str) -> None:
    house.read()
    house.announce(event)
    assert not house.queues.is_known("check")
    house.read()
    assert house.queues.is_known("check")


@pytest.mark.parametrize("event", ["claimed", "complete", "cancel"])
def test_what_adds_no_request_does_not(house: House, event: str) -> None:
    house.read()
    house.announce(event)
    assert house.queues.is_known("check")


def test_a_request_that_comes_during_a_read_lets_the_queue_be_read_again(house: House) -> None:
    moment = house.queues.moment
    house.announce("new")
    house.queues.read("check", moment, is_empty=True)
    assert not house.queues.is_known("check")


def test_a_message_may_be_lost_for_so_long_only(house: House) -> None:
    house.read()
    house.clock.advance(TRUSTED - 0.1)
    assert house.queues.is_known("check")
    house.clock.advance(0.1)
    assert not house.queues.is_known("check")


def test_nothing_is_known_before_messages_are_heard() -> None:
    house = House()
    subscribed: Deferred[None] = Deferred()
    house.mq.startConsuming = lambda *_: subscribed
    house.queues.listen(SimpleNamespace(mq=house.mq))
    house.read()
    assert not house.queues.is_known("check")
    subscribed.callback(None)
    house.read()
    assert house.queues.is_known("check")


def test_who_is_interested_hears_of_a_request_when_its_queue_is_not_known_any_more() -> None:
    house, known = House(), []
    house.queues = EmptyQueues(
        house.clock, announced=lambda _request: known.append(house.queues.is_known("check"))
    )
    house.queues.listen(SimpleNamespace(mq=house.mq))
    house.read()
    house.announce("new")
    house.announce("claimed")
    assert known == [False]
