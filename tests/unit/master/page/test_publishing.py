# SPDX-License-Identifier: GPL-2.0-only
"""What pages know of pools: publishers and boards on a message bus, without a browser."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred

import statuses
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import GuestError, LatentLibvirtError
from latent_libvirt.master.page import delta, topics
from latent_libvirt.master.page.board import (
    MOST_IN_NEWS,
    MOST_POOLS,
    NEWS_AFTER,
    NEWS_EVERY,
    SILENT_AFTER,
    WATCHED_FOR,
)
from latent_libvirt.master.page.rows import LONGEST, MOST, Rows, rows
from latent_libvirt.pool.lease import Lease
from latent_libvirt.status.names import BuildRef, Target
from latent_libvirt.status.pool import LabelStatus, PoolStatus
from latent_libvirt.status.queue import QueueStatus, WaitingStatus
from pages import PageOnPaper, PaperMaster, published
from paper_pool import PaperMachine, PaperPool, config_of, machine_of

DURATIONS = ("seconds", "seconds_in_phase", "oldest", "seconds_left")
JOB = BuildRef("check", 7, "http://127.0.0.1:8010/#/builders/1/builds/7")


def a_row(number: int, **facts: object) -> Rows:
    return {"pool": {"": {"used": number}}, "vms": {"aa": {"since": 100.0, **facts}}}


class Counted:
    """A pool's rows, and how often they were looked at."""

    def __init__(self) -> None:
        self.looks = 0
        self.rows = a_row(0)

    def __call__(self) -> Rows:
        self.looks += 1
        return self.rows


# While nobody looks.


def test_a_pool_that_nobody_looks_at_is_not_looked_at() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)

    master.reactor.pump([1.0] * 100)

    assert pool.looks == 0


def test_the_board_knows_why_requests_wait() -> None:
    master, pool = PaperMaster(1), Counted()
    pool.rows = {"pool": {"": {}}, "waiting": {"7": {"reason": "label small is full"}}}
    published(master, pool)
    page = PageOnPaper(master)
    page.open()

    assert page.board.reasons(["7", "8", "x"]) == {"7": "label small is full"}


def test_a_page_that_comes_back_to_a_new_master_and_listens_before_it_asks_stays_live() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.document["events"] = page.board.events
    page.listen()
    looking = Deferred.fromCoroutine(page.board.look())
    master.reactor.pump([0.1] * 20)
    assert looking.called
    page.ask()

    master.reactor.pump([0.5] * 2 * round(2 * WATCHED_FOR))
    pool.rows = a_row(7)
    master.reactor.pump([0.5] * 2 * 20)

    assert page.pools["1/pool"]["pool"][""]["used"] == 7


def test_a_page_that_is_closed_is_no_work_after_a_minute_and_one_that_is_open_stays_live() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.open()
    master.reactor.pump([0.5] * 2 * 200)
    assert page.document["pools"]["1/pool"]["state"] == "live"

    page.close()
    master.reactor.pump([0.5] * 2 * round(2 * WATCHED_FOR))
    before = pool.looks
    master.reactor.pump([0.5] * 200)

    assert before > 0
    assert pool.looks == before
    assert master.reactor.getDelayedCalls() == []


def test_nothing_is_sent_while_nothing_changes_but_signs_of_life() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.open()
    sent: list[Any] = []
    master.mq.startConsuming(lambda _topic, message: sent.append(message), topics.pools(None))

    master.reactor.pump([0.5] * 60)

    assert 2 <= len(sent) <= 4
    assert all(message["set"] == message["drop"] == {} for message in sent)
    assert page.news == 0


def test_a_change_is_on_the_page_within_a_second() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.open()

    pool.rows = a_row(1)
    master.reactor.pump([0.5, 0.3, 0.1])

    assert page.pools["1/pool"] == a_row(1)
    assert page.document["pools"]["1/pool"]["set"].keys() == {"pool"}, "only what has changed"


def test_a_small_change_is_in_the_news_and_no_page_asks_for_it() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.open()
    asked = page.asked

    for used in range(1, 4):
        pool.rows = a_row(used)
        master.reactor.pump([0.5, 0.3, 0.1])
        assert page.pools["1/pool"] == a_row(used)
    pool.rows = {"pool": {"": {"used": 4}}}
    master.reactor.pump([0.5, 0.3, 0.1])

    assert page.pools["1/pool"]["vms"] == {}
    assert page.asked == asked


