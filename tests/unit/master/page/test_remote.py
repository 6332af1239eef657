# SPDX-License-Identifier: GPL-2.0-only
"""Commands between masters: what is done, what is refused, and what is not answered."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from latent_libvirt.control.client import THAW_TIMEOUT
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.master.page import topics
from latent_libvirt.master.page.remote import TIMEOUT, CommandClient, CommandServer
from latent_libvirt.status.names import Target
from pages import PaperMaster
from paper_pool import PaperPool, config_of, machine_of

ALPHA = Target("host", "alpha")
DRAIN = {"command": "drain", "name": "alpha"}


class Answers:
    """What a client has got."""

    def __init__(self, asked: Any) -> None:
        self.done: list[str] = []
        self.errors: list[str] = []
        Deferred.fromCoroutine(asked).addCallbacks(self.done.append, self._failed)

    def _failed(self, failure: Any) -> None:
        failure.trap(LatentLibvirtError)
        self.errors.append(failure.value.brief)


def served(master: PaperMaster, name: str = "main", **label: Any) -> PaperPool:
    """Return a pool of that name which takes commands."""
    pool = PaperPool(config_of(one=label))
    operations = Operations(
        pool, facts=lambda: Facts("m", "", 1, 0.0), undrained=lambda _target: None
    )
    Deferred.fromCoroutine(CommandServer(master, name, operations).start())
    return pool


def test_another_master_does_what_it_is_sent_for_the_pool_of_that_name() -> None:
    ui = PaperMaster(1)
    pool, other = served(ui.other(2)), served(ui.other(2), "other")

    answers = Answers(CommandClient(ui).ask(2, "main", DRAIN, "olga"))

    assert answers.done == ["host alpha"]
    assert pool.capacity.is_drained(ALPHA)
    assert not other.capacity.is_drained(ALPHA)


def test_why_it_refuses_arrives() -> None:
    ui = PaperMaster(1)
    served(ui)
    client = CommandClient(ui)

    nothing = Answers(client.ask(1, "main", {"command": "drain", "name": "beth"}, "olga"))
    console = Answers(client.ask(1, "main", {"command": "console", "name": "x"}, "olga"))

    assert nothing.errors == ["there is no host or label called 'beth'"]
    assert console.errors == ["the page cannot ask for 'console'"]


def test_a_hold_has_the_user_who_is_logged_in_and_no_page_can_say_another() -> None:
    ui = PaperMaster(1)
    pool = served(ui)
    lease = pool.lease("worker", "one")
    client = CommandClient(ui)
    hold = {"command": "hold", "name": "worker", "seconds": 60.0}

    pretended = Answers(client.ask(1, "main", hold | {"user": "olga"}, "otto"))
    assert pretended.errors == ["a page cannot say who asks"]
    assert lease.hold_for is None
    Answers(client.ask(1, "main", hold, "otto" * 100))
    assert pool.leases["worker"].hold_for == 60.0
    assert lease.hold_asked_by == "otto" * 25

    cancelled = Answers(client.ask(1, "main", {"command": "cancel_hold", "name": "worker"}, "ada"))

    assert cancelled.errors == []
    assert pool.leases["worker"].hold_for is None


def test_a_thaw_of_another_masters_vm_says_what_it_waits_for_and_can_be_cancelled() -> None:
    ui = PaperMaster(1)
    pool = served(ui.other(2), hold_on_failure="1h", freeze=True)
    lease = pool.building()
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    machine_of(lease.vm).goes_on()
    client, name = CommandClient(ui), lease.vm.vm_id
    pool.capacity.drained |= {Target("label", "one")}

    waits = Answers(client.ask(2, "main", {"command": "thaw", "name": name}, "olga"))
    cancelled = Answers(client.ask(2, "main", {"command": "cancel_thaw", "name": name}, "olga"))

    assert "stays frozen for now, since label one is drained" in waits.done[0]
    assert cancelled.done[0].endswith(f"id {name})")
    (frozen,) = pool.frozen
    assert not pool.thaws.is_waiting(frozen)


def test_a_thaw_may_take_as_long_as_a_host_needs_to_read_the_memory() -> None:
    ui = PaperMaster(1)
    answers = Answers(CommandClient(ui).ask(2, "main", {"command": "thaw", "name": "x"}, "olga"))

    ui.reactor.advance(TIMEOUT + 1)
    assert answers.errors == []
    ui.reactor.advance(THAW_TIMEOUT)

    assert answers.errors == ["the pool's master has not answered"]


def test_a_master_that_does_not_answer_is_waited_for_only_so_long() -> None:
    ui = PaperMaster(1)
    answers = Answers(CommandClient(ui).ask(2, "main", DRAIN, "olga"))

    ui.reactor.advance(TIMEOUT + 1)

    assert answers.errors == ["the pool's master has not answered"]
    assert ui.reactor.getDelayedCalls() == []


def test_answers_that_nobody_waits_for_are_ignored() -> None:
    ui = PaperMaster(1)
    answers = Answers(CommandClient(ui).ask(2, "main", DRAIN, "olga"))

    for nonsense in (None, {}, {"id": 1}, {"id": "guessed", "done": "host alpha"}):
        ui.mq.produce(topics.answers(1), nonsense)

    assert (answers.done, answers.errors) == ([], [])
    ui.reactor.advance(TIMEOUT + 1)
