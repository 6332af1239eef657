# SPDX-License-Identifier: GPL-2.0-only
"""What a job can have, and what is evicted for it."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.capacity import Budget, Caps, LabelCap, Ledger, Place
from latent_libvirt.host_ranking import Size
from latent_libvirt.supply import Evictable, Supply
from shelves import EmptyShelf

BOTH = ("alpha", "beta")


class Victims:
    """VMs that may go, as long as nobody has asked them to."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.places: list[Place] = []
        self.going: dict[Place, Deferred[None]] = {}

    def add(self, label: str, count: int) -> None:
        for _ in range(count):
            place = self._ledger.take(label)
            assert place is not None
            self._ledger.note_started(place)
            self.places.append(place)

    def evictable(self) -> list[Evictable]:
        return [
            Evictable(place, f"spare of {place.label}", partial(self._evict, place))
            for place in self.places
        ]

    def _evict(self, place: Place) -> Deferred[None]:
        self.places.remove(place)
        self.going[place] = Deferred()
        return self.going[place]

    def end(self) -> None:
        """Let those that are going be gone."""
        going, self.going = self.going, {}
        for place, gone in going.items():
            self._ledger.give_back(place)
            gone.callback(None)


@pytest.fixture
def ledger() -> Ledger:
    labels = {
        "spare": LabelCap(9, BOTH),
        "job": LabelCap(2, BOTH),
        "only-beta": LabelCap(9, ("beta",)),
    }
    return Ledger(Caps(4, {"alpha": 2, "beta": 2}, labels))


@pytest.fixture
def victims(ledger: Ledger) -> Victims:
    return Victims(ledger)


@pytest.fixture
def supply(ledger: Ledger, victims: Victims) -> Supply:
    return Supply(ledger, EmptyShelf(), victims.evictable)


def test_nothing_is_evicted_that_is_not_in_the_way(supply: Supply, victims: Victims) -> None:
    victims.add("spare", 2)

    assert supply.has("job")
    assert supply.take("job") is not None
    assert not victims.going


def test_one_spare_goes_for_one_job(supply: Supply, victims: Victims) -> None:
    victims.add("spare", 4)
    assert not supply.has("job")

    supply.make_room("job")
    supply.make_room("job")

    assert len(victims.going) == 1
    victims.end()
    assert supply.has("job")


def test_what_goes_is_on_a_host_where_the_job_may_run(supply: Supply, victims: Victims) -> None:
    victims.add("spare", 4)

    supply.make_room("only-beta")

    assert [place.host for place in victims.going] == ["beta"]


def test_where_the_masters_cap_is_in_the_way_any_spare_will_do(
    ledger: Ledger, supply: Supply, victims: Victims
) -> None:
    ledger.caps = Caps(2, {"alpha": 2, "beta": 2}, ledger.caps.labels)
    victims.add("spare", 2)

    supply.make_room("only-beta")

    assert len(victims.going) == 1
    victims.end()
    assert supply.has("only-beta")


def test_nothing_is_evicted_where_that_does_not_help(
    ledger: Ledger, supply: Supply, victims: Victims
) -> None:
    for _ in range(2):
        ledger.take("job")
    victims.add("spare", 2)

    supply.make_room("job")

    assert not victims.going, "the label is at its own cap"
    assert not supply.can_make_room("job")
    supply.changed()
    assert supply.can_make_room("job")


def test_a_large_job_evicts_as_many_small_spares_as_it_takes() -> None:
    labels = {
        "small": LabelCap(9, BOTH, Size(1, 1)),
        "large": LabelCap(9, BOTH, Size(3, 3)),
    }
    budgets = {"alpha": Budget(4, 4), "beta": Budget(4, 4)}
    ledger = Ledger(Caps(9, {"alpha": 9, "beta": 9}, labels, budgets=budgets))
    victims = Victims(ledger)
    victims.add("small", 8)
    supply = Supply(ledger, EmptyShelf(), victims.evictable)

    supply.make_room("large")

    assert len(victims.going) == 3
    assert len({place.host for place in victims.going}) == 1
    victims.end()
    assert supply.has("large")