def test_news_come_soon_after_silence_and_not_more_often_than_pages_can_show() -> None:
    master = PaperMaster(1)
    published(master, Counted())
    page = PageOnPaper(master)
    page.open()
    master.reactor.pump([0.5] * 4)
    before = page.news

    page.board._tell_pages()
    master.reactor.advance(NEWS_AFTER)
    assert page.news == before + 1
    for _ in range(100):
        page.board._tell_pages()
        master.reactor.advance(0.03)

    assert 5 <= page.news - before <= 1 + 3 / NEWS_EVERY


def test_a_large_change_is_not_in_the_news_and_pages_ask_for_it() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.open()
    asked = page.asked

    large = {str(n): {"since": float(n)} for n in range(MOST_IN_NEWS)}
    pool.rows = {"pool": {"": {}}, "vms": large}
    master.reactor.pump([0.5, 0.3, 0.1])

    assert page.pools["1/pool"]["vms"] == large
    assert page.asked == asked + 1


def test_a_page_that_has_missed_news_asks() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.open()
    page.close()
    pool.rows = a_row(1)
    master.reactor.pump([0.5, 0.3, 0.1])
    asked = page.asked

    page.listen()
    pool.rows = {"pool": {"": {"used": 1}}, "vms": {"aa": {"since": 7.0}}}
    master.reactor.pump([0.5, 0.3, 0.1])

    assert page.asked == asked + 1
    assert page.pools["1/pool"] == pool.rows


# Several masters.


def test_pools_of_masters_without_a_web_ui_are_shown_by_one_that_has_no_pool() -> None:
    scheduler = PaperMaster(1)
    for number in (2, 3):
        published(scheduler.other(number), Counted())
    page = PageOnPaper(scheduler)

    page.open()

    assert page.pools.keys() == {"2/pool", "3/pool"}
    assert page.document["pools"]["3/pool"]["master"] == "host:/srv/master-3"


def test_a_master_that_stops_says_so_and_one_that_dies_is_silent_until_buildbot_knows() -> None:
    scheduler = PaperMaster(1)
    stops, dies = (published(scheduler.other(number), Counted()) for number in (2, 3))
    page = PageOnPaper(scheduler)
    page.open()

    Deferred.fromCoroutine(stops.stop())
    dies._subscription.stopConsuming()
    dies._cancel()
    scheduler.reactor.pump([0.5] * 2 * round(SILENT_AFTER + 16))

    assert [page.document["pools"][f"{n}/pool"]["state"] for n in (2, 3)] == ["stopped", "silent"]
    scheduler.data.masters = [
        {"masterid": 3, "name": "three", "active": False, "last_active": 5.0},
        {"masterid": 4, "name": "four", "active": True, "last_active": 5.0},
    ]
    scheduler.reactor.pump([0.5] * 40)
    assert page.document["pools"]["3/pool"]["state"] == "stopped"
    assert [each["name"] for each in page.document["stopped_masters"]] == ["three"]


def test_a_message_that_is_missed_is_made_up_for() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.open()
    (reference,) = [each for each in master.mq.qrefs if each.filter == topics.pools(None)]
    reference.callback, take = None, reference.callback
    pool.rows = a_row(1)
    master.reactor.pump([0.5] * 4)
    assert page.pools["1/pool"] == a_row(0)
    reference.callback = take
    pool.rows = a_row(1, phase="build")
    master.reactor.pump([0.5] * 4)

    assert page.pools["1/pool"] == a_row(1, phase="build")


def test_what_no_master_sends_is_ignored() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.open()
    head = {"pool": "pool", "master": "x", "incarnation": "y", "number": 1, "first": True}

    nonsense: list[Any] = [None, [], {}, {"pool": 1}, head, head | {"set": [], "drop": {}}]
    for message in nonsense:
        master.mq.produce(topics.pools(1), message)
    master.reactor.pump([0.5] * 4)

    assert page.pools["1/pool"] == a_row(0)


