# SPDX-License-Identifier: GPL-2.0-only
"""Whose turn it is, with a distributor that does what Buildbot's does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.pool.fair_share import (
    FairShare,
    Waiting,
)


@dataclass
class Request:
    """One of a builder."""

    builder: str
    priority: int
    submitted: int


@dataclass
class Distributor:
    """Buildbot's (process/buildrequestdistributor.py), reduced to the order of its questions.

    It takes the list of builders as it is, lets each start what it can, and then takes the next
    list, on which are those that have been put there in the meantime.

    :param room: how many more VMs may start.
    :param stuck: builders that have no worker, and are never asked.
    """

    requests: list[Request]
    room: int
    vms: Counter[str] = field(default_factory=Counter)
    stuck: frozenset[str] = frozenset()
    fair_share: FairShare = field(default_factory=FairShare)
    served: list[Request] = field(default_factory=list)
    rounds: int = 0

    def run(self) -> None:
        """Distribute until nobody wants to be tried again."""
        again = {request.builder for request in self.requests}
        while again:
            self.rounds += 1
            order = self.fair_share.line_up(again, self._waiting(), self.vms)
            again = {builder for builder in order if self._try(builder)}

    def _waiting(self) -> dict[str, Waiting]:
        waiting = {}
        for builder in {request.builder for request in self.requests}:
            own = [request for request in self.requests if request.builder == builder]
            counts: Counter[float] = Counter(request.priority for request in own)
            since = {p: min(r.submitted for r in own if r.priority == p) for p in counts}
            waiting[builder] = Waiting(counts, {p: float(s) for p, s in since.items()})
        return waiting

    def _try(self, builder: str) -> bool:
        """Let *builder* start what it can; return whether its turn was ended by another's."""
        while request := self._next(builder):
            if builder in self.stuck:
                return False
            if not self.room:
                self.fair_share.no_room(builder)
                return False
            if not self.fair_share.may_take(builder, request.priority):
                return True
            self._serve(request)
        return False

    def _next(self, builder: str) -> Request | None:
        own = [request for request in self.requests if request.builder == builder]
        return min(own, key=lambda r: (-r.priority, r.submitted), default=None)

    def _serve(self, request: Request) -> None:
        self.fair_share.took(request.builder)
        self.requests.remove(request)
        self.served.append(request)
        self.vms[request.builder] += 1
        self.room -= 1


def burst(**counts: int) -> list[Request]:
    """Return so many requests of each builder, one builder's after the other's."""
    order = [builder for builder, count in counts.items() for _ in range(count)]
    return [Request(builder, 0, submitted) for submitted, builder in enumerate(order)]


def test_builders_share_the_room_however_many_requests_they_have() -> None:
    distributor = Distributor(burst(mass=1000, small=3, other=3), room=9)
    distributor.run()

    assert distributor.vms == {"mass": 3, "small": 3, "other": 3}


def test_who_has_few_vms_already_comes_before_who_has_many() -> None:
    distributor = Distributor(burst(rich=5, poor=5), room=3, vms=Counter(rich=3))
    distributor.run()

    assert distributor.vms == {"rich": 3, "poor": 3}


def test_the_priority_of_requests_comes_before_any_fairness() -> None:
    urgent = [Request("mass", 10, number) for number in range(4)]
    later = [Request("mass", 0, number) for number in range(4)]
    other = [Request("other", 5, number) for number in range(2)]
    distributor = Distributor([*later, *other, *urgent], room=7)
    distributor.run()

    assert [request.priority for request in distributor.served] == [10, 10, 10, 10, 5, 5, 0]


def test_among_equals_the_oldest_request_comes_first() -> None:
    distributor = Distributor(burst(first=1, second=1, third=1), room=2)
    distributor.run()

    assert [request.builder for request in distributor.served] == ["first", "second"]


def test_who_is_alone_gets_everything_in_one_turn() -> None:
    distributor = Distributor(burst(alone=500), room=500)
    distributor.run()

    assert distributor.vms == {"alone": 500}
    assert distributor.rounds == 1


def test_who_cannot_use_its_turn_holds_up_nobody() -> None:
    distributor = Distributor(
        burst(stuck=5, working=5), room=5, vms=Counter(working=9), stuck=frozenset(["stuck"])
    )
    distributor.run()

    assert len(distributor.served) == 5
    assert distributor.rounds == 1


def test_who_was_never_lined_up_is_not_refused() -> None:
    assert FairShare().may_take("unknown", 0)


def lined_up(**priorities: tuple[int, ...]) -> FairShare:
    """Return a list of builders that wait for requests with such priorities."""
    fair_share = FairShare()
    waiting = {
        builder: Waiting(Counter(own), dict.fromkeys(own, 1.0))
        for builder, own in priorities.items()
    }
    fair_share.line_up(waiting, waiting, {})
    return fair_share