def test_more_pools_than_are_shown_hold_up_none_of_those_that_are() -> None:
    master, pool = PaperMaster(1), Counted()
    published(master, pool)
    page = PageOnPaper(master)
    page.open()

    head = {"master": "x", "incarnation": "y", "number": 1, "first": True, "drop": {}}
    for number in range(MOST_POOLS + 5):
        master.mq.produce(topics.pools(2), head | {"pool": f"p{number}", "set": {}})
    pool.rows = a_row(1)
    master.reactor.pump([0.5] * 4)

    assert len(page.board.pools) == MOST_POOLS
    assert page.pools["1/pool"] == a_row(1)


# Messages and rows.


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ({"since": 100.0, "phase": "build", "job": None}, True),
        ({"since": 100.9, "phase": "build", "job": None}, True),
        ({"since": 101.1, "phase": "build", "job": None}, False),
        ({"since": 100.2, "phase": "boot", "job": None}, False),
        ({"since": 100.0, "phase": "build", "job": {}}, False),
        ({"since": 100.0, "phase": "build"}, False),
        ({"since": 100.0, "phase": "build", "host": None}, False),
    ],
)
def test_a_row_is_the_same_if_nothing_but_a_moment_has_moved_and_by_little(
    other: dict[str, Any], *, is_same: bool
) -> None:
    row = {"since": 100.0, "phase": "build", "job": None}

    assert delta.same(row, other) is is_same


def test_a_large_change_is_sent_in_messages_of_a_bounded_size() -> None:
    vms = {str(n): {"worker": str(n)} for n in range(1000)}

    sent = list(delta.messages(delta.delta({}, {"vms": vms})))

    assert len(sent) == 4
    assert max(len(message["set"]["vms"]) for message in sent) == delta.MOST_IN_A_MESSAGE
    assert {key for message in sent for key in message["set"]["vms"]} == vms.keys()


def test_rows_are_bounded_however_much_there_is() -> None:
    many = tuple(
        WaitingStatus(n, "b" * 9999, 0, 1.0, (), "cap", "x" * 9999) for n in range(MOST + 1)
    )
    status = PoolStatus(**(vars(statuses.pool()) | {"explained": many, "refused": "y" * 9999}))

    made = rows(status, 0.0)

    assert len(made["waiting"]) == MOST
    assert len(made["waiting"]["0"]["reason"]) == LONGEST
    assert len(made["pool"][""]["refused"]) == LONGEST


def test_a_queue_that_is_not_known_is_not_an_empty_one() -> None:
    assert not rows(statuses.pool(waiting=None), 0.0)["pool"][""]["queues_known"]
    assert rows(statuses.pool(waiting=()), 0.0)["pool"][""]["queues_known"]


# The page and the status.


def told(status: PoolStatus) -> dict[str, Any]:
    """Return a status as ``status --json`` prints it, without the durations."""
    return {name: _plain(value) for name, value in vars(status).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "__dict__"):
        return {k: _plain(v) for k, v in vars(value).items() if k not in DURATIONS}
    return _without_countdown(value)


def _without_countdown(value: Any) -> Any:
    """Return a text without the seconds that go by: "in back-off for 12 s more"."""
    return re.sub(r"\d+ s more", "some s more", value) if isinstance(value, str) else value


def shown(sections: Rows) -> dict[str, Any]:
    """Return the same of what a page has."""
    moments = {"since", "phase_since", "until", "oldest_since", "at"}

    def listed(section: str) -> list[dict[str, Any]]:
        found = sections.get(section, {}).values()
        return [{k: _of_a_row(v) for k, v in row.items() if k not in moments} for row in found]

    facts = dict(sections["pool"][""])
    queues = listed("queues") if facts.pop("queues_known") else None
    lists = {name: listed(name) for name in _LISTS}
    other = {"leases": listed("vms"), "waiting": queues, "explained": listed("waiting")}
    return facts | lists | other


def _of_a_row(value: Any) -> Any:
    if isinstance(value, list):
        return [_of_a_row(each) for each in value]
    return _without_countdown(value)


_LISTS = ("hosts", "labels", "spares", "held", "frozen", "saving", "failures")


def in_any_order(document: dict[str, Any]) -> dict[str, Any]:
    return {
        name: sorted(value, key=repr) if isinstance(value, list) else value
        for name, value in document.items()
    }


class Pools(RuleBasedStateMachine):
    """A pool to which things happen in any order, and a page that is open."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = PaperPool(config_of(max_vms=3, one={"spares": 1}, two={"max_vms": 2}))
        self.facts = Facts("host:/srv/master", "", 1, 1000.0, ())
        self.operations = Operations(
            self.pool, facts=lambda: self.facts, undrained=lambda _target: None
        )
        self.leases: list[Lease] = []
        self.number = 0
        self.master = PaperMaster(1, reactor=self.pool.clock)
        published(self.master, lambda: rows(self.operations.status(), time.time()))
        self.page = PageOnPaper(self.master)
        self.page.open()

    @invariant()
    def the_page_shows_what_the_status_says(self) -> None:
        # Some things end with time alone, perhaps just after the page has looked: once more, then.
        if not self._says_the_same():
            assert self._says_the_same(), (self._shown, self._told)

    def _says_the_same(self) -> bool:
        self.master.reactor.pump([0.5, 0.3, 0.1])
        self._shown = in_any_order(shown(self.page.pools["1/pool"]))
        self._told = in_any_order(told(self.operations.status()))
        return self._shown == self._told

    @rule(label=st.sampled_from(["one", "two"]))
    def a_job_comes(self, label: str) -> None:
        if self.pool.allocator.has(label):
            self.number += 1
            lease = self.pool.give(label, f"worker-{self.number}", request=self.number)
            lease.job = JOB
            self.leases.append(lease)
            self.pool.brought_up(lease).addErrback(lambda _failure: None)

    @rule()
    def spares_are_started(self) -> None:
        self.pool.tidy()

    @precondition(lambda self: bool(self.busy()))
    @rule(data=st.data())
    def a_step_is_done(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.busy())).goes_on()

    @precondition(lambda self: bool(self.busy()))
    @rule(data=st.data())
    def a_step_fails(self, data: st.DataObject) -> None:
        error: LatentLibvirtError = GuestError("<b>it says nothing</b>")
        data.draw(st.sampled_from(self.busy())).fails(error)

    @precondition(lambda self: bool(self.leases))
    @rule(data=st.data(), hold=st.booleans())
    def a_job_ends(self, data: st.DataObject, *, hold: bool) -> None:
        lease = data.draw(st.sampled_from(self.leases))
        self.leases.remove(lease)
        if not machine_of(lease.vm).is_busy:
            lease.hold_for = 60.0 if hold else None
        self.pool.given_back(lease, graceful=False)

    @rule(which=st.sampled_from([Target("host", "alpha"), Target("label", "one")]))
    def it_is_drained_or_not(self, which: Target) -> None:
        is_drained = self.pool.capacity.is_drained(which)
        (self.operations.undrain if is_drained else self.operations.drain)(which)

    @rule(seconds=st.floats(0.1, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.pool.clock.advance(seconds)

    @rule(count=st.none() | st.integers(0, 3), refused=st.sampled_from(["", "<i>line 3</i>"]))
    def requests_wait(self, count: int | None, refused: str) -> None:
        queues = None if count is None else (QueueStatus("one", count, 60.0),)
        explained = tuple(
            WaitingStatus(n, "check", n, 60.0, ("one",), "cap", "<b>full</b>")
            for n in range(count or 0)
        )
        self.facts = Facts("host:/srv/master", refused, 1, 1000.0, queues, explained)

    def busy(self) -> list[PaperMachine]:
        return [machine_of(vm) for vm in self.pool.registry if machine_of(vm).is_busy]


def test_a_page_has_what_the_pool_has_whatever_happens() -> None:
    run_state_machine_as_test(
        Pools,
        settings=settings(
            max_examples=15, stateful_step_count=15, suppress_health_check=[HealthCheck.too_slow]
        ),
    )


def test_labels_keep_the_order_of_the_file_whatever_changes() -> None:
    labels = tuple(LabelStatus(name, False, 1, 0, (), True) for name in ("b", "a"))

    made = rows(statuses.pool(labels=labels), 0.0)["labels"]

    assert [made["b"]["at"], made["a"]["at"]] == [0, 1]