def test_who_was_never_lined_up_is_not_refused_for_one_with_a_better_claim() -> None:
    fair_share = lined_up(first=(10,), second=(5,))

    assert fair_share.may_take("first", 10)
    assert fair_share.may_take("unknown", 0)


def test_a_builder_that_nothing_waits_for_comes_last() -> None:
    waiting = {"busy": Waiting({-5: 1}, {-5: 1.0})}

    assert FairShare().line_up(["a builder", "busy"], waiting, {}) == ["busy", "a builder"]


def test_a_builder_whose_urgent_request_is_gone_waits_for_one_that_is_more_urgent() -> None:
    assert not lined_up(first=(10, 0), second=(5,)).may_take("first", 0)
    assert lined_up(first=(10, 6), second=(5,)).may_take("first", 6)


def test_any_builder_whose_turn_is_still_to_come_may_have_the_better_claim() -> None:
    fair_share = lined_up(first=(10, 0), second=(5,), third=(-5,))
    assert fair_share.may_take("first", 10)
    fair_share.took("first")

    assert not fair_share.may_take("first", 0)


def test_a_builder_that_was_served_holds_up_others_for_its_next_request_only() -> None:
    fair_share = lined_up(first=(10, 10, 0), second=(5,))
    assert fair_share.may_take("first", 10)
    fair_share.took("first")

    assert not fair_share.may_take("second", 5)

    fair_share.took("first")
    fair_share = lined_up(first=(10, 0), second=(5,))
    assert fair_share.may_take("first", 10)
    fair_share.took("first")

    assert fair_share.may_take("second", 5)


def test_a_builder_that_has_got_all_it_waits_for_holds_up_nobody() -> None:
    fair_share = lined_up(first=(10,), second=(5,))
    assert fair_share.may_take("first", 10)
    fair_share.took("first")

    assert fair_share.may_take("second", 5)


def test_room_that_was_given_back_counts_no_more() -> None:
    fair_share = lined_up(first=(0, 0), second=(0,))
    fair_share.gave_back("first")  # nothing, which is not less than nothing
    assert fair_share.may_take("first", 0)

    fair_share.took("first")
    fair_share.gave_back("first")
    assert fair_share.may_take("first", 0)
    fair_share.took("first")

    assert not fair_share.may_take("first", 0)


def test_a_builder_that_there_is_no_room_for_holds_up_nobody() -> None:
    fair_share = lined_up(first=(10, 10), second=(5,))
    assert fair_share.may_take("first", 10)
    fair_share.took("first")

    fair_share.no_room("first")

    assert fair_share.may_take("second", 5)


def test_a_builder_whose_turn_has_ended_is_tried_again_in_the_next_list() -> None:
    fair_share = lined_up(first=(10, 0), second=(5,))
    assert fair_share.may_take("first", 10)
    fair_share.took("first")
    assert not fair_share.may_take("first", 0)

    waiting = {name: Waiting({priority: 1}, {}) for name, priority in (("first", 0), ("second", 5))}
    fair_share.line_up(["first"], waiting, {})

    assert fair_share.may_take("first", 0)


requests = st.builds(Request, st.sampled_from("abcdef"), st.integers(-2, 3), st.integers(0, 1_000))


@given(
    st.lists(requests, max_size=60),
    st.integers(0, 80),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5)),
    st.frozensets(st.sampled_from("abcdef"), max_size=3),
)
def test_room_and_a_request_that_could_use_it_never_remain_together(
    waiting: list[Request], room: int, vms: dict[str, int], stuck: frozenset[str]
) -> None:
    distributor = Distributor(list(waiting), room, Counter(vms), stuck)
    distributor.run()

    left = [request for request in distributor.requests if request.builder not in stuck]
    assert not (left and distributor.room)
    assert distributor.rounds <= len(waiting) + 2


@given(
    st.lists(requests, max_size=60),
    st.integers(0, 30),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 5)),
)
def test_nobody_is_passed_over_for_a_less_urgent_request_or_a_richer_builder(
    waiting: list[Request], room: int, vms: dict[str, int]
) -> None:
    distributor = Distributor(list(waiting), room, Counter(vms))
    distributor.run()

    urgency: dict[str, int] = {}
    for left in distributor.requests:
        urgency[left.builder] = max(left.priority, urgency.get(left.builder, left.priority))
    for request in distributor.served:
        for builder, priority in urgency.items():
            assert priority <= request.priority, "a more urgent request was left"
            if builder != request.builder and priority == request.priority:
                owned = distributor.vms
                assert owned[request.builder] <= owned[builder] + 1, "a poorer builder was left"
